package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/sandbox"
)

// programVariable makes the test binary the program itself, for tests of what only a process shows.
const programVariable = "RELEASE_TEST_PROGRAM"

func TestMain(m *testing.M) {
	sandbox.Main()
	if os.Getenv(programVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

// ran is what a command line gave.
type ran struct {
	code           int
	stdout, stderr string
}

// run executes a command line in the folder with a state folder of its own and the variables given ("K=V").
func run(t *testing.T, dir, args string, env ...string) ran {
	t.Helper()
	t.Chdir(dir)
	vars := map[string]string{
		"RELEASE_STATE_DIR": filepath.Join(t.TempDir(), "state"), "RELEASE_IMAGES_DIR": filepath.Join(t.TempDir(), "images"),
		"HOME": t.TempDir(),
	}
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		vars[k] = v
	}
	var stdout, stderr bytes.Buffer
	c := newCLI(strings.NewReader(""), &stdout, &stderr, func(name string) (string, bool) { v, ok := vars[name]; return v, ok })
	code := execute(context.Background(), c, strings.Fields(args))
	return ran{code, stdout.String(), stderr.String()}
}

func project(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	smallApp    = "app: shop\nrecipe: recipe.yaml\nroute: {listen: \":18080\"}\n"
	smallRecipe = "name: shop\nbase: scratch\ncopy: [{from: ./recipe.yaml, to: /x}]\nports: [8080]\nentrypoint: [/x]\n"
)

func TestExitCodesAndMessages(t *testing.T) {
	good := map[string]string{"release.yaml": smallApp, "recipe.yaml": smallRecipe}
	for _, c := range []struct {
		name, args string
		files      map[string]string
		env        []string
		code       int
		says       []string // on either output
	}{
		{name: "validate certificates", args: "validate", code: 2, files: map[string]string{
			"release.yaml": smallApp + "environments: {staging: {route: {tls: {cert: none.pem, key: text.pem}}}}\n", "recipe.yaml": smallRecipe, "text.pem": "x"},
			says: []string{"release.yaml:4:", "route.tls.cert: there is no file", "none.pem", "route.tls.key:", "is no PEM file"}},
		{name: "bare port", args: "validate", code: 2, says: []string{"must be text, not a number 8080", `listen: ":8080"`}, files: map[string]string{
			"release.yaml": "app: shop\nrecipe: recipe.yaml\nroute: {listen: 8080}\n", "recipe.yaml": smallRecipe}},
		{name: "no verb", args: "", code: 0, says: []string{"Exit codes", "rollback"}},
		{name: "help of a verb", args: "cutover --help", code: 0, says: []string{"--percent share", "release cutover r8"}},
		{name: "unknown verb", args: "lanch", code: 2, says: []string{`no verb "lanch"`, "did you mean release launch?"}},
		{name: "unknown verb of a group", args: "agent stopp", code: 2, says: []string{"did you mean release agent stop?"}},
		{name: "unknown flag", args: "cutover --precent 10", code: 2, says: []string{"unknown flag: --precent", "did you mean --percent?"}},
		{name: "bad flag value", args: "cutover --percent many", code: 2, says: []string{"invalid argument"}},
		{name: "percent out of range", args: "cutover --percent 101", files: good, code: 2, says: []string{"101 is not from 1 to 100"}},
		{name: "percent 0", args: "cutover --percent 0", files: good, code: 2, says: []string{"release rollback"}},
		{name: "missing argument", args: "scale", code: 2, says: []string{"the size is missing", "release scale [ROLE=]SIZE"}},
		{name: "extra argument", args: "history now", code: 2, says: []string{`"now" is one argument too many`}},
		{name: "bad size", args: "scale none", files: good, code: 2, says: []string{"not a number of nodes"}},
		{name: "size of no role", args: "scale =3", files: good, code: 2, says: []string{"no role is named", "release scale [ROLE=]SIZE"}},
		{name: "plan without end", args: "up --plan /dev/zero", files: good, code: 2, says: []string{"read /dev/zero: it is a device"}},
		{name: "no config", args: "status", code: 2, says: []string{"release.yaml", "release init"}},
		{name: "named config missing", args: "status -c gone.yaml", code: 2, says: []string{"gone.yaml"}},
		{
			name: "all mistakes at once", args: "validate", code: 2,
			files: map[string]string{"release.yaml": "app: shop\nroute: {listen: \":1\", lissten: 2}\nflet: {}\n", "recipe.yaml": smallRecipe},
			says:  []string{"release.yaml:2:", "lissten", "release.yaml:3:1", "fleet"},
		},
		{
			name: "mistakes in the recipe", args: "validate", code: 2,
			files: map[string]string{"release.yaml": smallApp, "recipe.yaml": "name: shop\nbase: scratch\ncopy: [{from: ./gone, to: /x}]\nprots: [1]\n"},
			says:  []string{"recipe.yaml:3:", "recipe.yaml:4:1", "ports"},
		},
		{
			name: "recipe that a fleet cannot be booted from", args: "validate", code: 2,
			files: map[string]string{"release.yaml": smallApp, "recipe.yaml": "name: shop\nbase: scratch\nports: [8080]\n"},
			says:  []string{"recipe.yaml:2:", "says nothing to run, and the fleet of shop is booted from it", "entrypoint: or services:"},
		},
		{
			name: "the same, by itself", args: "validate recipe.yaml",
			files: map[string]string{"recipe.yaml": "name: shop\nbase: scratch\n"}, says: []string{"recipe.yaml: ok"},
		},
		{
			name: "roles that say what to run", args: "validate", says: []string{"recipe.yaml: ok"},
			files: map[string]string{"release.yaml": "app: shop\nrecipe: recipe.yaml\nroles: {web: {cmd: [/x], route: {listen: \":18080\"}}}\n", "recipe.yaml": "name: shop\nbase: scratch\nports: [8080]\n"},
		},
		{name: "two letters swapped", args: "stauts", code: 2, says: []string{"did you mean release status?"}},
		{
			name: "recipe that is not there", args: "validate", code: 2, files: map[string]string{"release.yaml": smallApp},
			says: []string{"release.yaml:", "recipe recipe.yaml: there is no such file"},
		},
		{name: "bake of a recipe that is not there", args: "bake", code: 2, files: map[string]string{"release.yaml": smallApp}, says: []string{"release.yaml:"}},
		{name: "valid", args: "validate", files: good, code: 0, says: []string{"release.yaml: ok", "recipe.yaml: ok"}},
		{name: "config", args: "config", files: good, code: 0, says: []string{"app: shop", "healthy_after: 2"}},
		{name: "unknown environment", args: "config -e stagign", files: good, code: 2, says: []string{"stagign"}},
		{name: "status without an agent", args: "status", files: good, code: 1, says: []string{"no agent runs", "release up"}},
		{name: "agent status", args: "agent status", code: 0, says: []string{"no agent answers"}},
		{name: "agent stop", args: "agent stop", code: 0, says: []string{"no agent runs"}},
		{name: "agent logs", args: "agent logs", code: 1, says: []string{"no agent ran in the background"}},
		{name: "router status", args: "router status", code: 0, says: []string{"no router runs"}},
		{name: "settings of an edge", args: "router run --settings agent.yaml", code: 2, says: []string{"--consul is not given", "router run --consul --settings agent.yaml"}},
		{name: "top too often", args: "top --interval 1ms", files: good, code: 2, says: []string{"1 ms", "at least 250 ms"}},
		{name: "router upgrade", args: "router upgrade", code: 1, says: []string{"no router runs"}},
		{name: "named agent is not started", args: "launch --agent ./none.sock", files: good, code: 1},
		{name: "launch without an image", args: "launch", files: good, code: 1, says: []string{"no image of it yet", "release bake, or release up"}},
		{name: "destroy without a terminal", args: "destroy", files: good, code: 2, says: []string{"-y says yes"}},
		{name: "no target", args: "bake --target vm", files: good, code: 2, says: []string{"none of container, machine"}},
		{name: "format of a container", args: "bake --format qcow2", files: good, code: 2, says: []string{"--target machine"}},
		{name: "compressed raw", args: "bake --target machine --compress", files: good, code: 2, says: []string{"--format qcow2 --compress"}},
		{name: "wrong target", args: "bake --target iso", files: good, code: 2, says: []string{"iso"}},
		{name: "bad variable", args: "status", env: []string{"RELEASE_TIMEOUT=soon"}, code: 2, says: []string{`RELEASE_TIMEOUT="soon"`}},
		{name: "bad SOURCE_DATE_EPOCH", args: "bake", files: good, env: []string{"SOURCE_DATE_EPOCH=x"}, code: 2},
		{name: "exec without a command", args: "exec node", files: good, code: 2, says: []string{"a node and a command are needed"}},
		{name: "unknown shell", args: "completion tcsh", code: 2, says: []string{"tcsh"}},
		{name: "init refuses to overwrite", args: "init", files: good, code: 1, says: []string{"release.yaml, recipe.yaml", "-y overwrites"}},
		{name: "unknown image", args: "images inspect abcdef", code: 1, says: []string{"abcdef"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := project(t, c.files)
			got := run(t, dir, c.args, c.env...)
			if got.code != c.code {
				t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", got.code, c.code, got.stdout, got.stderr)
			}
			for _, want := range c.says {
				if !strings.Contains(got.stdout+got.stderr, want) {
					t.Errorf("says nothing of %q:\n%s%s", want, got.stdout, got.stderr)
				}
			}
			if got.code == 0 && got.stderr != "" || got.code != 0 && got.stdout != "" {
				t.Errorf("wrong stream: stdout %q, stderr %q", got.stdout, got.stderr)
			}
			checkJSON(t, dir, c.args, c.code, c.env)
		})
	}
}

// A program that names no verb is told so: help is for people.
func TestVerbMissingForPrograms(t *testing.T) {
	var groups []string
	var collect func(cmd *cobra.Command)
	collect = func(cmd *cobra.Command) {
		if cmd.HasSubCommands() && !strings.Contains(cmd.Use, "[run]") { // those run themselves
			groups = append(groups, cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			collect(sub)
		}
	}
	collect(newRoot(newCLI(nil, nil, nil, os.LookupEnv)))
	if len(groups) < 3 {
		t.Fatal(groups)
	}
	for _, path := range groups {
		args := strings.TrimPrefix(path, "release")
		for _, got := range []ran{run(t, t.TempDir(), args+" --json"), run(t, t.TempDir(), args, "RELEASE_JSON=1")} {
			conforms(t, got.stdout)
			if got.code != 2 || !strings.Contains(got.stdout, `"message":"`+path+`: the verb is missing"`) {
				t.Errorf("%s: exit code %d\n%s", path, got.code, got.stdout)
			}
		}
		if got := run(t, t.TempDir(), args); got.code != 0 || !strings.Contains(got.stdout, "Usage:") {
			t.Errorf("%s: exit code %d\n%s", path, got.code, got.stdout)
		}
	}
}

// checkJSON runs the same with --json: one result on standard output, with the error when there is one.
func checkJSON(t *testing.T, dir, args string, code int, env []string) {
	t.Helper()
	for _, text := range []string{"help", "completion", "agent logs"} {
		if args == "" || strings.Contains(args, text) && code == 0 {
			return
		}
	}
	got := run(t, dir, "--json "+args, env...)
	if got.code != code {
		t.Errorf("--json: exit code %d, want %d\n%s", got.code, code, got.stderr)
	}
	conforms(t, got.stdout)
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	var head api.Head
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &head); err != nil {
		t.Fatal(err)
	}
	if (head.Error != nil) != (code != 0) {
		t.Errorf("--json: error %+v with exit code %d", head.Error, code)
	}
}

// TestInitSaysWhatIsNext sends nobody on to bake a recipe that a person has to look at.
func TestInitSaysWhatIsNext(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		says  string
	}{
		"nothing":    {says: "look at: fill in recipe.yaml: what to copy, and the entrypoint\nnext: what is to look at above, then release up\n"},
		"dockerfile": {files: map[string]string{"Dockerfile": "FROM scratch\nCOPY x /x\nEXPOSE 80\nCMD [\"/x\"]\n", "x": ""}, says: ".releaseignore\nnext: release up\n"},
		"stages": {files: map[string]string{"Dockerfile": "FROM a:1 AS b\nRUN x\nFROM scratch\nCOPY --from=b /x /x\nEXPOSE 80\n"},
			says: "put the file into the project\nnext: what is to look at above, then release up\n"},
		"a recipe that says all": {files: map[string]string{"recipe.yaml": smallRecipe}, says: "wrote release.yaml\nnext: release up\n"},
		"a recipe without ports": {files: map[string]string{"recipe.yaml": "name: shop\nbase: scratch\nentrypoint: [/x]\n"},
			says: "look at: recipe.yaml does not say ports:\nnext: what is to look at above, then release up\n"},
		"a recipe on an image": {files: map[string]string{"recipe.yaml": "name: shop\nbase: {image: \"nginx:1\"}\nports: [80]\n"},
			says: "recipe.yaml does not say what listens there, services: or entrypoint:; the base image may\nnext: what is to look at above, then release up\n"},
	} {
		if got := run(t, project(t, c.files), "init --dockerfile convert"); got.code != 0 || !strings.HasSuffix(got.stdout, c.says) {
			t.Errorf("%s: exit code %d, %s%s", name, got.code, got.stdout, got.stderr)
		}
	}
}

