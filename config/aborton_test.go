package config_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
)

func TestAbortOnAsks(t *testing.T) {
	path := withFiles(t, `cutover:
  abort_on:
    prometheus:
      - query: sum(rate(errors_total{release="$RELEASE", code=~"5..$"}[${SECONDS}s])) / $PERCENT
        above: 0
        for: 1m
        every: 15s
        url: https://metrics.example/prom
        token: file:/run/t
        headers: {X-Scope-OrgID: env:ORG}
      - {query: up, below: 1}
    command:
      - ./judge.sh $RELEASE_HOOK_RELEASE
      - {cmd: [/usr/bin/true], every: 1m, timeout: 5s, allow_failure: true, secrets: {T: env:T}}
`, "judge.sh")
	app, err := config.Load(path, "")
	if err != nil {
		t.Fatal(err)
	}
	on := app.Cutover.AbortOn
	m := on.Prometheus[0]
	if *m.Above != 0 || m.Below != nil || m.For.Std() != time.Minute || m.Every.Std() != 15*time.Second || m.Timeout.Std() != 5*time.Second || m.Limit() != "above 0 for 1m" {
		t.Errorf("the first is %+v, %s", m, m.Limit())
	}
	moment := config.Moment{Release: "r8", From: "r7", App: "shop", Env: "dev", Percent: 10, Since: 90 * time.Second}
	if got := m.At(moment); got != `sum(rate(errors_total{release="r8", code=~"5..$"}[90s])) / 10` {
		t.Errorf("asked is %s", got)
	}
	if c := on.Command; c[0].Every.Std() != 30*time.Second || c[0].Timeout.Std() != 10*time.Second || !c[1].AllowFailure || c[1].Hook().Secrets["T"] != "env:T" {
		t.Errorf("commands are %+v", c)
	}
	if files, err := app.HookFiles(); err != nil || !slices.Equal(files, []string{"judge.sh"}) {
		t.Errorf("files are %q, %v", files, err)
	}
	if v, on := app.Cutover.Judged(); !on || v.Wait.Std() != 5*time.Minute {
		t.Errorf("judged: %+v, %v", v, on)
	}
	text, err := app.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := config.Load(path, "")
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	same(t, app, again)
}

// Who does not compare waits as long for what abort_on asks.
func TestWaitWithoutVerdict(t *testing.T) {
	app := load(t, small+"cutover: {verdict: off, abort_on: {prometheus: [{query: up, below: 1}]}}\n", "")
	if v, on := app.Cutover.Judged(); on || v.Wait.Std() != 5*time.Minute {
		t.Errorf("judged: %+v, %v", v, on)
	}
}

func TestMetricLimits(t *testing.T) {
	limit := 0.5
	above, below := config.Metric{Above: &limit}, config.Metric{Below: &limit}
	if above.Bad(0.5) || !above.Bad(0.51) || below.Bad(0.5) || !below.Bad(0.49) {
		t.Error("a limit is what is still good")
	}
	if !above.Worse(2, 1) || !below.Worse(1, 2) {
		t.Error("the worst is the one that is furthest beyond the limit")
	}
}

func TestAbortOnRefused(t *testing.T) {
	for more, want := range map[string]string{
		"{}":                          "cutover.abort_on needs error_rate, p99_over_old, prometheus or command",
		"{prometheus: [{query: up}]}": "cutover.abort_on.prometheus[0] needs above or below, one of them",
		"{prometheus: [{above: 1}]}":  "cutover.abort_on.prometheus[0].query is missing",
		"{prometheus: [{query: up, above: 1, below: 2}]}":                                     "needs above or below, one of them",
		"{prometheus: [{query: \" \", above: 1}]}":                                            "query must not be empty",
		"{prometheus: [{query: up, above: .inf}]}":                                            "above must be",
		"{prometheus: [{query: up, above: 1, every: 10ms}]}":                                  "every must be at least 1s",
		"{prometheus: [{query: up, above: 1, timeout: 1ms}]}":                                 "timeout must be at least 100ms",
		"{prometheus: [{query: \"up{r='$RELAESE'}\", above: 1}]}":                             "there is no variable $RELAESE",
		"{prometheus: [{query: up, above: 1, url: metrics}]}":                                 "url must be http://host:port",
		"{prometheus: [{query: up, above: 1, url: \"http://me:hunter2@m\"}]}":                 "url must be http://host:port",
		"{prometheus: [{query: up, above: 1, token: file:/t}]}":                               "no url that they are for",
		"{prometheus: [{query: up, above: 1, url: \"http://m\", token: hunter2}]}":            "token must be a reference",
		"{prometheus: [{query: up, above: 1, url: \"http://m\", headers: {A: hunter2}}]}":     "headers.A must be a reference",
		"{prometheus: [{query: up, above: 1, url: \"http://m\", headers: {A b: \"env:A\"}}]}": "is not the name of a header",
		"{command: [./no.sh]}":                            "cutover.abort_on.command[0]: ",
		"{command: [{cmd: x, every: 10ms}]}":              "cutover.abort_on.command[0].every must be at least 1s",
		"{command: [{cmd: x, timeout: 10ms}]}":            "cutover.abort_on.command[0].timeout must be at least 1s",
		"{command: [{cmd: x, secrets: {A: hunter2}}]}":    "cutover.abort_on.command[0].secrets.A must be a reference",
		"{command: [{cmd: x, for: 1m}]}":                  `unknown key "for"`,
		"{command: [" + strings.Repeat("x, ", 21) + "x]}": "may have 20 queries and 20 commands",
	} {
		_, err := config.Load(withFiles(t, "cutover: {abort_on: "+more+"}\n"), "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant something of %s", more, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the value is shown: %v", more, err)
		}
	}
}

func TestAgentPrometheus(t *testing.T) {
	load := func(text string) (*config.Agent, error) {
		path := t.TempDir() + "/agent.yaml"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.LoadAgent(path)
	}
	if a, err := load("prometheus: {url: \"http://127.0.0.1:9090\", headers: {X-Org: env:ORG}}\n"); err != nil || a.Prometheus.URL != "http://127.0.0.1:9090" {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := load("prometheus: {url: \"127.0.0.1:9090\"}\n"); err == nil || !strings.Contains(err.Error(), "prometheus.url must be") {
		t.Errorf("a bare address: %v", err)
	}
}
