package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/test/harness"
)

// diary is a hook that writes down when it was run, beside the state of the agent.
const diary = `#!/bin/sh
echo "$RELEASE_HOOK_POINT $RELEASE_HOOK_PERCENT $RELEASE_HOOK_VERSION" >> "$1/diary"
env | grep ^RELEASE_HOOK_ > "$1/$RELEASE_HOOK_POINT.env"
`

// hooked writes a project with hooks, and a diary for them.
func hooked(in *harness.Installation, hooks string) {
	in.WriteProject(quick, 1, "cutover: {steps: [{percent: 50, hold: 100ms}, {percent: 100}], keep_previous: 0s, drain: {timeout: 2s}}\n"+
		strings.ReplaceAll(hooks, "DIR", in.Dir))
	in.Write("diary.sh", diary)
	if err := os.Chmod(filepath.Join(in.Project, "diary.sh"), 0o755); err != nil {
		panic(err) // it was just written
	}
}

// readDiary is a file of the diary's, by lines; none when there is no such file.
func readDiary(t *testing.T, in *harness.Installation, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(in.Dir, name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
}

// Hooks run in the order that is promised, and are told of what they run for.
func TestHooks(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	hooked(in, `hooks:
  before_launch: [./diary.sh DIR]
  after_launch: [./diary.sh DIR]
  before_cutover: [./diary.sh DIR]
  before_step: [./diary.sh DIR]
  after_step: [./diary.sh DIR]
  after_cutover: [./diary.sh DIR, {cmd: "echo it fails; exit 9", allow_failure: true}]
  before_shoot: [./diary.sh DIR]
  after_shoot: [./diary.sh DIR]
  on_abort: [./diary.sh DIR]
`)
	done := in.Operate("up", v2)
	want := []string{"before_launch 0 r2", "after_launch 0 r2", "before_cutover 0 r2", "before_step 50 r2", "after_step 50 r2",
		"before_step 100 r2", "after_step 100 r2", "after_cutover 100 r2"}
	if got := readDiary(t, in, "diary"); !slices.Equal(got, want) {
		t.Errorf("hooks ran %q\nwant %q", got, want)
	}
	env := readDiary(t, in, "after_cutover.env")
	for _, line := range []string{"VERSION=r2", "RELEASE=r2", "FROM=r1", "IMAGE=" + v2, "APP=hello", "ENV=production", "PERCENT=100",
		"OPERATION=" + done.Operation, "HOSTS=" + serving(t, in)[0].Address} {
		if !slices.Contains(env, "RELEASE_HOOK_"+line) {
			t.Errorf("the hook was not told RELEASE_HOOK_%s but\n%s", line, strings.Join(env, "\n"))
		}
	}
	if !slices.ContainsFunc(env, func(l string) bool { return strings.HasPrefix(l, "RELEASE_HOOK_PERFORMER="+me(t)) }) {
		t.Errorf("the performer is not me: %q", env)
	}
	if out := in.Must("events").Stdout; !strings.Contains(out, "it fails") || !strings.Contains(out, "failed, which it may: it ended with exit code 9") {
		t.Errorf("events:\n%s", out)
	}
	in.Operate("up", v1)
	in.Until("r2 to be shot", 30*time.Second, func() bool {
		return slices.Contains(readDiary(t, in, "diary"), "after_shoot 0 r2")
	})
	if got := readDiary(t, in, "diary"); !slices.Contains(got, "before_shoot 0 r2") || slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, "on_abort") }) {
		t.Errorf("hooks ran %q", got)
	}
}

// A hook that fails, or does not end, aborts; on_abort is told why, and nothing of what the hook started is left.
func TestHooksThatFail(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	hooked(in, `hooks:
  after_step: ["echo smoke at $RELEASE_HOOK_PERCENT; exit 7"]
  on_abort: [./diary.sh DIR]
`)
	wants(t, in.Run("up", v2), 3, "the hook after_step:50 failed", "exit code 7", "allow_failure")
	weights(t, in, map[string]int{"r1": 100})
	var told struct {
		Code, Message string
		Percent       int
	}
	verdict := readDiary(t, in, "on_abort.env")
	i := slices.IndexFunc(verdict, func(l string) bool { return strings.HasPrefix(l, "RELEASE_HOOK_VERDICT=") })
	if i < 0 {
		t.Fatalf("on_abort was told %q", verdict)
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(verdict[i], "RELEASE_HOOK_VERDICT=")), &told); err != nil {
		t.Fatal(err)
	}
	if told.Code != "rolled_back" || told.Percent != 50 || !strings.Contains(told.Message, "exit code 7") {
		t.Errorf("on_abort was told %+v", told)
	}
	if out := in.Must("events").Stdout; !strings.Contains(out, "smoke at 50") {
		t.Errorf("events:\n%s", out)
	}

	hooked(in, `hooks: {before_cutover: [{cmd: "trap '' TERM; sleep 1000 & echo $! > DIR/child; wait; sleep 1000", timeout: 1s}]}
`)
	wants(t, in.Run("up", v2), 3, "it did not end within 1 s")
	child, err := strconv.Atoi(readDiary(t, in, "child")[0])
	if err != nil {
		t.Fatal(err)
	}
	in.Until("what the hook started to be gone", 10*time.Second, func() bool { return syscall.Kill(child, 0) != nil })
	if left, err := filepath.Glob(filepath.Join(in.Dir, "s/hooks/run-*")); err != nil || len(left) != 0 {
		t.Errorf("folders that are left: %q, %v", left, err)
	}
}

// What a hook prints of its secrets is in no event, no log and nothing else that the agent keeps.
func TestHooksKeepSecrets(t *testing.T) {
	t.Parallel()
	const secret = "swordfish-4711"
	in := suite.New(t, quick)
	in.Env = append(in.Env, "HOOK_TOKEN="+secret)
	in.Bake("v1")
	hooked(in, `hooks: {before_launch: [{cmd: "echo token $TOKEN; echo $TOKEN >&2; exit 3", secrets: {TOKEN: env:HOOK_TOKEN}}]}
`)
	wants(t, in.Run("up"), 3, "exit code 3")
	out := in.Must("events").Stdout
	if !strings.Contains(out, "token ***") || strings.Contains(out, secret) {
		t.Errorf("events:\n%s", out)
	}
	err := filepath.WalkDir(filepath.Join(in.Dir, "s"), func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), secret) {
			t.Errorf("%s has the secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
