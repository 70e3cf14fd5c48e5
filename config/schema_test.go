package config_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
)

var update = flag.Bool("update", false, "write the checked-in schemas anew")

func TestSchemas(t *testing.T) {
	for path, schema := range map[string][]byte{
		"../docs/schema/release.schema.json": config.Schema(),
		"../docs/schema/agent.schema.json":   config.AgentSchema(),
	} {
		if *update {
			if err := os.WriteFile(path, schema, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, schema) {
			t.Errorf("%s is not what the types say (%v); write it with: go test ./config -run Schemas -update", path, err)
		}
	}
}

// What the decoder takes the schema takes, and the other way round, as far as a schema can tell.
func TestSchemaAgrees(t *testing.T) {
	for src, want := range map[string]bool{
		small:                               true,
		full:                                true,
		small + "fleet: {driver: fabric}\n": false,
		small + "fleet: {size: 0}\n":        false,
		small + "flett: {}\n":               false,
		small + "health: {interval: 1}\n":   false,
		small + "cutover: {steps: [{hold: 1s}]}\n":                     false,
		small + "fleet: {env: {A: 1}}\n":                               false,
		small + "fleet: {secrets: {A: x}}\n":                           false,
		small + "environments: {dev: {route: {hosts: [a.b]}}}\n":       true,
		small + "environments: {dev: {app: x}}\n":                      false,
		small + "environments: {dev: {cutover: {drain: {time: 1}}}}\n": false,
		"app: Shop\nroute: {listen: \":1\"}\n":                         false,
		"app: shop\n":                                                  false,
		tcp:                                                            true,
		acme:                                                           true,
		"app: shop\nroute: {listen: \":1\", sticky: cookies}\n":        false,
		"app: shop\nroute: {listen: \":1\", sticky: {max_age: 1h}}\n":  false,
		"app: shop\nroute: {listen: \":1\", sticky: {cookies: a}}\n":   false,
		"app: shop\nroute: {listen: \":1\", rules: [{path: [/]}]}\n":   false,
	} {
		n, err := strictyaml.Parse("release.yaml", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		problems, err := jsonschema.Check(config.Schema(), withoutNulls(n))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(write(t, src), ""); (err == nil) != want || (len(problems) == 0) != want {
			t.Errorf("%s\ndecoder: %v\nschema: %v", src, err, problems)
		}
	}
}

// withoutNulls takes out keys without a value: to the decoder they are absent, a schema cannot say so.
func withoutNulls(n *strictyaml.Node) *strictyaml.Node {
	clean := *n
	clean.Entries = nil
	for _, e := range n.Entries {
		if e.Value.Kind != strictyaml.Null {
			e.Value = withoutNulls(e.Value)
			clean.Entries = append(clean.Entries, e)
		}
	}
	return &clean
}
