package agents

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/tools/consultest"
)

// managing is the ACL token that may all.
const managing = "8c1b7d0e-5f0e-4c55-8a3e-6d9f0f1f2a77"

// secured is a Consul that speaks TLS, asks for certificates, and refuses all that no token allows.
type secured struct {
	*cluster
	ca, cert, key string
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	tls, ca, cert, key := consultest.NewAuthority(t, "ca").Secure()
	opts := consultest.Options{Token: managing, Config: tls + fmt.Sprintf(`connect { enabled = true }
acl { enabled = true  default_policy = "deny"  tokens { initial_management = %q } }`, managing)}
	return &secured{cluster: &cluster{t: t, consul: consultest.Start(t, opts)}, ca: ca, cert: cert, key: key}
}

// ask sends a request to Consul's own API with all rights, and takes the answer into out.
func (s *secured) ask(method, path string, in, out any) {
	s.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.consul.Servers[0].Address+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("X-Consul-Token", managing)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %s: %s, %v", method, path, res.Status, err)
	}
}

// token makes a token with rules of Consul's.
func (s *secured) token(name, rules string) string {
	s.t.Helper()
	var policy struct{ ID string }
	s.ask(http.MethodPut, "/v1/acl/policy", map[string]any{"Name": name, "Rules": rules}, &policy)
	var made struct{ SecretID string }
	s.ask(http.MethodPut, "/v1/acl/token", map[string]any{"Policies": []any{policy}}, &made)
	return made.SecretID
}

// settings writes a settings file whose token is in a file beside it.
func (s *secured) settings(path, token, ca string) {
	s.t.Helper()
	yaml := fmt.Sprintf("store: {consul: {address: \"https://%s:8501\", token: \"file:%s.token\", ca: %q, cert: %q, key: %q, server_name: consul.test}}\nrouter: {backend: consul}\n",
		s.consul.Servers[0].Host, path, ca, s.cert, s.key)
	for file, content := range map[string]string{path: yaml, path + ".token": token + "\n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

// variables are Consul's own for a program that has no settings, with the token in a file.
func (s *secured) variables(path, token string) []string {
	s.t.Helper()
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return []string{"CONSUL_HTTP_ADDR=" + s.consul.Servers[0].Host + ":8501", "CONSUL_HTTP_SSL=true", "CONSUL_HTTP_TOKEN_FILE=" + path,
		"CONSUL_CACERT=" + s.ca, "CONSUL_CLIENT_CERT=" + s.cert, "CONSUL_CLIENT_KEY=" + s.key, "CONSUL_TLS_SERVER_NAME=consul.test"}
}

const (
	edgeRules  = `key_prefix "release/" { policy = "write" } session_prefix "" { policy = "write" }`
	agentRules = edgeRules + ` service_prefix "release-" { policy = "write" } node_prefix "release-" { policy = "write" }`
)

// TestSecured: store, routing and edges over TLS, with the rights that the documents name and no more, the edge by Consul's own
// variables; and what doctor says of that Consul, and of settings that do not fit it.
func TestSecured(t *testing.T) {
	s := newSecured(t)
	s.client = s.consul.Servers[0]
	in := s.agent("docker")
	own := filepath.Join(in.Dir, "config", "release", "agent.yaml")
	s.settings(own, s.token("agents", agentRules), s.ca)
	edge := filepath.Join(in.Dir, "edge.yaml") // the user's own settings are the agent's
	if err := os.WriteFile(edge, []byte("router: {backend: consul}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	in.WriteProject("docker", 2, "cutover: {keep_previous: 10m, drain: {timeout: 5s}}\n")
	in.Bake("v1")
	if out := in.Must("up"); !strings.Contains(out.Stderr, "no edge serves it") {
		t.Errorf("without an edge up says:\n%s", out.Stderr)
	}
	if r := in.Status().Routes; len(r) != 1 || !strings.Contains(r[0].Error, "release router run --consul") {
		t.Errorf("without an edge status says %+v", r)
	}
	s.edge(in, s.variables(edge+".token", s.token("edges", edgeRules))...)
	in.Until("the edge to serve", time.Minute, func() bool { return in.Status().Routes[0].Error == "" && serves(in.Listen) == "v1" })
	in.Bake("v2")
	in.Operate("up")
	if got := serves(in.Listen); got != "v2" {
		t.Errorf("users get %q, want v2", got)
	}
	var split struct{ Splits []struct{ Weight float64 } }
	in.Until("the split to be in Consul", time.Minute, func() bool {
		s.ask(http.MethodGet, "/v1/config/service-splitter/release-hello-production-web", nil, &split)
		return len(split.Splits) > 0
	})
	checks := doctor(t, in)
	for name, want := range map[string]string{"consul token": "ok", "consul tls": "warn", "edges": "ok", "consul": "warn"} { // an hour's certificate, one server
		if checks[name].State != want {
			t.Errorf("%s: %+v, want %s", name, checks[name], want)
		}
	}
	if got := checks["consul"].Message; !strings.Contains(got, "1 server") {
		t.Errorf("of Consul it says %q", got)
	}

	other := suite.New(t, "docker") // a machine whose settings do not fit; nothing is started there
	if err := os.MkdirAll(filepath.Join(other.Dir, "config", "release"), 0o755); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(other.Dir, "config", "release", "agent.yaml")
	other.Env = append(other.Env, "XDG_CONFIG_HOME="+filepath.Join(other.Dir, "config"))
	stranger := consultest.NewAuthority(t, "stranger")
	for name, test := range map[string]struct{ token, ca, check, hint string }{
		"no keys":       {s.token("nokeys", `session_prefix "" { policy = "write" }`), s.ca, "consul token", `key_prefix "release/"`},
		"reads only":    {s.token("reads", `key_prefix "release/" { policy = "read" } session_prefix "" { policy = "write" }`), s.ca, "consul token", `key_prefix "release/"`},
		"no locks":      {s.token("nolocks", `key_prefix "release/" { policy = "write" }`), s.ca, "consul token", `session_prefix ""`},
		"no services":   {s.token("noservices", edgeRules), s.ca, "consul token", `service_prefix "release-"`},
		"no nodes":      {s.token("nonodes", edgeRules+` service_prefix "release-" { policy = "write" }`), s.ca, "consul token", `node_prefix "release-"`},
		"unknown token": {"11111111-2222-3333-4444-555555555555", s.ca, "consul token", "CONSUL_HTTP_TOKEN"},
		"another CA":    {managing, stranger.File("stranger.pem"), "consul", "store.consul.ca"},
	} {
		s.settings(settings, test.token, test.ca)
		if got := doctor(t, other)[test.check]; got.State != "fail" || !strings.Contains(got.Hint, test.hint) {
			t.Errorf("%s: %+v, want a failure with the hint %q", name, got, test.hint)
		}
	}
	in.Must("destroy", "-y")
	in.Must("agent", "stop")
	s.consul.Servers[0].Kill()
	if got := doctor(t, in)["consul"]; got.State != "fail" || got.Hint == "" {
		t.Errorf("without Consul: %+v", got)
	}
	s.consul.Servers[0].Start()
	s.consul.Await()
}

// doctor is what release doctor says, by check; of those with the same name the last.
func doctor(t *testing.T, in *harness.Installation) map[string]api.Check {
	t.Helper()
	var res api.DoctorResult
	in.JSON(&res, "doctor")
	checks := map[string]api.Check{}
	for _, c := range res.Checks {
		checks[c.Name] = c
	}
	return checks
}
