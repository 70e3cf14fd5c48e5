package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

// heldSuccessor is a router process whose predecessor the test is.
type heldSuccessor struct {
	listen string
	ln     *net.TCPListener
	peer   *net.UnixConn
	cmd    *exec.Cmd
	die    func() // what the end of the predecessor does
}

// startSuccessor hands a process the sockets of a router that nobody accepts on, and waits until it has said that it could serve.
func startSuccessor(t *testing.T, turns bool, says byte) *heldSuccessor {
	t.Helper()
	dir := t.TempDir()
	before := startEngine(t, func(c *Config) { c.Dir = dir })
	s := &heldSuccessor{listen: before.serveNodes(t, routertest.StartNode(t, "a", nil))} // which leaves a table on the disk
	before.listeners.shutdown(0)
	lock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	control, err := listenControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.ln, err = listenTCP(s.listen); err != nil {
		t.Fatal(err)
	}
	pair := socketPair(t)
	s.peer = pair[0]
	in := inheritance{Schema: handoffSchema, Instance: "it", Names: []string{nameLock, nameControl, nameRoute + s.listen}, Turns: turns}
	var files []*os.File
	for _, c := range []syscall.Conn{pair[1], lock, control, s.ln} {
		f, err := duplicate(c)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	out, err := openLog(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if s.cmd, err = startDetached(exe, []string{asRouter, dir}, in.environment(), files, out, out); err != nil {
		t.Fatal(err)
	}
	_ = pair[1].Close()
	s.die = func() {
		for _, c := range []io.Closer{s.peer, lock, control, s.ln} {
			_ = c.Close()
		}
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.die()
		if b, _ := os.ReadFile(filepath.Join(dir, logName)); t.Failed() {
			t.Logf("router.log:\n%s", b)
		}
	})
	s.hears(t, says)
	return s
}

// hears holds what the successor says.
func (s *heldSuccessor) hears(t *testing.T, want byte) {
	t.Helper()
	b := make([]byte, 1)
	_ = s.peer.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := s.peer.Read(b); err != nil || b[0] != want {
		t.Fatalf("the successor said %q, %v; want %q", b, err, want)
	}
}

// A successor accepts nothing before it is its turn, and everything that waited then. However its predecessor ends, one of the
// two answers.
func TestSuccessorsTurn(t *testing.T) {
	for name, then := range map[string]func(*testing.T, *heldSuccessor){
		"it gets its turn": func(t *testing.T, s *heldSuccessor) {
			_, _ = s.peer.Write([]byte{goByte})
			s.hears(t, readyByte)
		},
		"its predecessor dies": func(_ *testing.T, s *heldSuccessor) { s.die() },
		"it is given up": func(_ *testing.T, s *heldSuccessor) {
			_ = s.cmd.Process.Kill()
			go func() {
				for {
					c, err := s.ln.Accept()
					if err != nil {
						return
					}
					if readHead(bufio.NewReader(c)) {
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
					}
					defer c.Close()
				}
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSuccessor(t, true, turnByte)
			c, r := dialRaw(t, s.listen, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)) // far longer than an answer takes
			if b, err := r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("before its turn: %q, %v", b, err)
			}
			then(t, s)
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(res.Body); err != nil || string(b) != "a" {
				t.Errorf("what had waited: %q, %v", b, err)
			}
		})
	}
}

// A predecessor of a program that knows no turns hears at once that the new process serves, and it does.
func TestSuccessorWithoutTurns(t *testing.T) {
	s := startSuccessor(t, false, readyByte)
	if _, body := fetch(t, "GET", "http://"+s.listen+"/", "", nil); body != "a" {
		t.Errorf("%q", body)
	}
}

// impatient is a socket whose reads have a short patience, where they have one.
type impatient struct{ net.Conn }

func (c impatient) SetReadDeadline(d time.Time) error {
	if !d.IsZero() {
		d = time.Now().Add(500 * time.Millisecond)
	}
	return c.Conn.SetReadDeadline(d)
}

