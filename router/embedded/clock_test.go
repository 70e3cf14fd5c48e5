package embedded

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/bootandshoot/release/router/routertest"
)

// jumping is a machine's clock whose time of day is set by hand.
type jumping struct{ by atomic.Int64 }

func (j *jumping) now() time.Time { return jumped(time.Now(), time.Duration(j.by.Load())) }

// jumped is t as it would have been read had somebody set the time of day before, by whole seconds: the monotonic part stays.
// Nothing in package time makes such a time, so this goes by its layout, and holds that it did.
func jumped(t time.Time, by time.Duration) time.Time {
	const secondsAt = 30 // bit of wall, above the nanoseconds
	out := t
	*(*uint64)(unsafe.Pointer(&out)) += uint64(by/time.Second) << secondsAt
	if out.Sub(t) != 0 || out.UnixNano()-t.UnixNano() != int64(by) {
		panic("time.Time is laid out in another way")
	}
	return out
}

// A limit that runs when the time of day is set ends when it would have ended.
func TestLimitsKnowNoTimeOfDay(t *testing.T) {
	conn := dialText(t, echo(t), "")
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	checks := map[string]func(*guard, time.Time){
		"reads":  func(g *guard, now time.Time) { g.check(now) },
		"writes": func(g *guard, now time.Time) { g.checkMoving(now, 10*time.Second, raw) },
	}
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		for name, check := range checks {
			g := &guard{set: func(time.Time) error { return nil }, taken: 1 << 40}
			now := time.Now()
			g.arm(now, 10*time.Second)
			check(g, jumped(now.Add(9*time.Second), by))
			if g.expired() {
				t.Errorf("%s, %s: over too early", name, by)
			}
			check(g, jumped(now.Add(11*time.Second), by))
			if !g.expired() {
				t.Errorf("%s, %s: not over", name, by)
			}
		}
	}
}

// A node that was skipped comes back after the skip, wherever the time of day goes meanwhile.
func TestSkipsKnowNoTimeOfDay(t *testing.T) {
	e := startEngine(t, nil)
	var clock jumping
	e.now = clock.now
	b := routertest.DeadNode(t, "b")
	listen := e.serveNodes(t, routertest.StartNode(t, "a", nil), b)
	ask := func() { fetch(t, "GET", "http://"+listen+"/", "", nil) }
	routertest.Eventually(t, "b is skipped", func() bool {
		ask()
		return e.nodeTraffic("b").Connect > 0
	})
	clock.by.Store(-int64(time.Hour))
	l, err := net.Listen("tcp", b.Address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { b.Seen.Add(1) })}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	routertest.Eventually(t, "b is back", func() bool {
		ask()
		return b.Seen.Load() > 0
	})
}

func TestSkipsDoNotEndByTheTimeOfDay(t *testing.T) {
	n, now := newNode(nodeKey{}, 0), time.Now()
	n.unreachable(instant(now))
	if n.ready(instant(jumped(now, time.Hour))) {
		t.Error("the skip has ended")
	}
	if !n.ready(instant(jumped(now.Add(2*firstSkip), -time.Hour))) {
		t.Error("the skip has not ended")
	}
}

// A client that is gone is noticed, also when the time of day was set back while its request waited.
func TestGoneClientsKnowNoTimeOfDay(t *testing.T) {
	e := startEngine(t, nil)
	e.patience.gone = 100 * time.Millisecond
	var clock jumping
	clock.by.Store(int64(time.Hour))
	e.now = clock.now
	release := make(chan struct{})
	defer close(release)
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(http.ResponseWriter, *http.Request) { <-release }))
	c := dialText(t, listen, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	routertest.Eventually(t, "the request is at the node", func() bool { return e.nodeTraffic("a").InFlight == 1 })
	_ = c.Close()
	routertest.Eventually(t, "the request is over", func() bool { return e.nodeTraffic("a").InFlight == 0 })
}

// echo is the address of a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}
