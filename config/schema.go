package config

import (
	"reflect"

	"github.com/bootandshoot/release/internal/jsonschema"
)

// schemaBase is where the checked-in schemas are found; editors know them by it.
const schemaBase = "https://raw.githubusercontent.com/bootandshoot/release/main/docs/schema/"

// Schema is the JSON Schema of release.yaml.
func Schema() []byte { return generate("release", "release.yaml: an app", file{}) }

// AgentSchema is the JSON Schema of agent.yaml.
func AgentSchema() []byte { return generate("agent", "agent.yaml: a machine", Agent{}) }

func generate(name, title string, v any) []byte {
	data, err := jsonschema.Generate(schemaBase+name+".schema.json", title, v)
	if err != nil {
		panic(err) // the types are fixed; a test generates both
	}
	return data
}

// JSONSchema of the file: it has a route, or roles that have theirs.
func (*file) JSONSchema() *jsonschema.Schema {
	type plain file
	s := jsonschema.Of(reflect.TypeFor[plain]())
	s.AnyOf = []*jsonschema.Schema{{Required: []string{"route"}}, {Required: []string{"roles"}}}
	s.Properties.Schemas["route"].Required = []string{"listen"}
	role := s.Properties.Schemas["roles"].Additional.(*jsonschema.Schema)
	optional(role)
	return s
}

// JSONSchema of an overlay is that of its sections with nothing required: the app has the rest. Defaults are the app's too.
func (*overlay) JSONSchema() *jsonschema.Schema {
	type plain overlay
	s := jsonschema.Of(reflect.TypeFor[plain]())
	optional(s)
	return s
}

func optional(s *jsonschema.Schema) {
	s.Default = nil
	if each, ok := s.Additional.(*jsonschema.Schema); ok {
		optional(each)
	}
	if s.Properties == nil {
		return
	}
	s.Required = nil
	for _, p := range s.Properties.Schemas {
		optional(p)
	}
}

// JSONSchema of the text types.

func (*Duration) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
}

func (*Age) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+[ywd]|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`}
}

func (*Bytes) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)? ?([KMGT]iB|[kKMGT]B|B)$`}
}

func (*Percent) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?%$`}
}

func (*Ratio) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?x$`}
}

func (*PortRange) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]{4,5}-[0-9]{4,5}$`}
}

func (*Subnet) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+/(1[6-9]|2[0-8])$`}
}
