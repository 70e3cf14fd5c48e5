package hook

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func newRunner(t *testing.T, dir string) *Runner {
	t.Helper()
	r, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs a command and gives what it printed.
func run(t *testing.T, r *Runner, ctx context.Context, c Command) ([]string, Exit, error) {
	t.Helper()
	var lines []string
	exit, err := r.Run(ctx, c, func(line string) { lines = append(lines, line) })
	return lines, exit, err
}

func sh(text string) []string { return []string{"/bin/sh", "-c", text} }

func TestRunHasItsFilesAndEnvironment(t *testing.T) {
	t.Setenv("AGENT_TOKEN", "hunter2")
	dir := t.TempDir()
	r := newRunner(t, dir)
	lines, exit, err := run(t, r, t.Context(), Command{
		Args: []string{"./bin/smoke", "a b"}, Env: map[string]string{"RELEASE_HOOK_VERSION": "r8"},
		Files: []File{{Path: "bin/smoke", Content: []byte("#!/bin/sh\ncat lib.txt; echo \"$1 $RELEASE_HOOK_VERSION ${AGENT_TOKEN-none}\"; echo oops >&2; exit 3\n"), Executable: true},
			{Path: "lib.txt", Content: []byte("from a file\n")}},
	})
	if err != nil || exit.Code != 3 || !slices.Equal(lines, []string{"from a file", "a b r8 none", "oops"}) {
		t.Errorf("%q, %+v, %v", lines, exit, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("it left %v", left)
	}
}

func TestRunCannotBegin(t *testing.T) {
	r := newRunner(t, t.TempDir())
	for what, c := range map[string]Command{
		"no such program": {Args: []string{"./no-such"}},
		"not executable":  {Args: []string{"./x"}, Files: []File{{Path: "x", Content: []byte("x")}}},
		"outside":         {Args: sh("true"), Files: []File{{Path: "../x", Content: []byte("x")}}},
	} {
		if _, _, err := run(t, r, t.Context(), c); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// alive says whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d still runs", pid)
		}
	}
}

// The timeout ends all that was started, also what does not want to and what went to the background.
func TestTimeoutEndsTheWholeGroup(t *testing.T) {
	r := newRunner(t, t.TempDir())
	lines, exit, err := run(t, r, t.Context(), Command{
		Args: sh(`trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $!; while :; do sleep 0.1; done`), Timeout: 300 * time.Millisecond,
	})
	if err == nil || !strings.Contains(err.Error(), "did not end within") || exit.Signal != "KILL" || len(lines) == 0 {
		t.Fatalf("%q, %+v, %v", lines, exit, err)
	}
	child, err := strconv.Atoi(lines[0])
	if err != nil {
		t.Fatal(err)
	}
	waitGone(t, child)
}

// A session of its own does not save what a command started, whether the command ends by itself or by its time.
func TestNothingOutlivesTheCommand(t *testing.T) {
	for what, c := range map[string]Command{
		"ended":   {Args: sh(`trap '' TERM; setsid sleep 1000 & echo $!`)},
		"timeout": {Args: sh(`trap '' TERM; setsid sleep 1000 & echo $!; while :; do sleep 0.1; done`), Timeout: 300 * time.Millisecond},
	} {
		lines, _, _ := run(t, newRunner(t, t.TempDir()), t.Context(), c)
		if len(lines) != 1 {
			t.Fatalf("%s: %q", what, lines)
		}
		child, err := strconv.Atoi(lines[0])
		if err != nil {
			t.Fatal(err)
		}
		waitGone(t, child)
	}
}

// What a command leaves in the background ends with it, and does not keep us waiting.
func TestBackgroundEndsWithTheCommand(t *testing.T) {
	r := newRunner(t, t.TempDir())
	began := time.Now()
	lines, exit, err := run(t, r, t.Context(), Command{Args: sh("sleep 1000 & echo $!")})
	if err != nil || exit.Code != 0 || time.Since(began) > 20*time.Second {
		t.Fatalf("%q, %+v, %v after %s", lines, exit, err, time.Since(began))
	}
	child, err := strconv.Atoi(lines[0])
	if err != nil {
		t.Fatal(err)
	}
	waitGone(t, child)
}

func TestContextEndsTheCommand(t *testing.T) {
	r := newRunner(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	exit, err := r.Run(ctx, Command{Args: sh("echo ready; exec sleep 1000")}, func(string) { cancel() })
	if err == nil || exit.Signal != "TERM" {
		t.Errorf("%+v, %v", exit, err)
	}
}

func TestOutputIsCutCleanAndMasked(t *testing.T) {
	r := newRunner(t, t.TempDir())
	lines, _, err := run(t, r, t.Context(), Command{
		Args: sh(`printf '\033[31mred\033[0m\n'; head -c 5000 /dev/zero | tr '\0' x; echo; printf 'token hunter2'`),
		Mask: func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") },
	})
	if err != nil || len(lines) != 3 || lines[0] != "[31mred[0m" || len(lines[1]) != maxLine+len("…") || lines[2] != "token ***" {
		t.Errorf("%d lines %.60q, %v", len(lines), lines, err)
	}
}

// TestCrash kills the process that runs a command: the next runner ends the command before anything else.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	agent := exec.Command(os.Args[0], "-test.run=TestCrashHelper$")
	agent.Env = append(os.Environ(), "HOOK_CRASH_DIR="+dir)
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid, child int
	if _, err := fmt.Fscanf(out, "%d %d\n", &pid, &child); err != nil {
		t.Fatal(err)
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	if !alive(pid) || !alive(child) {
		t.Fatal("the command ended with its agent: there is nothing to find")
	}
	newRunner(t, dir)
	waitGone(t, pid)
	waitGone(t, child)
	if left, _ := filepath.Glob(filepath.Join(dir, runPattern)); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
}

// TestCrashHelper is the agent of TestCrash. The command's child is in a session of its own, out of reach of the group.
func TestCrashHelper(t *testing.T) {
	dir := os.Getenv("HOOK_CRASH_DIR")
	if dir == "" {
		return
	}
	r := newRunner(t, dir)
	_, err := r.Run(t.Context(), Command{Args: sh(`setsid sleep 1000 & echo $$ $!; wait`)}, func(line string) { fmt.Println(line) })
	t.Log(err)
}

func TestRunAsAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("only root can")
		return
	}
	dir := t.TempDir()
	opts := Options{Dir: dir, User: &User{Name: "nobody", Home: "/nonexistent", UID: 65534, GID: 65534}}
	r, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	lines, exit, err := run(t, r, t.Context(), Command{
		Args: []string{"./who"}, Files: []File{{Path: "who", Content: []byte("#!/bin/sh\nid -u; echo $USER $HOME; pwd; touch mine && echo wrote\n"), Executable: true}},
	})
	if err != nil || exit.Code != 0 || len(lines) != 4 || lines[0] != "65534" || lines[1] != "nobody /nonexistent" || !strings.HasPrefix(lines[2], "/var/tmp/release-hooks-") || lines[3] != "wrote" {
		t.Errorf("%q, %+v, %v", lines, exit, err)
	}
	before := r.base
	again, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(before); !os.IsNotExist(err) || again.base == before {
		t.Errorf("%s is still there (%v), the next is %s", before, err, again.base)
	}
	if err := os.RemoveAll(again.base); err != nil {
		t.Error(err)
	}
}

// What has got past every check is an error, and not the end of the agent.
func TestEmptyCommand(t *testing.T) {
	r := newRunner(t, t.TempDir())
	for _, args := range [][]string{nil, {""}} {
		if _, err := r.Run(t.Context(), Command{Args: args}, func(string) {}); err == nil {
			t.Errorf("%q was run", args)
		}
	}
}
