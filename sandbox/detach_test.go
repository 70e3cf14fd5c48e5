package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// detached starts a shell script as a detached sandbox in a folder of its own.
func detached(t *testing.T, script string, change ...func(*Spec)) (*Process, string) {
	t.Helper()
	s := newRoot(t)
	dir := t.TempDir()
	s.Detach = &Detach{Dir: dir}
	s.Command = []string{"/bin/sh", "-c", script}
	for _, c := range change {
		c(&s)
	}
	p, err := Start(t.Context(), s)
	check(t, err)
	t.Cleanup(func() { _ = p.Kill(); <-p.Done() })
	return p, dir
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func readLog(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	for i := 9; i >= 0; i-- {
		name := filepath.Join(dir, fmt.Sprintf("log.%d", i))
		if i == 0 {
			name = filepath.Join(dir, "log")
		}
		data, err := os.ReadFile(name)
		if err == nil {
			all.Write(data)
		}
	}
	return all.String()
}

func TestDetachedKeepsOutputAndExit(t *testing.T) {
	p, dir := detached(t, "echo one; sleep 0.2; echo two >&2; sleep 0.2; printf three; exit 9")
	exit, err := p.Wait()
	check(t, err)
	if exit.Code != 9 || exit.At.IsZero() {
		t.Errorf("exit %+v", exit)
	}
	var texts []string
	for line := range strings.Lines(readLog(t, dir)) {
		f := strings.SplitN(line, " ", 2)
		if _, err := time.Parse(time.RFC3339Nano, f[0]); err != nil {
			t.Errorf("line %q: %v", line, err)
		}
		texts = append(texts, f[1])
	}
	if got := strings.Join(texts, ""); got != "out one\nerr two\nout three\n" {
		t.Errorf("log holds %q", got)
	}
	if data, err := os.ReadFile(dir + "/init.err"); err != nil || len(data) > 0 {
		t.Errorf("init said %q, %v", data, err)
	}
}

func TestDetachedIsFoundAgain(t *testing.T) {
	p, dir := detached(t, "echo $$; sleep 1000")
	if p.Command <= 0 || p.Command == p.PID {
		t.Errorf("command's pid is %d, init's %d", p.Command, p.PID)
	}
	again, err := Find(p.PID, p.StartTime, p.BootID, dir)
	check(t, err)
	pid, err := ControlOf(dir).CommandPID(t.Context())
	check(t, err)
	if pid != p.Command {
		t.Errorf("command is %d by control, %d by start", pid, p.Command)
	}
	comm, err := os.ReadFile(procPath(pid, "comm"))
	check(t, err)
	if string(comm) != "sh\n" {
		t.Errorf("process %d is %q", pid, comm)
	}
	for _, c := range []struct {
		pid   int
		start uint64
		boot  string
	}{{p.PID, p.StartTime + 1, p.BootID}, {p.PID, p.StartTime, "other"}, {1 << 22, p.StartTime, p.BootID}, {0, 0, p.BootID}} {
		if _, err := Find(c.pid, c.start, c.boot, dir); !errors.Is(err, ErrGone) {
			t.Errorf("find %+v: %v, want ErrGone", c, err)
		}
	}
	check(t, unix.Kill(p.Command, unix.SIGKILL))
	exit, err := again.Wait()
	check(t, err)
	if exit.Code != 137 || exit.Signal != "KILL" {
		t.Errorf("exit %+v", exit)
	}
}

// The end of the starter's context, and of the starter, is nothing to a detached sandbox; it has none of its
// descriptors.
func TestDetachedHoldsNothingOfItsStarter(t *testing.T) {
	r, w, err := os.Pipe() // a descriptor that is not marked close-on-exec, as a careless caller has it
	check(t, err)
	defer r.Close()
	stray, err := unix.FcntlInt(w.Fd(), unix.F_DUPFD, 200)
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	s := newRoot(t)
	dir := t.TempDir()
	s.Detach, s.Command = &Detach{Dir: dir}, []string{"/bin/sleep", "1000"}
	p, err := Start(ctx, s)
	check(t, err)
	defer func() { _ = p.Kill(); _, _ = p.Wait() }()
	cancel()
	check(t, unix.Close(stray))
	check(t, w.Close())
	check(t, r.SetReadDeadline(time.Now().Add(20*time.Second)))
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the sandbox holds a stray descriptor: %v", err)
	}
	session, err := unix.Getsid(p.PID)
	check(t, err)
	own, err := unix.Getsid(0)
	check(t, err)
	if session == own {
		t.Error("the sandbox is in its starter's session")
	}
	select {
	case <-p.Done():
		t.Error("it ended with the context")
	case <-time.After(50 * time.Millisecond):
	}
}

