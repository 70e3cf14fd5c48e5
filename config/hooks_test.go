package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
)

// withFiles writes a release.yaml beside files.
func withFiles(t *testing.T, more string, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "release.yaml")
	if err := os.WriteFile(path, []byte(small+more), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHooks(t *testing.T) {
	path := withFiles(t, `hooks:
  before_cutover:
    - ./smoke.sh --fast < ./wanted.txt > ./out.txt
    - [./bin/check, ./lib/a.txt, plain]
    - {cmd: [curl, -sf, "https://ci.example"], timeout: 5m, allow_failure: true, files: [lib], secrets: {TOKEN: file:/run/t}}
  on_abort: [/usr/local/bin/page]
environments: {dev: {hooks: {on_abort: []}}}
`, "smoke.sh", "wanted.txt", "bin/check", "lib/a.txt", "lib/deep/b.txt", "other.txt")
	app, err := config.Load(path, "")
	if err != nil {
		t.Fatal(err)
	}
	list := app.Hooks.At(config.BeforeCutover)
	if len(list) != 3 || !slices.Equal(list[0].Cmd, []string{"/bin/sh", "-c", "./smoke.sh --fast < ./wanted.txt > ./out.txt"}) ||
		list[0].Timeout.Std() != time.Minute || list[2].Timeout.Std() != 5*time.Minute || !list[2].AllowFailure || list[2].Secrets["TOKEN"] != "file:/run/t" {
		t.Errorf("hooks are %+v", list)
	}
	files, err := app.HookFiles()
	if want := []string{"bin/check", "lib/a.txt", "lib/deep/b.txt", "smoke.sh", "wanted.txt"}; err != nil || !slices.Equal(files, want) {
		t.Errorf("files are %q, %v; want %q", files, err, want)
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

func TestHooksOfAnEnvironment(t *testing.T) {
	path := withFiles(t, "hooks: {before_cutover: [./a.sh], on_abort: [./a.sh]}\nenvironments: {dev: {hooks: {on_abort: []}}}\n", "a.sh")
	dev, err := config.Load(path, "dev")
	if err != nil || len(dev.Hooks.OnAbort) != 0 || len(dev.Hooks.BeforeCutover) != 1 {
		t.Errorf("%+v, %v", dev, err)
	}
}

func TestJobs(t *testing.T) {
	app := load(t, small+`jobs:
  cleanup: {cmd: [/app, clean], schedule: "*/5 * * * *", timeout: 10m, on_overlap: queue}
  by-hand: {cmd: /app report}
`, "")
	clean, hand := app.Jobs["cleanup"], app.Jobs["by-hand"]
	if clean.OnOverlap != config.OverlapQueue || clean.Timeout != minutes(10) || clean.Schedule.IsZero() ||
		hand.OnOverlap != config.OverlapSkip || hand.Timeout != minutes(60) || !hand.Schedule.IsZero() || hand.Cmd.String() != "/app report" {
		t.Errorf("jobs are %+v", app.Jobs)
	}
	at := time.Date(2026, 11, 21, 16, 2, 0, 0, time.UTC)
	if next := clean.Schedule.Next(at); next.Minute() != 5 {
		t.Errorf("next is %s", next)
	}
	if next := hand.Schedule.Next(at); !next.IsZero() {
		t.Errorf("a job by hand is due at %s", next)
	}
}

func TestHooksAndJobsRefused(t *testing.T) {
	for more, want := range map[string]string{
		"hooks: {before_cutover: [./no.sh]}":                                    ":4:26: hooks.before_cutover[0]: ",
		"hooks: {before_cutover: [../a.sh x]}":                                  "",
		"hooks: {before_cutover: [{cmd: x, files: [../a]}]}":                    ":4:26: hooks.before_cutover[0]: \"../a\" does not lie below",
		"hooks: {before_cut: [./a.sh]}":                                         `unknown key "before_cut" in hooks`,
		"hooks: {on_abort: [\"\"]}":                                             "hooks.on_abort[0] must not be empty",
		"hooks: {on_abort: [[]]}":                                               "hooks.on_abort[0] must begin with a program",
		"hooks: {on_abort: [{timeout: 1s}]}":                                    "hooks.on_abort[0].cmd is missing",
		"hooks: {on_abort: [{cmd: x, timeout: 1ms}]}":                           ":4:38: hooks.on_abort[0].timeout must be at least 1s",
		"hooks: {on_abort: [{cmd: x, secrets: {A: hunter2}}]}":                  "hooks.on_abort[0].secrets.A must be a reference",
		"hooks: {on_abort: [{cmd: x, secrets: {RELEASE_HOOK_APP: \"env:A\"}}]}": "is not a name that a variable of a hook may have",
		"hooks: {on_abort: [{cmd: x, alow_failure: true}]}":                     "allow_failure",
		"jobs: {a: {cmd: [x], schedule: \"60 * * * *\"}}":                       `:4:32: jobs.a.schedule: schedule: the minute "60" must be`,
		"jobs: {a: {schedule: \"@daily\"}}":                                     "jobs.a.cmd is missing",
		"jobs: {A: {cmd: [x]}}":                                                 `:4:8: job "A" must be`,
		"jobs: {a: {cmd: [x], on_overlap: wait}}":                               "on_overlap",
		"jobs: {a: {cmd: [x], timeout: 1ms}}":                                   "jobs.a.timeout must be at least 1s",
		"jobs: [a]":                                                             "jobs must be a mapping",
	} {
		_, err := config.Load(withFiles(t, more+"\n"), "")
		switch {
		case want == "":
			if err != nil {
				t.Errorf("%s: %v; a word that does not begin with ./ is no file of ours", more, err)
			}
		case err == nil || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v\nwant something of %s", more, err, want)
		}
	}
}

func TestHookFilesAreBounded(t *testing.T) {
	path := withFiles(t, "hooks: {on_abort: [./big]}\n", "big")
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "big"), make([]byte, 300<<10), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path, ""); err == nil || !strings.Contains(err.Error(), "may have 256KiB") {
		t.Errorf("a large file: %v", err)
	}
	var names []string
	for i := range 101 {
		names = append(names, filepath.Join("many", strings.Repeat("x", i+1)))
	}
	if _, err := config.Load(withFiles(t, "hooks: {on_abort: [{cmd: x, files: [many]}]}\n", names...), ""); err == nil || !strings.Contains(err.Error(), "101 files") {
		t.Errorf("many files: %v", err)
	}
}

func TestAgentHooksUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte("hooks: {user: deploy}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := config.LoadAgent(path)
	if err != nil || a.Hooks.User != "deploy" {
		t.Errorf("%+v, %v", a, err)
	}
}