func TestPrecedence(t *testing.T) {
	dir := project(t, map[string]string{"other.yaml": strings.Replace(smallApp, "shop", "other", 1), "release.yaml": smallApp, "recipe.yaml": smallRecipe})
	for _, c := range []struct {
		args, want string
		env        []string
	}{
		{"config", "app: shop", nil},
		{"config", "app: other", []string{"RELEASE_CONFIG=other.yaml"}},
		{"config -c release.yaml", "app: shop", []string{"RELEASE_CONFIG=other.yaml"}},
		{"config", `"app":"shop"`, []string{"RELEASE_JSON=1"}},
		{"config --json=false", "app: shop\n", []string{"RELEASE_JSON=1"}},
	} {
		if got := run(t, dir, c.args, c.env...); !strings.Contains(got.stdout, c.want) {
			t.Errorf("%s with %v lacks %q:\n%s%s", c.args, c.env, c.want, got.stdout, got.stderr)
		}
	}
}

// TestHelp keeps every verb's help in a golden file, so that a change of the contract is seen.
func TestHelp(t *testing.T) {
	file, err := filepath.Abs("testdata/help.golden") // run changes the working folder
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	var visit func(path string, cmd *cobra.Command)
	visit = func(path string, cmd *cobra.Command) {
		got := run(t, t.TempDir(), path+" --help")
		all.WriteString("$ release" + path + " --help\n" + got.stdout + "\n")
		if cmd.Runnable() && cmd.Example == "" && !cmd.HasSubCommands() {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" {
				visit(path+" "+sub.Name(), sub)
			}
		}
	}
	visit("", newRoot(newCLI(nil, nil, nil, func(string) (string, bool) { return "", false })))
	golden(t, file, all.Bytes())
}

func golden(t *testing.T, file string, have []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is not what is printed now: go test ./cmd/release -update, and look at the difference", file)
	}
}

func TestCompletion(t *testing.T) {
	dir := project(t, map[string]string{
		"release.yaml": smallApp + "environments: {staging: {fleet: {size: 2}}}\n", "recipe.yaml": smallRecipe,
	})
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := run(t, dir, "completion "+shell); got.code != 0 || !strings.Contains(got.stdout, "__complete") {
			t.Errorf("completion %s: %d\n%.200s", shell, got.code, got.stdout+got.stderr)
		}
	}
	if got := run(t, dir, "__complete status --env st"); !strings.Contains(got.stdout, "staging") {
		t.Errorf("environments: %q", got.stdout)
	}
	if got := run(t, dir, "__complete agent st"); !strings.Contains(got.stdout, "status") || !strings.Contains(got.stdout, "stop") {
		t.Errorf("verbs: %q", got.stdout)
	}
}
