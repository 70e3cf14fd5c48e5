package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/supervisor"
)

// asProgram makes the test binary the program itself.
const asProgram = "SUPERVISE_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		_ = os.Unsetenv(asProgram)
		main()
	}
	os.Exit(m.Run())
}

// running is the program with its output.
type running struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	seen  []string
}

// run starts the program with services whose commands are shell scripts.
func run(t *testing.T, c supervisor.Config) *running {
	t.Helper()
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "services.json")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, file)
	cmd.Env = append(os.Environ(), asProgram+"=1", "SHARED=image", "OWN=image")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	p := &running{t: t, cmd: cmd, lines: make(chan string, 100)}
	go p.read(r)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return p
}

func (r *running) read(from io.ReadCloser) {
	defer from.Close()
	for in := bufio.NewScanner(from); in.Scan(); {
		r.lines <- in.Text()
	}
	close(r.lines)
}

// await waits for a line.
func (r *running) await(want string) {
	r.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-r.lines:
			if !ok {
				r.t.Fatalf("ended without %q:\n%s", want, strings.Join(r.seen, "\n"))
			}
			r.seen = append(r.seen, line)
			if line == want {
				return
			}
		case <-timeout:
			r.t.Fatalf("no %q in:\n%s", want, strings.Join(r.seen, "\n"))
		}
	}
}

func (r *running) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// end takes all output and checks the exit code.
func (r *running) end(code int) []string {
	r.t.Helper()
	timeout := time.After(20 * time.Second)
	for open := true; open; {
		select {
		case line, ok := <-r.lines:
			if open = ok; ok {
				r.seen = append(r.seen, line)
			}
		case <-timeout:
			r.t.Fatalf("does not end:\n%s", strings.Join(r.seen, "\n"))
		}
	}
	_ = r.cmd.Wait()
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		r.t.Errorf("exit code %d, want %d:\n%s", got, code, strings.Join(r.seen, "\n"))
	}
	return r.seen
}

func sh(name, script string, after ...string) supervisor.Service {
	return supervisor.Service{Name: name, Cmd: []string{"/bin/sh", "-c", script}, After: after}
}

// loop says that it is up, what signals it gets, and ends on TERM.
func loop(name string) string {
	return fmt.Sprintf(`trap 'echo %[1]s got HUP' HUP; trap 'echo %[1]s down; exit 0' TERM; echo %[1]s up; while :; do sleep 60 & wait $!; done`, name)
}

func TestSignalsAndOrderedStop(t *testing.T) {
	r := run(t, supervisor.Config{Services: []supervisor.Service{sh("app", loop("app"), "db"), sh("db", loop("db")), sh("web", loop("web"), "app")}})
	up := map[string]bool{}
	for len(up) < 3 {
		line := <-r.lines
		up[line] = true
	}
	r.signal(syscall.SIGHUP)
	for len(up) < 6 {
		line := <-r.lines
		up[line] = true
	}
	if !up["db up"] || !up["web got HUP"] || !up["app got HUP"] {
		t.Errorf("%v", up)
	}
	r.signal(syscall.SIGTERM)
	if got := strings.Join(r.end(0), ","); got != "web down,app down,db down" {
		t.Errorf("stopped: %s", got)
	}
}

func TestStubbornServiceIsKilled(t *testing.T) {
	stubborn := sh("stubborn", `trap 'echo no' TERM; echo up; while :; do sleep 60 & wait $!; done`)
	stubborn.Stop.Grace = supervisor.Duration(200 * time.Millisecond)
	r := run(t, supervisor.Config{Services: []supervisor.Service{stubborn}})
	r.await("up")
	r.signal(syscall.SIGINT)
	if got := r.end(0); !slices.Contains(got, "supervise: stubborn did not end within 200ms and is killed") || !slices.Contains(got, "no") {
		t.Errorf("%q", got)
	}
}

func TestEndOfTheMainService(t *testing.T) {
	r := run(t, supervisor.Config{Services: []supervisor.Service{sh("main", "exit 7", "side"), sh("side", loop("side"))}})
	if got := r.end(7); !slices.Contains(got, "supervise: main ended with exit code 7, so all end") {
		t.Errorf("%q", got)
	}
	r = run(t, supervisor.Config{Services: []supervisor.Service{sh("main", "kill -KILL $$")}})
	if got := r.end(137); !slices.Contains(got, "supervise: main ended with signal KILL, so all end") {
		t.Errorf("%q", got)
	}
}

func TestRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "count")
	s := sh("flaky", fmt.Sprintf("echo x >> %[1]s; echo run $(wc -l < %[1]s); test $(wc -l < %[1]s) -ge 2", file))
	s.Restart = supervisor.OnFailure
	r := run(t, supervisor.Config{Services: []supervisor.Service{s}})
	if got := strings.Join(r.end(0), ","); got != "run 1,supervise: flaky ended with exit code 1, starts again in 1s,run 2" {
		t.Errorf("%s", got)
	}
}

func TestServiceThatCannotStart(t *testing.T) {
	for _, c := range []struct {
		service supervisor.Service
		code    int
		want    string
	}{
		{supervisor.Service{Name: "a", Cmd: []string{"/no/such/program"}}, 127, "could not start: the program /no/such/program is not in the image"},
		{supervisor.Service{Name: "a", Cmd: []string{"no-such-program"}}, 127, "could not start: the program no-such-program is not in the image: it is not in PATH"},
		{supervisor.Service{Name: "a", Cmd: []string{"/etc/passwd"}}, 126, "run /etc/passwd: permission denied"},
		{supervisor.Service{Name: "a", Cmd: []string{"/bin/true"}, User: "no-such-user"}, 126, "user no-such-user is not in the image's /etc/passwd"},
		{supervisor.Service{Name: "a", Cmd: []string{"/bin/true"}, Dir: "/dev/null"}, 126, "make working folder"},
	} {
		got := strings.Join(run(t, supervisor.Config{Services: []supervisor.Service{c.service}}).end(c.code), "\n")
		if !strings.Contains(got, c.want) {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestIdentityAndEnvironment(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change to another user; another test of the project does this in a user namespace")
	}
	open, err := os.MkdirTemp("", "supervise") // t.TempDir lies in folders of root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(open) })
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(open, "made")
	s := sh("who", `echo $(id -u) $(id -g) $(id -G) $HOME $PWD $SHARED $OWN; cat; echo x > /dev/stdout`)
	s.User, s.Dir, s.Env = "daemon:adm", dir, []string{"OWN=service"}
	got := strings.Join(run(t, supervisor.Config{Services: []supervisor.Service{s}}).end(0), ",")
	if !strings.HasPrefix(got, "1 4 4 /usr/sbin "+dir+" image service,x,") {
		t.Errorf("%s", got)
	}
}

func TestPrefix(t *testing.T) {
	r := run(t, supervisor.Config{Prefix: true, Services: []supervisor.Service{sh("a", "echo one; echo two >&2; printf three")}})
	got := r.end(0)
	slices.Sort(got)
	if text := strings.Join(got, ","); text != "a | one,a | three,a | two,supervise: a ended with exit code 0, so all end" {
		t.Errorf("%s", text)
	}
}

// What a service leaves behind is reaped, and killed with its group when its first process ends.
func TestOrphans(t *testing.T) {
	r := run(t, supervisor.Config{Services: []supervisor.Service{
		sh("keeper", loop("keeper")),
		{Name: "leaver", Restart: supervisor.Always, Cmd: []string{"/bin/sh", "-c", "(sh -c 'exit 3' &); sleep 1000 & echo left $!"}},
	}})
	var left int
	for line := range r.lines {
		if _, err := fmt.Sscanf(line, "left %d", &left); err == nil {
			break
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for syscall.Kill(left, 0) == nil || zombies(t, r.cmd.Process.Pid) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives, %d zombies", left, zombies(t, r.cmd.Process.Pid))
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.signal(syscall.SIGQUIT)
	r.end(0)
}

// zombies counts the children of a process that ended and were not waited for.
func zombies(t *testing.T, parent int) int {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		data, _ := os.ReadFile(f) // gone meanwhile
		_, rest, _ := strings.Cut(string(data), ") ")
		if strings.HasPrefix(rest, fmt.Sprintf("Z %d ", parent)) {
			n++
		}
	}
	return n
}

func TestFileThatCannotBeRead(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"/no/such/file"}, {"/dev/null"}} {
		cmd := exec.Command(self, args...)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != unreadable || !strings.HasPrefix(string(out), "supervise: ") {
			t.Errorf("%v: %v %s", args, err, out)
		}
	}
}
