package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

const small = "app: shop\nrecipe: recipes/shop.yaml\nroute: {listen: \":8080\"}\n"

const full = `app: shop
recipe: recipes/shop.yaml
fleet: {driver: docker, size: 4, resources: {cpus: 1, memory: 512MiB}, stop: {signal: TERM, grace: 10s}, env: {LOG: info}, secrets: {DB_URL: file:/run/s/db}}
health: {http: {path: /healthz, port: 8080}, interval: 1s, timeout: 500ms, healthy_after: 2, unhealthy_after: 3, start_within: 60s}
route: {listen: ":443", hosts: [shop.example], paths: [/api], tls: {cert: tls/cert.pem, key: /etc/key.pem}, preview: {from: [10.0.0.0/8, "::1"], key: env:PREVIEW}}
cutover:
  steps: [{percent: 10, hold: 2m}, {percent: 50, hold: 2m}, {percent: 100}]
  abort_on: {error_rate: 1%, p99_over_old: 1.5x, min_requests: 200}
  keep_previous: 15m
  drain: {timeout: 30s}
environments: {staging: {fleet: {size: 1}, route: {listen: ":8081"}, health: {tcp: {}}, cutover: {abort_on: }}, dev: }
`

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "release.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, content, env string) *config.App {
	t.Helper()
	app, err := config.Load(write(t, content), env)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

func same(t *testing.T, want, got *config.App) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(config.App{})); diff != "" {
		t.Error(diff)
	}
}

func minutes(n int) config.Duration { return config.Duration(time.Duration(n) * time.Minute) }
func seconds(n int) config.Duration { return config.Duration(time.Duration(n) * time.Second) }

func smallApp() *config.App {
	return &config.App{
		App: "shop", Env: "production", Recipe: "recipes/shop.yaml",
		Fleet: config.Fleet{Size: 1, Stop: config.Stop{Signal: "TERM", Grace: seconds(10)}},
		Health: config.Health{
			Interval: seconds(1), Timeout: config.Duration(500 * time.Millisecond), HealthyAfter: 2, UnhealthyAfter: 3,
			StartWithin: minutes(1), ReplaceAfter: seconds(30),
		},
		Route: config.Route{Listen: ":8080", Preview: config.Preview{From: []string{"127.0.0.0/8", "::1/128"}}},
		Cutover: config.Cutover{
			Steps: []config.Step{{Percent: 100}}, KeepPrevious: minutes(15), Drain: config.Drain{Timeout: seconds(30)},
		},
	}
}

func TestDefaults(t *testing.T) { same(t, smallApp(), load(t, small, "")) }

func TestFull(t *testing.T) {
	got := load(t, full, "production")
	want := smallApp()
	want.Fleet.Driver, want.Fleet.Size = "docker", 4
	want.Fleet.Resources = config.Resources{CPUs: 1, Memory: 512 << 20}
	want.Fleet.Env, want.Fleet.Secrets = map[string]string{"LOG": "info"}, map[string]string{"DB_URL": "file:/run/s/db"}
	want.Health.HTTP = &config.HTTPCheck{Path: "/healthz", Port: 8080}
	want.Route = config.Route{
		Listen: ":443", Hosts: []string{"shop.example"}, Paths: []string{"/api"},
		TLS:     &config.TLS{Cert: filepath.Join(filepath.Dir(got.Path()), "tls/cert.pem"), Key: "/etc/key.pem"},
		Preview: config.Preview{From: []string{"10.0.0.0/8", "::1/128"}, Key: "env:PREVIEW"},
	}
	want.Cutover.Steps = []config.Step{{Percent: 10, Hold: minutes(2)}, {Percent: 50, Hold: minutes(2)}, {Percent: 100}}
	want.Cutover.AbortOn = &config.AbortOn{ErrorRate: 1, P99OverOld: 1.5, MinRequests: 200}
	same(t, want, got)
	if p := got.At("cutover", "steps", 1, "percent"); p.Line != 7 || p.Column != 46 {
		t.Errorf("second step is at %d:%d", p.Line, p.Column)
	}
	if p := got.At("recipe"); p.Line != 2 || p.Column != 9 {
		t.Errorf("recipe is at %d:%d", p.Line, p.Column)
	}
}

