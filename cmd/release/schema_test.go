package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

// schemaFile describes each line that --json prints.
const schemaFile = "../../docs/schema/output.schema.json"

// lineTypes are all objects that --json prints, by what they are.
func lineTypes() []any {
	return []any{
		api.OperationResult{}, api.StatusResult{}, api.StatusesResult{}, api.NodeResult{}, api.ExecResult{}, api.EventsResult{}, api.HistoryResult{}, api.ShowResult{}, releaseDiffResult{}, api.StatsResult{}, api.BakeResult{}, api.AgentResult{},
		api.ImagesResult{}, api.DoctorResult{}, imageDetails{}, diffResult{}, treeResult{}, pushResult{}, pullResult{}, gcResult{}, signResult{}, verifyResult{}, documentResult{}, keyResult{}, transferEvent{}, quarantineResult{}, copyResult{}, lockResult{}, outdatedResult{}, initResult{}, validateResult{}, configResult{}, versionResult{},
		routerResult{}, forgetResult{}, forgottenResult{}, hostsResult{}, drainedResult{}, api.TaskResult{}, api.TasksResult{}, api.FailedResult{}, api.Event{}, bakeEvent{}, logLine{}, topResult{}, topEvent{}, freezeResult{}, planResult{}, steerResult{}, bootResult{}, bootEvent{},
	}
}

// generateSchema is the JSON Schema of a line of output, made of the Go types.
func generateSchema() []byte {
	var forms []any
	for _, t := range lineTypes() {
		form := schemaOf(reflect.TypeOf(t))
		form["title"] = strings.TrimPrefix(reflect.TypeOf(t).String(), "main.")
		forms = append(forms, form)
	}
	s := map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://github.com/bootandshoot/release/docs/schema/output.schema.json",
		"title":       "A line of release --json",
		"description": "Standard output is one JSON object a line. The last one has type result and schema release/v1, and error when the command failed. Fields may be added.",
		"anyOf":       forms,
	}
	b, _ := json.MarshalIndent(s, "", "  ")
	return append(b, '\n')
}

func schemaOf(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return map[string]any{"type": "object"}
	case t == reflect.TypeFor[api.Head]():
		s := objectOf(t)
		props := s["properties"].(map[string]any)
		props["type"], props["schema"] = map[string]any{"const": "result"}, map[string]any{"const": api.Schema}
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		s := schemaOf(t.Elem())
		s["type"] = []string{s["type"].(string), "null"}
		return s
	case reflect.Struct:
		return objectOf(t)
	case reflect.Slice:
		return map[string]any{"type": []string{"array", "null"}, "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": schemaOf(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return map[string]any{"type": "string"}
	}
	return map[string]any{"type": "integer"}
}

// objectOf lists a struct's fields as encoding/json writes them; embedded structs are part of the object.
func objectOf(t reflect.Type) map[string]any {
	props, required := map[string]any{}, []string{}
	for f := range fieldsOf(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			inner := schemaOf(f.Type)
			for k, v := range inner["properties"].(map[string]any) {
				props[k] = v
			}
			required = append(required, inner["required"].([]string)...)
			continue
		}
		if name == "-" || name == "" {
			continue
		}
		if f.Type == reflect.PointerTo(t) || f.Type == reflect.SliceOf(t) { // errors hold errors, routers predecessors
			props[name] = map[string]any{"description": "of the same form as what holds it"}
			continue
		}
		props[name] = schemaOf(f.Type)
		if !strings.Contains(options, "omit") {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "properties": props, "required": required}
}

func fieldsOf(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() || f.Anonymous {
				if !yield(f) {
					return
				}
			}
		}
	}
}

func TestOutputSchemaIsCurrent(t *testing.T) {
	want := generateSchema()
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is not that of the Go types: go test ./cmd/release -update", schemaFile)
	}
}

// conforms checks every line of an output against the schema, and that the last one alone is a result.
func conforms(t *testing.T, output string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(output, "\n"), "\n")
	for i, line := range lines {
		n, err := strictyaml.Parse("output", []byte(line))
		if err != nil {
			t.Fatalf("line %d is no JSON: %v\n%s", i+1, err, line)
		}
		problems, err := jsonschema.Check(generateSchema(), n)
		if err != nil || len(problems) > 0 {
			t.Errorf("line %d does not fit the schema: %v %v\n%s", i+1, problems, err, line)
		}
		var head api.Head
		if err := json.Unmarshal([]byte(line), &head); err != nil {
			t.Fatal(err)
		}
		if last := i == len(lines)-1; last != (head.Type == "result") || last && head.Schema != api.Schema {
			t.Errorf("line %d of %d: type %q, schema %q", i+1, len(lines), head.Type, head.Schema)
		}
	}
}

// Every result is in the schema: a verb whose own is not would print what nobody described.
func TestSchemaHasAllResults(t *testing.T) {
	known := map[string]bool{}
	for _, l := range lineTypes() {
		known[reflect.TypeOf(l).Name()] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if ok && isResult(spec.Type) && !known[spec.Name.Name] {
				t.Errorf("%s: %s is not among lineTypes", name, spec.Name.Name)
			}
			return true
		})
	}
}

// isResult says of a type that it begins with api.Head, as results do.
func isResult(e ast.Expr) bool {
	s, ok := e.(*ast.StructType)
	if !ok || len(s.Fields.List) == 0 || len(s.Fields.List[0].Names) > 0 {
		return false
	}
	head, ok := s.Fields.List[0].Type.(*ast.SelectorExpr)
	return ok && head.Sel.Name == "Head"
}
