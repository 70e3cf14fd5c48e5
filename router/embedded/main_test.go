package embedded

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

// asRouter as first argument makes the test binary a router process; the folder is the second one.
const asRouter = "router-under-test"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == asRouter {
		cfg := Config{
			Dir: os.Args[2], Version: "test", IdleTimeout: 3 * time.Second, StopTimeout: duration("TEST_STOP_TIMEOUT", 5*time.Second),
			CloseWithin: duration("TEST_CLOSE_WITHIN", 100*time.Millisecond), HandoffTimeout: duration("TEST_HANDOFF_TIMEOUT", 0),
			AccessLog: os.Args[2] + "/access.log", MetricsListen: os.Getenv("TEST_METRICS_LISTEN"),
			Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
		}
		if err := Run(context.Background(), cfg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(code)
}

// duration is what the test asks its routers for.
func duration(name string, def time.Duration) time.Duration {
	if d, err := time.ParseDuration(os.Getenv(name)); err == nil {
		return d
	}
	return def
}

// startRouter starts a router process in dir and stops it with the test.
func startRouter(t *testing.T, dir string) *Client {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, dir, exe)
}

// startProgram is startRouter with another program than the test's own.
func startProgram(t *testing.T, dir, exe string) *Client {
	t.Helper()
	c, err := Ensure(context.Background(), dir, exe, []string{asRouter, dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		b, _ := os.ReadFile(filepath.Join(dir, logName))
		if bytes.Contains(b, []byte("DATA RACE")) || bytes.Contains(b, []byte("panic:")) {
			t.Error("the router raced or panicked")
		}
		if t.Failed() {
			t.Logf("router.log:\n%s", b)
		}
	})
	return c
}

// kill ends the router process as kill -9 does, and waits until it is gone.
func kill(t *testing.T, c *Client) {
	t.Helper()
	s, err := c.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := waitUnlocked(ctx, c.Dir()); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	routertest.Run(t, routertest.Harness{New: func(t *testing.T) routertest.Instance {
		dir := t.TempDir()
		c := startRouter(t, dir)
		return routertest.Instance{Backend: c, Serves: true, Restart: func(t *testing.T) {
			kill(t, c)
			startRouter(t, dir)
		}}
	}})
}
