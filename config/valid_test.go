package config_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/bootandshoot/release/config"
)

// What was read from a file is valid when it comes as JSON, without the files that it names.
func TestValid(t *testing.T) {
	roles := "app: shop\nhealth: {interval: 2s}\nroles: {web: {route: {listen: \":1\"}, needs: [api]}, api: {internal: true, verdict: off}, db: {accessory: true, cmd: [/db]}}\n"
	for _, src := range []string{small, full, tcp, acme, roles} {
		app := load(t, src, "")
		text, err := json.Marshal(app)
		if err != nil {
			t.Fatal(err)
		}
		var came config.App
		if err := json.Unmarshal(text, &came); err != nil {
			t.Fatal(err)
		}
		if err := config.Valid(&came); err != nil {
			t.Errorf("%v\n%s", err, src)
		}
	}
	app, err := config.Load(withFiles(t, "hooks: {on_abort: [./page.sh, {cmd: x, files: [lib]}]}\ncutover: {abort_on: {command: [./judge.sh], prometheus: [{query: up, above: 0}]}}\n", "page.sh", "lib/a", "judge.sh"), "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(app)
	if err != nil {
		t.Fatal(err)
	}
	var came config.App
	if err := json.Unmarshal(text, &came); err != nil {
		t.Fatal(err)
	}
	if err := config.Valid(&came); err != nil {
		t.Errorf("with hooks: %v", err)
	}
}

// Nothing that no file could say gets in as JSON: some of it would end an agent, and each that follows it.
func TestInvalid(t *testing.T) {
	for change, want := range map[string]string{
		`"app": "../x"`:                 "is not an app in an environment",
		`"env": ""`:                     "is not an app in an environment",
		`"fleet": {"size": 1000000000}`: "fleet.size must be at most 1000",
		`"fleet": {"size": -1}`:         "fleet.size must be at least 1",
		`"health": {"interval": "1ns"}`: "health.interval must be at least 10ms",
		`"cutover": {"steps": []}`:      "cutover.steps must have at least one step",
		`"cutover": {"steps": [{"percent": -5}, {"percent": 100}]}`:                             "cutover.steps[0].percent must be at least 1",
		`"cutover": {"steps": [{"percent": 100, "hold": "-1h"}]}`:                               "is negative",
		`"hooks": {"on_abort": [{"cmd": []}]}`:                                                  "hooks.on_abort[0].cmd must begin with a program",
		`"hooks": {"on_abort": [{"cmd": ["x"], "timeout": "0s"}]}`:                              "hooks.on_abort[0].timeout must be at least 1s",
		`"hooks": {"on_abort": [{"cmd": ["x"], "secrets": {"A": "value"}}]}`:                    "must be a reference",
		`"jobs": {"a": {"cmd": []}}`:                                                            "jobs.a.cmd must begin with a program",
		`"jobs": {"a": {"cmd": ["x"], "schedule": "* * *"}}`:                                    "schedule",
		`"cutover": {"abort_on": {"command": [{"cmd": [""]}]}}`:                                 "cutover.abort_on.command[0].cmd must begin with a program",
		`"cutover": {"abort_on": {"prometheus": [{"query": "up"}]}}`:                            "needs above or below",
		`"cutover": {"abort_on": {"prometheus": [{"query": "up", "above": 1, "every": "0s"}]}}`: "every must be at least 1s",
		`"route": {"listen": "nowhere"}`:                                                        "route.listen",
	} {
		var app config.App
		err := json.Unmarshal([]byte(`{"app": "shop", "env": "dev", "route": {"listen": ":1"}, `+change+`}`), &app)
		if err == nil {
			err = config.Valid(&app)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant something of %s", change, err, want)
		}
	}
}
