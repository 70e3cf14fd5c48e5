package docs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/recipes"
)

// writeFile puts a block into the file that it names and loads it.
func writeFile(t *testing.T, dir string, b block) {
	t.Helper()
	name := strings.Fields(b.info)[1]
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(b.text), 0o644); err != nil {
		t.Fatal(err)
	}
	kind := "recipe"
	switch filepath.Base(name) {
	case "release.yaml":
		kind = "release"
	case "agent.yaml":
		kind = "agent"
	}
	load(t, b, kind, path)
}

// needed are the keys that each kind of file must have, with what a piece gets when it has none.
var needed = map[string]map[string]string{
	"release": {"app": "app: shop\n", "route": "route: {listen: \":8080\"}\n"},
	"recipe":  {"base": "base: scratch\n"},
	"agent":   {},
}

// checkPart loads a piece of a file.
func checkPart(t *testing.T, dir string, b block) {
	t.Helper()
	kind := strings.Fields(b.info)[2]
	text := b.text
	for key, value := range needed[kind] {
		if key == "route" && strings.HasPrefix(text, "roles:") {
			continue // each has its own
		}
		if !regexp.MustCompile(`(?m)^` + key + `:`).MatchString(text) {
			text += value
		}
	}
	path := filepath.Join(dir, "part.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	load(t, b, kind, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// load reads a file as the program does, all its environments included.
func load(t *testing.T, b block, kind, path string) {
	t.Helper()
	var err error
	switch kind {
	case "recipe":
		_, err = recipes.Load(path)
	case "agent":
		_, err = config.LoadAgent(path)
	case "release":
		var environments []string
		if environments, err = config.Environments(path); err == nil {
			for _, env := range environments {
				if _, err = config.Load(path, env); err != nil {
					break
				}
			}
		}
	}
	if err != nil {
		t.Errorf("%s: this does not load:\n%v", b.place(), err)
	}
}

// TestEveryKeyIsDescribed holds the documents against the schemas, which are made of the types.
func TestEveryKeyIsDescribed(t *testing.T) {
	root := checkout(t)
	for schema, doc := range map[string]string{
		"release.schema.json": "docs/configuration.md", "agent.schema.json": "docs/configuration.md",
		"recipe.schema.json": "docs/recipes.md",
	} {
		b, err := os.ReadFile(filepath.Join(root, "docs", "schema", schema))
		if err != nil {
			t.Fatal(err)
		}
		var s any
		if err := json.Unmarshal(b, &s); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(root, doc))
		if err != nil {
			t.Fatal(err)
		}
		for key := range keysOf(s) {
			if !strings.Contains(string(text), "`"+key+"`") {
				t.Errorf("%s does not describe the key `%s` of %s", doc, key, schema)
			}
		}
	}
}

// keysOf collects the names of all properties in a schema.
func keysOf(schema any) map[string]bool {
	found := map[string]bool{}
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				look(e)
			}
		case map[string]any:
			properties, _ := v["properties"].(map[string]any)
			for name := range properties {
				found[name] = true
			}
			for _, e := range v {
				look(e)
			}
		}
	}
	look(schema)
	return found
}