// A successor that does not come up is not waited for. One that may have users already is, for as long as it takes.
func TestSlowSuccessor(t *testing.T) {
	for name, after := range map[string]bool{"before its turn": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			ends := socketPair(t)
			done := make(chan error, 1)
			go func() { done <- awaitReady(t.Context(), impatient{ends[0]}, nil) }()
			if after {
				_, _ = ends[1].Write([]byte{turnByte})
				_, _ = ends[1].Read(make([]byte, 1))
			}
			time.Sleep(time.Second)
			_, _ = ends[1].Write([]byte{readyByte})
			if err := <-done; (err == nil) != after {
				t.Errorf("%v", err)
			}
		})
	}
}

// Until a successor has said that it accepts its predecessor goes on without it; once it may accept nobody who leaves ends it.
func TestAwaitReady(t *testing.T) {
	for name, c := range map[string]struct {
		says  string // before its turn and after it; '-' is its end
		leave int    // before so many of them whoever asked for it leaves
		serve bool
	}{
		"as agreed":                    {"TR", 9, true},
		"an older program":             {"R", 9, true},
		"the asker leaves at its turn": {"TR", 1, true},
		"the asker leaves before":      {"TR", 0, false},
		"it ends at once":              {"-", 9, false},
		"it ends before its turn":      {"T-", 9, false},
		"it says something else":       {"x", 9, false},
		"it says something else after": {"Tx", 9, false},
	} {
		t.Run(name, func(t *testing.T) {
			ends := socketPair(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- awaitReady(ctx, ends[0], nil) }()
			got := make([]byte, 1)
			for i, b := range []byte(c.says) {
				if i == c.leave {
					cancel()
					if i == 0 {
						break
					}
				}
				if b == '-' {
					_ = ends[1].Close()
					break
				}
				_, _ = ends[1].Write([]byte{b})
				if b == turnByte {
					if _, err := ends[1].Read(got); err != nil || got[0] != goByte {
						t.Fatalf("it was told %q, %v", got, err)
					}
				}
			}
			if err := <-done; (err == nil) != c.serve {
				t.Errorf("%v", err)
			}
		})
	}
}

// Upgrades whose asker leaves at any moment cost nobody an answer.
func TestUpgradesThatAreGivenUp(t *testing.T) {
	c := startRouter(t, t.TempDir())
	listen := routertest.FreeListen(t)
	mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, routertest.StartNode(t, "a", nil)))))
	l := startLoad(t, listen)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	upgrade(t, c)
	whole, given := time.Since(began), 0
	for i := range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), whole*time.Duration(11-i)/10)
		if _, err := NewClient(c.Dir()).Upgrade(ctx, exe); err != nil {
			given++
		}
		cancel()
		routertest.Eventually(t, "the router answers", func() bool { _, err := c.Status(t.Context()); return err == nil })
	}
	l.stop()
	t.Logf("%d requests over 10 upgrades, %d of them given up; %d lost", l.sent.Load(), given, l.failed.Load())
}

// A router that is killed while its successor comes up leaves that one, which serves.
func TestKilledDuringAnUpgrade(t *testing.T) {
	for i := range 6 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			c := startRouter(t, t.TempDir())
			listen := routertest.FreeListen(t)
			mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, routertest.StartNode(t, "a", nil)))))
			pid := mustStatus(t, c).PID
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = NewClient(c.Dir()).Upgrade(context.Background(), exe) }()
			awaitChild(t, pid)
			time.Sleep(time.Duration(i) * 15 * time.Millisecond) // somewhere on the way
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
			routertest.Eventually(t, "the old process is gone", func() bool { return syscall.Kill(pid, 0) != nil })
			if _, body := fetch(t, "GET", "http://"+listen+"/", "", nil); body != "a" {
				t.Errorf("%q", body)
			}
			routertest.Eventually(t, "the new process answers", func() bool { s, err := c.Status(t.Context()); return err == nil && s.PID != pid })
		})
	}
}
