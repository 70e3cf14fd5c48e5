package jsonschema_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
)

type size int64

func (s *size) UnmarshalText([]byte) error { return nil }

type doc struct {
	Name  string            `yaml:"name,required" doc:"A name." pattern:"^[a-z]+$"`
	Size  size              `yaml:"size" default:"5MiB"`
	Ports []int             `yaml:"ports" minimum:"1" maximum:"9"`
	Env   map[string]string `yaml:"env"`
	Steps []step            `yaml:"steps" default:"[{share: 1, on: true}]"`
	Later string            `yaml:"later,later"`
}

type step struct {
	Share float64 `yaml:"share"`
	On    bool    `yaml:"on"`
	Kind  string  `yaml:"kind" enum:"a,b"`
}

const want = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "id", "title": "Title", "type": "object", "additionalProperties": false, "required": ["name"],
	"properties": {
		"name": {"type": "string", "description": "A name.", "pattern": "^[a-z]+$"},
		"size": {"type": "string", "default": "5MiB"},
		"ports": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 9}},
		"env": {"type": "object", "additionalProperties": {"type": "string"}},
		"steps": {"type": "array", "default": [{"share": 1, "on": true}], "items": {"type": "object", "additionalProperties": false, "properties": {
			"share": {"type": "number"}, "on": {"type": "boolean"}, "kind": {"type": "string", "enum": ["a", "b"]}}}}
	}}`

func TestGenerate(t *testing.T) {
	got, err := jsonschema.Generate("id", "Title", doc{})
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Error(diff)
	}
}

func TestCheck(t *testing.T) {
	schema, err := jsonschema.Generate("id", "Title", doc{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		src  string
		want []string
	}{
		{"name: a\nsize: 1B\nports: [1, 9]\nenv: {A: b}\nsteps: [{share: 0.5, on: true, kind: a}]\n", nil},
		{"name: A\n", []string{"1:7: does not match ^[a-z]+$"}},
		{"size: 1B\nx: 1\n", []string{"1:1: has the unknown property x", "1:1: lacks name"}},
		{"name: a\nports: [0, 10, x]\n", []string{"2:9: is below 1", "2:12: is above 9", "2:16: is not of type integer"}},
		{"name: a\nsteps: [{kind: c, on: 1, share: x}]\nenv: {A: 1}\n", []string{"2:16: is none of [a b]", "2:23: is not of type boolean", "2:33: is not of type number", "3:10: is not of type string"}},
	} {
		n, err := strictyaml.Parse("f", []byte(c.src))
		if err != nil {
			t.Fatal(err)
		}
		got, err := jsonschema.Check(schema, n)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s\n%s", c.src, diff)
		}
	}
}
