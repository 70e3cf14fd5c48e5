package config

import (
	"strings"

	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// AgentStore is where the agent keeps its state: with Consul set there, else in a file of its own. In the file it has the short
// forms "embedded" and "consul", and one with keys.
type AgentStore struct {
	Consul *Consul `yaml:"consul,omitempty" json:"consul,omitempty" doc:"Consul, which several agents may share."`
}

// The short forms.
const (
	storeEmbedded = "embedded"
	storeConsul   = "consul"
)

// Consul is how Consul is reached and where in it things are. What is empty comes from Consul's own variables,
// CONSUL_HTTP_ADDR and so on.
type Consul struct {
	Address    string `yaml:"address,omitempty" json:"address,omitempty" doc:"host:port of Consul's HTTP API, with http:// or https:// or not, or unix:///path. Default: CONSUL_HTTP_ADDR, else 127.0.0.1:8500."`
	Prefix     string `yaml:"prefix" json:"prefix" doc:"Where the keys of the installation begin; ends in a slash." default:"release/"`
	Token      string `yaml:"token,omitempty" json:"token,omitempty" doc:"Where the agent finds its ACL token: file:/path or env:NAME. Default: CONSUL_HTTP_TOKEN or CONSUL_HTTP_TOKEN_FILE." pattern:"^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$"`
	CA         string `yaml:"ca,omitempty" json:"ca,omitempty" doc:"PEM file of the CA that signed Consul's certificate; relative to this file. Default: CONSUL_CACERT, else the machine's own."`
	Cert       string `yaml:"cert,omitempty" json:"cert,omitempty" doc:"PEM file of the agent's own certificate; relative to this file. Default: CONSUL_CLIENT_CERT."`
	Key        string `yaml:"key,omitempty" json:"key,omitempty" doc:"PEM file of its key; relative to this file. Default: CONSUL_CLIENT_KEY."`
	ServerName string `yaml:"server_name,omitempty" json:"server_name,omitempty" doc:"Name that Consul's certificate must have. Default: CONSUL_TLS_SERVER_NAME, else the address."`
}

// UnmarshalNode takes both forms.
func (s *AgentStore) UnmarshalNode(n *strictyaml.Node, path string) error {
	switch {
	case n.Kind == strictyaml.Text && n.Text == storeEmbedded:
		return nil
	case n.Kind == strictyaml.Text && n.Text == storeConsul:
		s.Consul = &Consul{}
		strictyaml.Defaults(s.Consul)
		return nil
	case n.Kind == strictyaml.Text:
		return strictyaml.UnknownName(n.Pos, "value", n.Text, "for "+path, []string{storeEmbedded, storeConsul}).
			WithHint("valid here: embedded, consul, {consul: {address: …}}")
	case n.Kind != strictyaml.Map:
		return strictyaml.WrongKind(n, path, "embedded, consul or a mapping")
	}
	type keys AgentStore
	errs := strictyaml.DecodeAt(n, (*keys)(s), path)
	if len(errs) == 0 && s.Consul == nil {
		errs = append(errs, n.Pos.Errorf("%s needs consul", path))
	}
	return errs.Err()
}

// JSONSchema of both forms.
func (*AgentStore) JSONSchema() *jsonschema.Schema {
	type keys AgentStore
	long := jsonschema.For[keys]()
	long.Required = []string{"consul"}
	short := &jsonschema.Schema{Type: "string", Enum: []string{storeEmbedded, storeConsul}}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{short, long}}
}

func (c *checker) consul(s *Consul, path ...any) {
	at := func(key string) Position { return c.at(append(append([]any{}, path...), key)...) }
	if strings.HasPrefix(s.Prefix, "/") || !strings.HasSuffix(s.Prefix, "/") || strings.Contains(s.Prefix, "//") || strings.ContainsAny(s.Prefix, "?#%\n\x00") {
		c.fail(at("prefix"), "store.consul.prefix %q must be a path that ends in a slash and does not begin with one, such as release/", s.Prefix)
	}
	if s.Token != "" {
		c.reference(at("token"), "store.consul.token", s.Token)
	}
	if (s.Cert == "") != (s.Key == "") {
		c.fail(c.at(path...), "store.consul.cert and store.consul.key belong together; one of them is missing")
	}
}

// absolute makes the paths of files absolute.
func (s *Consul) absolute(dir string) {
	for _, file := range []*string{&s.CA, &s.Cert, &s.Key} {
		*file = absolute(dir, *file)
	}
}