func TestDetachedEndsWhenItsInitIsKilled(t *testing.T) {
	p, dir := detached(t, "sleep 1000 & sleep 1000")
	check(t, unix.Kill(p.PID, unix.SIGKILL))
	if _, err := p.Wait(); !errors.Is(err, errNoExit) {
		t.Errorf("wait: %v", err)
	}
	waitFor(t, "the command is gone", func() bool { return unix.Kill(p.Command, 0) != nil })
	if _, err := ReadExit(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("exit: %v", err)
	}
	if _, err := ControlOf(dir).CommandPID(t.Context()); err == nil {
		t.Error("a dead init answered")
	}
}

func TestSignalReachesTheCommand(t *testing.T) {
	p, dir := detached(t, "trap 'echo got; exit 4' USR1; echo ready; while :; do sleep 0.01; done")
	waitFor(t, "it is ready", func() bool { return strings.Contains(readLog(t, dir), "ready") })
	check(t, ControlOf(dir).Signal(t.Context(), unix.SIGUSR1))
	exit, err := p.Wait()
	check(t, err)
	if exit.Code != 4 || !strings.Contains(readLog(t, dir), "out got\n") {
		t.Errorf("exit %+v, log %q", exit, readLog(t, dir))
	}
}

func TestLogTurnsOver(t *testing.T) {
	p, dir := detached(t, "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.001; done", func(s *Spec) {
		s.Detach.LogBytes, s.Detach.LogKeep = 2000, 3
	})
	_, err := p.Wait()
	check(t, err)
	for _, name := range []string{"log", "log.1", "log.2", "log.3"} {
		fi, err := os.Stat(filepath.Join(dir, name))
		check(t, err)
		if fi.Size() > 2000 || fi.Size() == 0 {
			t.Errorf("%s has %d bytes", name, fi.Size())
		}
	}
	if _, err := os.Stat(dir + "/log.4"); err == nil {
		t.Error("log.4 is kept")
	}
	if !strings.HasSuffix(readLog(t, dir), "line 399\n") {
		t.Errorf("the last line is lost: %q", readLog(t, dir))
	}
}

func TestLongLinesAreCut(t *testing.T) {
	p, dir := detached(t, "head -c 50000 /dev/zero | tr '\\0' x; echo")
	_, err := p.Wait()
	check(t, err)
	var n int
	for line := range strings.Lines(readLog(t, dir)) {
		if len(line) > guest.MaxLine+100 {
			t.Errorf("a line of %d", len(line))
		}
		n += strings.Count(line, "x")
	}
	if n != 50000 {
		t.Errorf("%d of 50000 characters are kept", n)
	}
}

func TestExecBeside(t *testing.T) {
	_, dir := detached(t, "sleep 1000", func(s *Spec) { s.Env = []string{"A=of node"}; s.Dir = "/srv" })
	c := ControlOf(dir)
	var out, errOut bytes.Buffer
	exit, err := c.Exec(t.Context(), ExecSpec{Command: []string{"/bin/sh", "-c", "cat; echo $A $B; pwd; echo oops >&2; exit 6"},
		Env: []string{"B=own"}, Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &errOut})
	check(t, err)
	if exit.Code != 6 || out.String() != "in\nof node own\n/srv\n" || errOut.String() != "oops\n" {
		t.Errorf("exit %+v, %q, %q", exit, out.String(), errOut.String())
	}
	// A command's background process keeps the pipes open: exec ends all the same.
	out.Reset()
	exit, err = c.Exec(t.Context(), ExecSpec{Command: []string{"/bin/sh", "-c", "sleep 1000 & echo done"}, Stdout: &out})
	check(t, err)
	if exit.Code != 0 || out.String() != "done\n" {
		t.Errorf("exit %+v, %q", exit, out.String())
	}
	if _, err := c.Exec(t.Context(), ExecSpec{Command: []string{"/nowhere"}}); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("no program: %v", err)
	}
	out.Reset()
	exit, err = c.Exec(t.Context(), ExecSpec{Command: []string{"/bin/sh", "-c", "tty; stty size; echo x > /dev/tty; grep -c Seccomp:.2 /proc/self/status"},
		TTY: true, Columns: 101, Rows: 47, Stdout: &out})
	check(t, err)
	if got := strings.ReplaceAll(out.String(), "\r\n", "\n"); got != "/dev/pts/0\n47 101\nx\n1\n" || exit.Code != 0 {
		t.Errorf("terminal: %+v, %q", exit, got)
	}
}