func TestOverlay(t *testing.T) {
	got := load(t, full, "staging")
	if got.Env != "staging" || got.Fleet.Size != 1 || got.Fleet.Driver != "docker" || got.Route.Listen != ":8081" || len(got.Route.Hosts) != 1 {
		t.Errorf("got %+v", got)
	}
	if got.Health.HTTP != nil || got.Health.TCP == nil {
		t.Error("the overlay's kind of check did not replace the app's")
	}
	if got.Cutover.AbortOn != nil {
		t.Error("an empty value did not take away abort_on")
	}
	want := load(t, full, "production")
	want.Env = "dev"
	got = load(t, full, "dev")
	want.Route.TLS, got.Route.TLS = nil, nil
	same(t, want, got)
}

func TestEnvironments(t *testing.T) {
	got, err := config.Environments(write(t, full))
	if err != nil || strings.Join(got, " ") != "dev production staging" {
		t.Errorf("got %v, %v", got, err)
	}
}

// An app travels as JSON and is shown as YAML; both ways lose nothing.
func TestRoundTrips(t *testing.T) {
	for _, env := range []string{"production", "staging"} {
		app := load(t, full, env)
		data, err := json.Marshal(app)
		if err != nil {
			t.Fatal(err)
		}
		var back config.App
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		same(t, app, &back)
		if back.Path() != "" || back.At("app") != (config.Position{}) {
			t.Error("an app from JSON has a place")
		}
		shown, err := app.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again := load(t, string(shown), env)
		same(t, app, again)
		if second, err := again.YAML(); err != nil || string(second) != string(shown) {
			t.Errorf("shown twice differently: %v\n%s\n%s", err, shown, second)
		}
	}
}

func TestShown(t *testing.T) {
	got, err := load(t, small, "").YAML()
	if err != nil {
		t.Fatal(err)
	}
	want := `# environment production, with all defaults
app: shop
recipe: recipes/shop.yaml
fleet:
  size: 1
  stop:
    signal: TERM
    grace: 10s
health:
  interval: 1s
  timeout: 500ms
  healthy_after: 2
  unhealthy_after: 3
  start_within: 1m
  replace_after: 30s
route:
  listen: ":8080"
  preview:
    from: [127.0.0.0/8, "::1/128"]
cutover:
  steps:
    - percent: 100
  keep_previous: 15m
  drain:
    timeout: 30s
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestRedacted(t *testing.T) {
	app := load(t, small+`fleet:
  env:
    LOG: info
    DB_PASSWORD: x
    api_token: x
    SIGNING_KEY: x
    AWS_CREDENTIALS: x
    EMPTY_SECRET: ""
    DATABASE_URL: postgres://u:p@db/shop
    CACHE: redis://:p@cache
    HOME_URL: https://shop.example/
    ODD: "http://a b:c@%zz"
    PEM: "-----BEGIN PRIVATE KEY-----"
  secrets: {DB: file:/run/s/db}
`, "")
	got := config.Redacted(app)
	want := map[string]string{
		"LOG": "info", "DB_PASSWORD": "***", "api_token": "***", "SIGNING_KEY": "***", "AWS_CREDENTIALS": "***", "EMPTY_SECRET": "",
		"DATABASE_URL": "***", "CACHE": "***", "HOME_URL": "https://shop.example/", "ODD": "***", "PEM": "***",
	}
	if diff := cmp.Diff(want, got.Fleet.Env); diff != "" {
		t.Error(diff)
	}
	if got.Fleet.Secrets["DB"] != "file:/run/s/db" || app.Fleet.Env["DB_PASSWORD"] != "x" {
		t.Error("redacting took a reference or changed the app")
	}
	shown, err := got.YAML()
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, load(t, string(shown), ""))
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Find(deep); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(root, "release.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(deep, "release.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := config.Find(deep); err != nil || got != filepath.Join(root, "release.yaml") {
		t.Errorf("got %s, %v", got, err)
	}
	t.Chdir(deep)
	if got, err := config.Find("."); err != nil || got != "../../release.yaml" {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := config.Find("missing"); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
}

func TestLoadNoFile(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "release.yaml"), "")
	if all := fault.All(err); len(all) != 1 || all[0].Code != fault.NotFound || !strings.Contains(all[0].Hint, "release init") {
		t.Errorf("got %+v", all)
	}
}
