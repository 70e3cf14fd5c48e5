// Package jsonschema makes JSON Schemas (draft 2020-12) of the Go types that internal/strictyaml decodes, so that
// editors know what the programs accept.
//
// It reads the same struct tags (yaml, default, minimum, maximum, enum) and two that only describe: doc, the text that
// editors show, and pattern, a regular expression of text. On lists and mappings minimum, maximum, enum and pattern
// are those of the items. Keys that are not supported yet are left out.
package jsonschema

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/strictyaml"
)

// Schema is a JSON Schema; the fields that this project needs.
type Schema struct {
	Schema      string      `json:"$schema,omitempty"`
	ID          string      `json:"$id,omitempty"`
	Title       string      `json:"title,omitempty"`
	Description string      `json:"description,omitempty"`
	Type        string      `json:"type,omitempty"`
	Const       any         `json:"const,omitempty"`
	Enum        []string    `json:"enum,omitempty"`
	Pattern     string      `json:"pattern,omitempty"`
	Minimum     *float64    `json:"minimum,omitempty"`
	Maximum     *float64    `json:"maximum,omitempty"`
	Default     any         `json:"default,omitempty"`
	AnyOf       []*Schema   `json:"anyOf,omitempty"`
	Items       *Schema     `json:"items,omitempty"`
	MinItems    int         `json:"minItems,omitempty"`
	Properties  *Properties `json:"properties,omitempty"`
	Required    []string    `json:"required,omitempty"`
	// Additional is false or a *Schema; nil says nothing.
	Additional any `json:"additionalProperties,omitempty"`
}

// Properties are named schemas in the order of the type's fields.
type Properties struct {
	Names   []string
	Schemas map[string]*Schema
}

// MarshalJSON keeps the order.
func (p *Properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range p.Names {
		value, err := json.Marshal(p.Schemas[name])
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Provider is implemented by types that decode themselves and know their schema.
type Provider interface{ JSONSchema() *Schema }

// Command is what strictyaml.DecodeCommand reads.
func Command() *Schema {
	text := &Schema{Type: "string"}
	return &Schema{AnyOf: []*Schema{text, {Type: "array", Items: text, MinItems: 1}}}
}

// Generate is the schema of the struct type of v as an indented JSON document with a final newline.
func Generate(id, title string, v any) ([]byte, error) {
	s := Of(reflect.TypeOf(v))
	s.Schema, s.ID, s.Title = "https://json-schema.org/draft/2020-12/schema", id, title
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		return nil, fmt.Errorf("generate schema of %T: %w", v, err)
	}
	return b.Bytes(), nil
}

// Of is the schema of a type.
func Of(t reflect.Type) *Schema {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := reflect.New(t).Interface().(type) {
	case Provider:
		return v.JSONSchema()
	case encoding.TextUnmarshaler:
		return &Schema{Type: "string"}
	}
	switch t.Kind() {
	case reflect.Struct:
		return object(t)
	case reflect.Map:
		return &Schema{Type: "object", Additional: Of(t.Elem())}
	case reflect.Slice:
		return &Schema{Type: "array", Items: Of(t.Elem())}
	case reflect.String:
		return &Schema{Type: "string"}
	case reflect.Bool:
		return &Schema{Type: "boolean"}
	case reflect.Int, reflect.Int64:
		return &Schema{Type: "integer"}
	case reflect.Float64:
		return &Schema{Type: "number"}
	}
	panic("jsonschema: no schema for " + t.String())
}

func object(t reflect.Type) *Schema {
	props := &Properties{Schemas: map[string]*Schema{}}
	s := &Schema{Type: "object", Properties: props, Additional: false}
	for _, f := range strictyaml.Fields(t) {
		if f.Later {
			continue
		}
		p := Of(f.Type)
		bound(p, f.Tag)
		if doc := f.Tag.Get("doc"); doc != "" {
			p.Description = doc
		}
		if f.Default != "" {
			p.Default = defaultValue(f)
		}
		props.Names = append(props.Names, f.Key)
		props.Schemas[f.Key] = p
		if f.Required {
			s.Required = append(s.Required, f.Key)
		}
	}
	return s
}

// bound puts the tag's limits on the schema, or on that of the items.
func bound(s *Schema, tag reflect.StructTag) {
	switch {
	case s.Items != nil:
		bound(s.Items, tag)
		return
	case s.Type == "object":
		if items, ok := s.Additional.(*Schema); ok {
			bound(items, tag)
		}
		return
	}
	s.Minimum, s.Maximum = number(tag.Get("minimum")), number(tag.Get("maximum"))
	if pattern := tag.Get("pattern"); pattern != "" {
		s.Pattern = pattern
	}
	if enum := tag.Get("enum"); enum != "" {
		s.Enum = strings.Split(enum, ",")
	}
}

func number(text string) *float64 {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return &f
	}
	return nil
}

// defaultValue is the default tag as JSON.
func defaultValue(f strictyaml.Field) any {
	n, err := strictyaml.Parse("default of "+f.Key, []byte(f.Default))
	if err != nil {
		panic(err)
	}
	return value(n)
}

func value(n *strictyaml.Node) any {
	switch n.Kind {
	case strictyaml.Int, strictyaml.Float, strictyaml.Bool:
		return json.RawMessage(n.Text)
	case strictyaml.List:
		items := []any{}
		for _, item := range n.Items {
			items = append(items, value(item))
		}
		return items
	case strictyaml.Map:
		m := map[string]any{}
		for _, e := range n.Entries {
			m[e.Key] = value(e.Value)
		}
		return m
	}
	return n.Text
}

// For is Of for a type that is known.
func For[T any]() *Schema { return Of(reflect.TypeFor[T]()) }
