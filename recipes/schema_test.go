package recipes_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
	"github.com/bootandshoot/release/recipes"
)

var update = flag.Bool("update", false, "write the checked-in schema anew")

func TestSchema(t *testing.T) {
	path := "../docs/schema/recipe.schema.json"
	if *update {
		if err := os.WriteFile(path, recipes.Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, recipes.Schema()) {
		t.Errorf("%s is not what the types say (%v); write it with: go test ./recipes -run Schema -update", path, err)
	}
}

// What the loader takes the schema takes, and the other way round, as far as a schema can tell.
func TestSchemaAgrees(t *testing.T) {
	for src, want := range map[string]bool{
		full:              true,
		"base: scratch\n": true,
		"base: {image: \"a:1\"}\nrun: [{cmd: x}, {cmd: [x, y]}]\n": true,
		"base: debian\n":                    false,
		"base: {debian: bookworm}\n":        true,
		"base: {debian: Bookworm}\n":        false,
		"base: {}\n":                        false,
		"base: scratch\npackages: [a]\n":    false,
		"base: scratch\nrun: [{cmd: []}]\n": false,
		"base: scratch\nrun: [{cmd: 1}]\n":  false,
		"base: scratch\ncopy: [{from: ../dist, to: /a, mode: 0644}]\n":     false,
		"base: scratch\ncopy: [{from: ../dist, to: a}]\n":                  false,
		"base: scratch\nports: [70000]\n":                                  false,
		"base: scratch\nservices: {a: {cmd: [b], restart: sometimes}}\n":   false,
		"base: scratch\nfetch: [{url: \"https://x/y\", sha: a, to: /b}]\n": false,
		"base: scratch\ngit: [{url: \"https://x/y\", ref: a}]\n":           false,
		"base: scratch\nenv: {A: 1}\n":                                     false,
	} {
		n, err := strictyaml.Parse("r.yaml", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		problems, err := jsonschema.Check(recipes.Schema(), n)
		if err != nil {
			t.Fatal(err)
		}
		files := fullFiles()
		files["recipes/shop.yaml"] = src
		project(t, files)
		if _, err := recipes.Load("recipes/shop.yaml"); (err == nil) != want || (len(problems) == 0) != want {
			t.Errorf("%s\nloader: %v\nschema: %v", src, err, problems)
		}
	}
}
