package haproxy

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

// proxy is a real HAProxy that reads a folder's release.cfg.
type proxy struct {
	edge   Edge
	global string // the user's own configuration
	log    string
	more   []string // arguments
	cmd    *exec.Cmd
}

// ownConfig is what a user's configuration has at least.
const ownConfig = "global\n    maxconn 4000\n"

// newProxy starts a HAProxy, with a socket that has these options, and a backend for it.
func newProxy(t testing.TB, options string) (*proxy, *Backend) {
	t.Helper()
	dir, err := os.MkdirTemp("", "haproxy") // t.TempDir has the test's name, and a comma ends the path of -S
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &proxy{
		edge:   Edge{Name: "here", Socket: filepath.Join(dir, "master.sock"), Folder: filepath.Join(dir, "release")},
		global: filepath.Join(dir, "haproxy.cfg"), log: filepath.Join(dir, "haproxy.log"),
	}
	b := p.backend(t)
	if err := os.WriteFile(p.global, []byte(ownConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	p.more = []string{"-W", "-S", p.edge.Socket + options, "-f", p.global, "-f", p.edge.ConfigFile()}
	p.start(t)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			b, _ := os.ReadFile(p.log)
			t.Logf("haproxy's log:\n%s", b)
		}
	})
	return p, b
}

// backend is one more agent's.
func (p *proxy) backend(t testing.TB) *Backend {
	t.Helper()
	var said bytes.Buffer
	b, err := New(Config{Edges: []Edge{p.edge}, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err == nil {
		err = b.Prepare()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// start returns when the worker answers.
func (p *proxy) start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command("haproxy", p.more...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Workers end with their master, and the master with the test's process, however that ends.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start haproxy (Debian's package haproxy): %v", err)
	}
	routertest.Eventually(t, "haproxy's worker answers", func() bool {
		ps, err := console{p.edge.Socket}.processes(context.Background())
		if err != nil || ps.current == 0 {
			return false
		}
		_, err = worker{console{p.edge.Socket}, ps.current}.information(context.Background())
		return err == nil
	})
}

// kill ends the master and all its workers as kill -9 does.
func (p *proxy) kill() {
	ps, err := console{p.edge.Socket}.processes(context.Background())
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	_ = p.cmd.Wait()
	for deadline := time.Now().Add(10 * time.Second); err == nil && slices.ContainsFunc(ps.workers(), lives) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// lives says whether a process has not ended; it may wait for its parent to see that.
func lives(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(b, []byte(") Z "))
}

// reload is somebody else's.
func (p *proxy) reload(t *testing.T) {
	t.Helper()
	before := p.processes(t)
	if err := p.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	routertest.Eventually(t, "the reload is over", func() bool {
		now, err := console{p.edge.Socket}.processes(context.Background())
		return err == nil && now.current != 0 && now.reloads > before.reloads && !slices.Contains(before.workers(), now.current)
	})
}

func (p *proxy) processes(t *testing.T) processes {
	t.Helper()
	ps, err := console{p.edge.Socket}.processes(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

// ask runs a command in the current worker.
func (p *proxy) ask(t *testing.T, command string) string {
	t.Helper()
	out, err := worker{console{p.edge.Socket}, p.processes(t).current}.ask(context.Background(), command)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return strings.TrimSpace(out)
}

func TestConformance(t *testing.T) {
	routertest.Run(t, routertest.Harness{New: func(t *testing.T) routertest.Instance {
		p, b := newProxy(t, "")
		return routertest.Instance{Backend: b, Serves: true, Probes: true, Lacks: map[string]string{"nodes that failed": "it takes no request back from a node"}, Restart: func(t *testing.T) {
			p.kill()
			p.start(t)
		}}
	}})
}
