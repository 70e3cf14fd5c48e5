package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serveVar makes the test binary listen on an address and say who it is to each connection.
const serveVar = "SANDBOX_TEST_SERVE"

func serve(address string) int {
	l, err := net.Listen("tcp", address)
	if err != nil {
		println(err.Error())
		return 1
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return 1
		}
		_, _ = io.WriteString(conn, "hello")
		_ = conn.Close()
	}
}

// listening starts an attached sandbox that serves on an address of its loopback, with a control socket.
func listening(t *testing.T, address string) (*Process, *Control) {
	t.Helper()
	self, err := os.Executable()
	check(t, err)
	s := newRoot(t)
	s.Mounts = append(s.Mounts, Mount{Source: self, Target: "/serve", ReadOnly: true})
	s.Command, s.Env, s.User = []string{"/serve"}, []string{serveVar + "=" + address}, "shop"
	s.Stderr, s.Control = os.Stderr, t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	p, err := Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_, _ = p.Wait()
	})
	return p, ControlOf(s.Control)
}

func TestDial(t *testing.T) {
	for _, address := range []string{"127.0.0.1:80", "[::1]:80", ":80"} {
		p, _ := listening(t, address)
		var got []byte
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			conn, err := p.Dial(t.Context(), 80)
			if err == nil {
				got, err = io.ReadAll(conn)
				_ = conn.Close()
				if err == nil {
					break
				}
			}
			if !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(deadline) {
				t.Fatalf("%s: %v", address, err)
			}
		}
		if string(got) != "hello" {
			t.Errorf("%s: %q", address, got)
		}
		check(t, p.Kill())
		_, _ = p.Wait()
		if _, err := p.Dial(t.Context(), 80); !errors.Is(err, ErrGone) {
			t.Errorf("after its end: %v", err)
		}
	}
}

func TestExecInAttachedCommand(t *testing.T) {
	_, control := listening(t, "127.0.0.1:80")
	for user, want := range map[string]string{
		"": "uid=1000(shop) gid=1000(shop) groups=1000(shop),2000(extra) /home/shop", "0": "uid=0(root) gid=0(root) groups=0(root) /root",
	} {
		var out bytes.Buffer
		exit, err := control.Exec(t.Context(), ExecSpec{Command: []string{"/bin/sh", "-c", "echo $(id) $HOME"}, User: user, Stdout: &out})
		if err != nil || exit.Code != 0 || strings.TrimSpace(out.String()) != want {
			t.Errorf("as %q: %+v %v %s", user, exit, err, out.String())
		}
	}
	if _, err := control.Exec(t.Context(), ExecSpec{Command: []string{"/bin/true"}, User: "nobody-here"}); err == nil || !strings.Contains(err.Error(), "nobody-here") {
		t.Errorf("as nobody known: %v", err)
	}
}
