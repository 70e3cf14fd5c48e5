package consul

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/consul/certstore"
	"github.com/bootandshoot/release/router/embedded"
	"github.com/bootandshoot/release/router/routertest"
)

// asEdge as first argument makes the test binary an edge; folder, Consul's address and prefix follow.
const asEdge = "edge-under-test"

func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == asEdge {
		if err := runEdge(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runEdge(dir, address, prefix string) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	settings := consulapi.Settings{Address: address}
	edge, err := NewEdge(EdgeOptions{
		Options: Options{Settings: settings, Prefix: prefix, Log: log}, Dir: dir, Program: "test",
	})
	if err != nil {
		return err
	}
	certificates, err := certstore.New(settings, prefix)
	if err != nil {
		return err
	}
	return embedded.Run(context.Background(), embedded.Config{
		Dir: dir, Version: "test", IdleTimeout: 3 * time.Second, StopTimeout: 5 * time.Second, Companion: edge, CertStorage: certificates, Log: log,
	})
}

// edge is a data plane that follows Consul, in a process of its own.
type edge struct {
	t               *testing.T
	dir             string
	address, prefix string
	netns           bool // a network of its own
	cmd             *exec.Cmd
	ended           chan struct{}
	local           *embedded.Client
}

// startEdge starts an edge, which ends with the test. With netns it has a network of its own, and reaches Consul by a unix socket.
func startEdge(t *testing.T, address, prefix string, netns bool) *edge {
	t.Helper()
	e := &edge{t: t, dir: t.TempDir(), address: address, prefix: prefix, netns: netns}
	e.local = embedded.NewClient(e.dir)
	e.start()
	t.Cleanup(func() {
		e.kill()
		e.local.Close()
		b, _ := os.ReadFile(filepath.Join(e.dir, "router.log"))
		if strings.Contains(string(b), "DATA RACE") || strings.Contains(string(b), "panic:") {
			t.Error("the edge raced or panicked")
		}
		if t.Failed() {
			t.Logf("edge %s:\n%s", e.dir, b)
		}
	})
	return e
}

func (e *edge) start() {
	e.t.Helper()
	log, err := os.OpenFile(filepath.Join(e.dir, "router.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	defer log.Close()
	e.cmd = exec.Command(os.Args[0], asEdge, e.dir, e.address, e.prefix)
	e.cmd.Stdout, e.cmd.Stderr = log, log
	if e.netns {
		e.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if os.Getuid() != 0 {
			e.cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		}
	}
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.ended = make(chan struct{})
	go func() {
		defer close(e.ended)
		_ = e.cmd.Wait()
	}()
	routertest.Eventually(e.t, "the edge serves", func() bool {
		_, err := e.local.Status(e.t.Context())
		return err == nil
	})
}

func (e *edge) signal(s syscall.Signal) {
	_ = e.cmd.Process.Signal(s)
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		<-e.ended
	}
}

func (e *edge) kill() { e.signal(syscall.SIGKILL) }

// id is the edge's name.
func (e *edge) id() string {
	e.t.Helper()
	b, err := os.ReadFile(filepath.Join(e.dir, "edge"))
	if err != nil {
		e.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// version is what the edge itself says that it serves.
func (e *edge) version() router.Version {
	t, err := e.local.Applied(context.Background())
	if err != nil {
		return router.Version{}
	}
	return t.Version
}

func newBackend(t *testing.T, address, prefix string) *Backend {
	t.Helper()
	b, err := New(Options{Settings: consulapi.Settings{Address: address}, Prefix: prefix, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// seen is an edge as Consul has it, or none.
func seen(t *testing.T, b router.Backend, id string) (router.Edge, bool) {
	t.Helper()
	o, err := b.Observe(t.Context())
	if err != nil {
		t.Logf("observe: %v", err)
		return router.Edge{}, false
	}
	for _, e := range o.Edges {
		if e.ID == id {
			return e, true
		}
	}
	return router.Edge{}, false
}

// awaitLive waits until edges are registered and live.
func awaitLive(t *testing.T, b router.Backend, all ...*edge) {
	t.Helper()
	for _, e := range all {
		routertest.Eventually(t, "the edge is registered", func() bool {
			got, ok := seen(t, b, e.id())
			return ok && got.Silent.IsZero() && got.PID == e.cmd.Process.Pid
		})
	}
}

func mustApply(t *testing.T, b router.Backend, table router.Table) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := b.Apply(ctx, table); err != nil {
		t.Fatal(err)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// exe is the program of an edge.
func (e *edge) exe() string {
	e.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		e.t.Fatal(err)
	}
	return exe
}

// get is the body of an answer on listen, or what went wrong.
func get(t *testing.T, listen string) string {
	t.Helper()
	res, err := http.Get("http://" + listen + "/")
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
