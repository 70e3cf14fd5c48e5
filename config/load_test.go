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
fleet: {driver: docker, size: 4, resources: {cpus: 1, memory: 512MiB}, stop: {signal: TERM, grace: 10s}, env: {LOG: info}, secrets: {DB_URL: file:/run/s/db}, drift: {policy: replace, allow: [/var/cache/**, /srv/*.pid], every: 30s}}
health: {http: {path: /healthz, port: 8080}, interval: 1s, timeout: 500ms, healthy_after: 2, unhealthy_after: 3, start_within: 60s}
route:
  listen: ":443"
  node_http: h2c
  hosts: [shop.example]
  paths: [/api]
  tls: {cert: tls/cert.pem, key: /etc/key.pem, redirect: ":80", hsts: 8760h, client_ca: tls/ca.pem}
  trusted: [10.0.0.0/8, 192.0.2.1]
  proxy_protocol: true
  preview: {from: [10.0.0.0/8, "::1"], key: env:PREVIEW}
  rules: [{header: {x-team: beta}, from: [10.0.0.0/8], to: candidate}, {cookie: {beta: ""}, path: [/beta], to: r8}]
  sticky: cookie
  balance: {slow_start: 30s, eject_after: 0, max_in_flight: 100, max_queue: 10, queue_wait: 1s, timeout: 1m, hedge_after: 200ms}
cutover:
  steps: [{percent: 10, hold: 2m}, {percent: 50, hold: 2m}, {percent: 100}]
  verdict: {false_alarms: 0.5%, missed: 2%, worse_from: {errors: 0.2%, latency: 2x}, good_within: {errors: 2%, slow: 5%}, enough: 1000, wait: 10m}
  abort_on: {error_rate: 1%, p99_over_old: 1.5x, min_requests: 200}
  keep_previous: 15m
  drain: {timeout: 30s, sessions: 1h, long_connections: 10m, close_within: 10s}
environments: {staging: {fleet: {size: 1}, route: {listen: ":8081"}, health: {tcp: {}}, cutover: {verdict: off, abort_on: }}, dev: }
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
		Fleet: config.Fleet{Size: 1, Stop: config.Stop{Signal: "TERM", Grace: seconds(10)}, QuarantineFor: seconds(7200), Drift: config.Drift{Policy: "report", Every: minutes(1)}},
		Health: config.Health{
			Interval: seconds(1), Timeout: config.Duration(500 * time.Millisecond), HealthyAfter: 2, UnhealthyAfter: 3,
			StartWithin: minutes(1), ReplaceAfter: seconds(30),
		},
		Route: config.Route{
			Listen: ":8080", Protocol: "http", NodeHTTP: "http1", Preview: config.Preview{From: []string{"127.0.0.0/8", "::1/128"}},
			Balance: config.Balance{EjectAfter: 5, MaxQueue: 1024, QueueWait: seconds(5)},
		},
		Cutover: config.Cutover{
			Steps: []config.Step{{Percent: 100}}, KeepPrevious: minutes(15),
			Drain: config.Drain{Timeout: seconds(30), LongConnections: minutes(10), CloseWithin: seconds(10)},
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
	want.Fleet.Drift = config.Drift{Policy: "replace", Allow: []string{"/var/cache/**", "/srv/*.pid"}, Every: seconds(30)}
	want.Health.HTTP = &config.HTTPCheck{Path: "/healthz", Port: 8080}
	dir := filepath.Dir(got.Path())
	want.Route.Listen, want.Route.Hosts, want.Route.Paths = ":443", []string{"shop.example"}, []string{"/api"}
	want.Route.TLS = &config.TLS{Cert: filepath.Join(dir, "tls/cert.pem"), Key: "/etc/key.pem", Redirect: ":80",
		HSTS: config.Duration(8760 * time.Hour), ClientCA: filepath.Join(dir, "tls/ca.pem")}
	want.Route.Preview = config.Preview{From: []string{"10.0.0.0/8", "::1/128"}, Key: "env:PREVIEW"}
	want.Route.Trusted, want.Route.ProxyProtocol = []string{"10.0.0.0/8", "192.0.2.1/32"}, true
	want.Route.Rules = []config.Rule{
		{Header: map[string]string{"X-Team": "beta"}, From: []string{"10.0.0.0/8"}, To: "candidate"},
		{Cookie: map[string]string{"beta": ""}, Path: []string{"/beta"}, To: "r8"},
	}
	want.Route.Sticky = &config.Sticky{Cookie: "release_shop"}
	want.Route.NodeHTTP = "h2c"
	want.Route.Balance = config.Balance{SlowStart: seconds(30), EjectAfter: 0, MaxInFlight: 100, MaxQueue: 10, QueueWait: seconds(1), Timeout: minutes(1), HedgeAfter: config.Duration(200 * time.Millisecond)}
	want.Cutover.Steps = []config.Step{{Percent: 10, Hold: minutes(2)}, {Percent: 50, Hold: minutes(2)}, {Percent: 100}}
	want.Cutover.Drain.Sessions = config.Duration(time.Hour)
	want.Cutover.Verdict = &config.Verdict{FalseAlarms: 0.5, Missed: 2, WorseFrom: config.WorseFrom{Errors: 0.2, Latency: 2},
		GoodWithin: config.GoodWithin{Errors: 2, Slow: 5}, Enough: 1000, Wait: minutes(10)}
	want.Cutover.AbortOn = &config.AbortOn{ErrorRate: 1, P99OverOld: 1.5, MinRequests: 200}
	same(t, want, got)
	if p := got.At("cutover", "steps", 1, "percent"); p.Line != 18 || p.Column != 46 {
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
	if v, on := got.Cutover.Judged(); on || !v.Off {
		t.Errorf("the overlay's off did not replace the app's verdict: %+v", v)
	}
	want := load(t, full, "production")
	want.Env = "dev"
	got = load(t, full, "dev")
	want.Route.TLS, got.Route.TLS = nil, nil
	want.Route.Sticky.Cookie = "release_shop_dev"
	same(t, want, got)
}

func TestEnvironments(t *testing.T) {
	got, err := config.Environments(write(t, full))
	if err != nil || strings.Join(got, " ") != "dev production staging" {
		t.Errorf("got %v, %v", got, err)
	}
}

const tcp = `app: db
route: {listen: ":5432", protocol: tcp, sticky: client-address}
environments: {staging: {route: {sticky: }}}
`

const acme = `app: shop
route: {listen: ":443", hosts: [shop.example], tls: {acme: {email: ops@shop.example, root_ca: ca.pem}}, sticky: {header: x-user}}
environments: {staging: {route: {tls: {acme: {directory: "https://ca.example/dir"}}, sticky: {header: , cookie: c, max_age: 24h}}}}
`

// An app travels as JSON and is shown as YAML; both ways lose nothing.
func TestRoundTrips(t *testing.T) {
	for _, env := range []string{"production", "staging"} {
		for _, src := range []string{full, tcp, acme} {
			travel(t, load(t, src, env), env)
		}
	}
}

func travel(t *testing.T, app *config.App, env string) {
	t.Helper()
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

// An app on record that was written before a key was there gets the key's default, so that it equals one read now.
func TestOlderRecord(t *testing.T) {
	var back config.App
	old := `{"app":"shop","env":"production","recipe":"recipes/shop.yaml","fleet":{"size":1,"resources":{},"stop":{"signal":"TERM","grace":"10s"}},
"health":{"interval":"1s","timeout":"500ms","healthy_after":2,"unhealthy_after":3,"start_within":"1m","replace_after":"30s"},
"route":{"listen":":8080","preview":{"from":["127.0.0.0/8","::1/128"]}},
"cutover":{"steps":[{"percent":100}],"keep_previous":"15m","drain":{"timeout":"30s"}}}`
	if err := json.Unmarshal([]byte(old), &back); err != nil {
		t.Fatal(err)
	}
	same(t, smallApp(), &back)
}

func TestStickyForms(t *testing.T) {
	for src, want := range map[string]config.Sticky{
		"cookie":                       {Cookie: "release_shop"},
		"client-address":               {ClientAddress: true},
		"{cookie: id}":                 {Cookie: "id"},
		"{cookie: id, max_age: 1h}":    {Cookie: "id", MaxAge: minutes(60)},
		"{header: x-user}":             {Header: "X-User"},
		"{header: X-User, cookie: , }": {Header: "X-User"},
	} {
		got := load(t, "app: shop\nroute: {listen: \":1\", sticky: "+src+"}\n", "").Route.Sticky
		if got == nil || *got != want {
			t.Errorf("%s is %+v, want %+v", src, got, want)
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
  quarantine_for: 2h
  drift:
    policy: report
    every: 1m
health:
  interval: 1s
  timeout: 500ms
  healthy_after: 2
  unhealthy_after: 3
  start_within: 1m
  replace_after: 30s
route:
  listen: ":8080"
  protocol: http
  node_http: http1
  preview:
    from: [127.0.0.0/8, "::1/128"]
  balance:
    slow_start: 0s
    eject_after: 5
    max_queue: 1024
    queue_wait: 5s
cutover:
  steps:
    - percent: 100
  keep_previous: 15m
  drain:
    timeout: 30s
    sessions: 0s
    long_connections: 10m
    close_within: 10s
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
