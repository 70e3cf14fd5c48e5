// Package e2e tests the command line as scripts use it: verbs, outputs and exit codes of the built binary, with real
// nodes behind a real router.
package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/sandbox"
	"github.com/bootandshoot/release/test/harness"
)

// suite is set by TestMain, before any test runs.
var suite *harness.Suite

func TestMain(m *testing.M) {
	sandbox.Main()
	harness.Main(m, &suite)
}

// quick is the driver of tests that are not about drivers.
const quick = "sandbox"

// slow is a cutover that stays at 50 % long enough to do things meanwhile.
const slow = "cutover: {steps: [{percent: 50, hold: 60s}, {percent: 100}], drain: {timeout: 2s}}\n"

// process is a command under way.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer
	lines  chan string // of standard output
}

// begin starts a command without waiting for its end.
func begin(t *testing.T, in *harness.Installation, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(in.Binary, args...), lines: make(chan string, 1000)}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = in.Project, in.Env, &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	return p
}

// await reads events until one of the kind comes.
func (p *process) await(kind string) api.Event {
	p.t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case line, ok := <-p.lines:
			var e api.Event
			if !ok {
				p.t.Fatalf("the command ended before an event %s\n%s", kind, p.end().Stderr)
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				p.t.Fatalf("%v in %s", err, line)
			}
			if e.Type == kind {
				return e
			}
		case <-deadline:
			p.t.Fatalf("no event %s within a minute", kind)
		}
	}
}

// end waits for the command's end; Stdout is what await did not read.
func (p *process) end() harness.Output {
	p.t.Helper()
	var rest []string
	for line := range p.lines {
		rest = append(rest, line)
	}
	_ = p.cmd.Wait()
	return harness.Output{Stdout: strings.Join(rest, "\n"), Stderr: p.stderr.String(), Code: p.cmd.ProcessState.ExitCode()}
}

// result decodes the last line of an output.
func result(t *testing.T, out harness.Output) api.OperationResult {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out.Stdout), "\n")
	var r api.OperationResult
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.Fatalf("%v in:\n%s\n%s", err, out.Stdout, out.Stderr)
	}
	if r.Type != "result" || r.Schema != api.Schema {
		t.Errorf("the last line has type %q and schema %q", r.Type, r.Schema)
	}
	return r
}

// wants checks an exit code and what the command says on standard error.
func wants(t *testing.T, out harness.Output, code int, says ...string) {
	t.Helper()
	if out.Code != code {
		t.Errorf("exit code %d, want %d\n%s\n%s", out.Code, code, out.Stdout, out.Stderr)
	}
	for _, s := range says {
		if !strings.Contains(out.Stderr, s) {
			t.Errorf("says nothing of %q:\n%s", s, out.Stderr)
		}
	}
}
