package embedded

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

// activate starts a router process in dir as a service manager does: with listening sockets from descriptor 3 on.
func activate(t *testing.T, dir string, env []string, sockets ...*net.TCPListener) *Client {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := openLog(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, exe, asRouter, dir)
	var names []string
	for i, l := range sockets {
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles, names = append(cmd.ExtraFiles, f), append(names, fmt.Sprint("web", i))
	}
	cmd.Env = append(append(os.Environ(), env...), fmt.Sprint("LISTEN_FDS=", len(sockets)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	c := NewClient(dir)
	routertest.Eventually(t, "the router answers", func() bool { _, err := c.Status(context.Background()); return err == nil })
	return c
}

// Sockets of a service manager serve the listen addresses that they are bound to; they outlive routes, upgrades and the router.
func TestSocketActivation(t *testing.T) {
	var sockets []*net.TCPListener
	for range 2 {
		l, err := listenTCP("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		sockets = append(sockets, l)
	}
	first, second := sockets[0].Addr().String(), sockets[1].Addr().String()
	dir := t.TempDir()
	c := activate(t, dir, nil, sockets...)
	t.Cleanup(func() {
		if err := c.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if b, _ := os.ReadFile(filepath.Join(dir, logName)); t.Failed() || strings.Contains(string(b), "DATA RACE") {
			t.Errorf("router.log:\n%s", b)
		}
	})
	node := routertest.StartNode(t, "a", nil)
	get := func(listen string) {
		t.Helper()
		if _, body := fetch(t, "GET", "http://"+listen+"/", "", nil); body != "a" {
			t.Fatalf("%q", body)
		}
	}
	own := routertest.FreeListen(t)
	ownRoute := routertest.RouteTo(own, routertest.FleetOf(1, 1, node))
	ownRoute.Name = "own"
	mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(first, routertest.FleetOf(1, 1, node)), ownRoute))
	get(first) // nobody but the manager could have opened it: the address is in use
	get(own)
	mustApply(t, c, routertest.TableOf(2))
	mustApply(t, c, routertest.TableOf(3, routertest.RouteTo(second, routertest.FleetOf(1, 1, node))))
	get(second)
	for range 2 {
		upgrade(t, c)
	}
	get(second)
	mustApply(t, c, routertest.TableOf(4, routertest.RouteTo(first, routertest.FleetOf(1, 1, node))))
	get(first) // that the first process did not use when it handed over

	// While no router runs, connections wait instead of being refused.
	kill(t, c)
	answer := make(chan error, 1)
	conn, err := net.Dial("tcp", first)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	go func() {
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && res.StatusCode != 200 {
			err = fmt.Errorf("status %d", res.StatusCode)
		}
		answer <- err
	}()
	c = activate(t, dir, nil, sockets...)
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

// What is said to be for another process, or is no listening socket, is not taken.
func TestActivationThatIsNotOurs(t *testing.T) {
	t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()+1))
	t.Setenv("LISTEN_FDS", "1")
	if list, err := activated(); len(list) > 0 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
	if v, there := os.LookupEnv("LISTEN_FDS"); there {
		t.Errorf("a successor would get %q", v)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := newGiven("x", f); err == nil {
		t.Error("a file was taken for a socket")
	}
}

func TestGivenFits(t *testing.T) {
	for _, tt := range []struct {
		bound, listen string
		want          bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true}, {"127.0.0.1:80", ":80", false}, {"0.0.0.0:80", ":80", true}, {"[::]:80", ":80", true}, {"[::]:80", "[::]:80", true},
		{"[::]:80", "[::]:81", false}, {"[::1]:80", "[::1]:80", true}, {"0.0.0.0:80", "127.0.0.1:80", false}, {"127.0.0.1:80", "nonsense", false},
	} {
		address, err := net.ResolveTCPAddr("tcp", tt.bound)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&given{address: address}).fits(tt.listen); got != tt.want {
			t.Errorf("%s for %s: %v", tt.bound, tt.listen, got)
		}
	}
}

// A service manager learns when the router serves, and which process is the router after a handover.
func TestServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_ = l.SetReadDeadline(time.Now().Add(20 * time.Second))
	told := func() string {
		b := make([]byte, 100)
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	t.Setenv("NOTIFY_SOCKET", path)
	c := startRouter(t, t.TempDir())
	if got := told(); got != "READY=1" {
		t.Errorf("%q", got)
	}
	s := upgrade(t, c)
	got := []string{told(), told()}
	if want := fmt.Sprintf("MAINPID=%d", s.PID); got[0] != want && got[1] != want {
		t.Errorf("%q, want %q among them", got, want)
	}
}

// SIGHUP opens the log anew, hands over to the program if that has changed, and loses nothing.
func TestHangup(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "router")
	install := func() {
		b, err := os.ReadFile(exe)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program+".new", b, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(program+".new", program); err != nil {
			t.Fatal(err)
		}
	}
	install()
	dir := t.TempDir()
	c, err := Ensure(context.Background(), dir, program, []string{asRouter, dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop(context.Background()) })
	listen := routertest.FreeListen(t)
	mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, routertest.StartNode(t, "a", nil)))))
	l := startLoad(t, listen)
	first := mustStatus(t, c)
	enough := func(n int64) { routertest.Eventually(t, "load runs", func() bool { return l.sent.Load() > n }) }
	enough(200)
	log := filepath.Join(dir, "access.log")
	if err := os.Rename(log, log+".old"); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(first.PID, syscall.SIGHUP)
	routertest.Eventually(t, "the log is there again", func() bool { info, err := os.Stat(log); return err == nil && info.Size() > 0 })
	if s := mustStatus(t, c); s.PID != first.PID {
		t.Errorf("a new process of the same program: %+v", s)
	}
	for range 3 {
		before := mustStatus(t, c)
		install()
		_ = syscall.Kill(before.PID, syscall.SIGHUP)
		routertest.Eventually(t, "the new program serves", func() bool {
			s, err := c.Status(context.Background())
			return err == nil && s.PID != before.PID && s.Instance == first.Instance
		})
		enough(l.sent.Load() + 200)
	}
	l.stop()
	t.Logf("%d requests, %d lost", l.sent.Load(), l.failed.Load())
}