// TestExecOfShortCommands gets the exit of commands that end before they are reported as started.
func TestExecOfShortCommands(t *testing.T) {
	_, dir := detached(t, "sleep 1000")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				exit, err := ControlOf(dir).Exec(t.Context(), ExecSpec{Command: []string{"/bin/sh", "-c", "exit 5"}})
				if err != nil || exit.Code != 5 {
					t.Errorf("exit %+v, %v", exit, err)
				}
			}
		})
	}
	all.Wait()
}

// When the one who asked goes away, so does the command.
func TestExecEndsWithItsCaller(t *testing.T) {
	_, dir := detached(t, "sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	started := &notifyWriter{text: make(chan struct{}, 1)}
	done := make(chan error)
	go func() {
		_, err := ControlOf(dir).Exec(ctx, ExecSpec{Command: []string{"/bin/sh", "-c", "echo x; sleep 1234"}, Stdout: started})
		done <- err
	}()
	<-started.text
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("exec: %v", err)
	}
	waitFor(t, "the command is gone", func() bool {
		var out bytes.Buffer
		_, err := ControlOf(dir).Exec(t.Context(), ExecSpec{Command: []string{"/bin/sh", "-c", "cat /proc/[0-9]*/cmdline"}, Stdout: &out})
		return err == nil && !strings.Contains(out.String(), "sleep\x001234")
	})
}

// A starter that dies before the go-ahead leaves no command running, and a note.
func TestStarterThatDiesBeforeTheGoAhead(t *testing.T) {
	if os.Getenv("SANDBOX_TEST_DIE") != "" {
		s := newRoot(t)
		s.Detach, s.Command = &Detach{Dir: os.Getenv("SANDBOX_TEST_DIE")}, []string{"/bin/sleep", "1000"}
		s.Prepare = func(p *Process) error {
			check(t, os.WriteFile(s.Detach.Dir+"/pid", fmt.Append(nil, p.PID), 0o600))
			return unix.Kill(os.Getpid(), unix.SIGKILL)
		}
		_, err := Start(t.Context(), s)
		t.Fatal("lives on", err)
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "SANDBOX_TEST_DIE="+dir)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("the starter did not die: %s", out)
	}
	waitFor(t, "the init gives up", func() bool { _, err := ReadExit(dir); return err == nil })
	exit, err := ReadExit(dir)
	check(t, err)
	if exit.Code != 125 || exit.Reason != guest.ErrNoGo.Error() {
		t.Errorf("exit %+v", exit)
	}
}

func TestLimits(t *testing.T) {
	support := Probe(t.Context())
	if !support.CgroupMemory || !support.CgroupPids {
		t.Skipf("no cgroups to write here: %+v", support.Problems)
	}
	name := fmt.Sprintf("test-%d", os.Getpid())
	s := newRoot(t)
	s.CgroupName, s.Limits = name, Limits{Memory: 64 << 20, CPUs: 0.5, Pids: 20}
	out, exit := shell(t, s, "head -c 200000000 /dev/zero | tail; exit ${PIPESTATUS:-3}")
	if exit.Reason != guest.OutOfMemory {
		t.Errorf("attached: %+v %q, want %q", exit, out, guest.OutOfMemory)
	}
	if g := findCgroup(name); len(g.dirs) > 0 {
		t.Errorf("left: %v", g.dirs)
	}
	p, _ := detached(t, "exec tail /dev/zero", func(s *Spec) { s.CgroupName, s.Limits = name, Limits{Memory: 64 << 20, Pids: 20} })
	defer func() { check(t, RemoveCgroup(name)) }()
	exit, err := p.Wait()
	check(t, err)
	if exit.Reason != guest.OutOfMemory || exit.Code != 137 || !OutOfMemory(name) {
		t.Errorf("detached: %+v, %t", exit, OutOfMemory(name))
	}
	check(t, RemoveCgroup(name))
	s = newRoot(t)
	s.CgroupName, s.Limits = name, Limits{Pids: 5}
	if out, _ := shell(t, s, "for i in 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0; do sleep 1 & done; echo all"); strings.Contains(out, "all") && !strings.Contains(out, "fork") {
		t.Errorf("pids are not limited: %q", out)
	}
}

func TestProbe(t *testing.T) {
	s := Probe(t.Context())
	if !s.UserNamespaces || !s.Overlay {
		t.Errorf("probe: %+v", s)
	}
}
