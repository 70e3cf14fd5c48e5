package haproxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// TestReloadsOfOthers: somebody else reloads again and again while tables are applied, and no request is lost.
func TestReloadsOfOthers(t *testing.T) {
	const fewest, most = 40, 2000   // tables
	const enough = 15 * time.Second // a slow machine sees fewer reloads, at least two
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	p, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	nodes := []*routertest.TestNode{routertest.StartNode(t, "a", nil), routertest.StartNode(t, "b", nil), routertest.StartNode(t, "c", nil), routertest.StartNode(t, "d", nil)}
	make := func(seq uint64) router.Table {
		k := int(seq)
		return table(seq, listen, routertest.FleetOf(1, 1+k%100, nodes[k%2]), routertest.FleetOf(2, 1+k*7%100, nodes[2+k/2%2]))
	}
	apply(t, b, make(1))
	l := startLoad(t, listen, 2, 2)
	var over atomic.Bool
	done := goTest(t, func() {
		for seq := uint64(2); seq < fewest || seq < most && !over.Load(); seq++ {
			if err := b.Apply(ctx, make(seq)); err != nil && !errors.Is(err, router.ErrUnavailable) {
				t.Errorf("apply %d: %v", seq, err)
				return
			}
		}
	})
	began := time.Now()
	for n := 0; n < 5 && (n < 2 || time.Since(began) < enough); n++ {
		p.reload(t)
	}
	over.Store(true)
	<-done
	l.end(t)
	last, err := b.Applied(ctx)
	if err != nil {
		t.Fatal(err)
	}
	final := make(last.Version.Seq + 1)
	apply(t, b, final)
	if e := observed(t, b); e.Confirmed != final.Version {
		t.Errorf("confirmed %s, want %s", e.Confirmed, final.Version)
	}
}

// goTest runs a part of a test beside it, and waits for its end also when the test ends early.
func goTest(t *testing.T, do func()) <-chan struct{} {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	t.Cleanup(func() { <-done })
	return done
}

// TestMasterHangs: the master accepts connections and does not answer, while its worker goes on.
func TestMasterHangs(t *testing.T) {
	p, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	a, c := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "c", nil)
	apply(t, b, table(1, listen, routertest.FleetOf(1, 100, a)))
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	next := table(2, listen, routertest.FleetOf(2, 100, c))
	if err := b.Apply(t.Context(), next); !errors.Is(err, router.ErrUnavailable) || !fault.Is(err, fault.Unavailable) {
		t.Errorf("apply to a master that hangs: %v", err)
	}
	if got := get(t, listen); got != "a" {
		t.Errorf("its worker answers from %q", got)
	}
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	routertest.Eventually(t, "the table that it missed is in effect", func() bool {
		return observed(t, b).Confirmed == next.Version
	})
	if got := get(t, listen); got != "c" {
		t.Errorf("after it went on %q answers", got)
	}
}

// TestOurOwnReloads: routes with listen addresses of their own come and go, and the one that stays loses nothing.
func TestOurOwnReloads(t *testing.T) {
	_, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	a := routertest.StartNode(t, "a", nil)
	apply(t, b, table(1, listen, routertest.FleetOf(1, 100, a)))
	before := observed(t, b)
	l := startLoad(t, listen, 3, 3)
	for k := range 6 {
		tab := table(uint64(k+2), listen, routertest.FleetOf(1, 100, a))
		if k%2 == 0 {
			more := routertest.RouteTo(routertest.FreeListen(t), routertest.FleetOf(1, 100, a))
			more.Name = "other/production/web"
			tab.Routes = append(tab.Routes, more)
		}
		apply(t, b, tab)
		observed(t, b)
	}
	l.end(t)
	routertest.Eventually(t, "nothing is in flight", func() bool { return observed(t, b).Nodes[0].InFlight == 0 })
	after := observed(t, b)
	if after.Instance != before.Instance {
		t.Errorf("instance %s became %s over reloads of our own", before.Instance, after.Instance)
	}
	// What a worker counts between the last look at it and its end is not seen.
	if r := after.Routes[0]; r.Failed != 0 || r.Requests <= before.Routes[0].Requests || r.Requests > uint64(l.sent.Load()) {
		t.Errorf("route counts %+v, sent %d", r, l.sent.Load())
	}
}

// TestOldWorkers: a connection that stays with a worker from before a reload obeys later tables, as far as that worker can,
// and is closed where it cannot.
func TestOldWorkers(t *testing.T) {
	p, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	a, c, d := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "c", nil), routertest.StartNode(t, "d", nil)
	tab := func(seq uint64, wa, wc int, more ...*routertest.TestNode) router.Table {
		return table(seq, listen, routertest.FleetOf(1, wa, a), routertest.FleetOf(2, wc, append([]*routertest.TestNode{c}, more...)...))
	}
	apply(t, b, tab(1, 100, 0))
	conn := dial(t, listen)
	if got := conn.ask(t); got != "a" {
		t.Fatalf("before: %q", got)
	}
	p.reload(t)
	apply(t, b, tab(2, 0, 100))
	if e := observed(t, b); e.Confirmed != (router.Version{Epoch: 1, Seq: 2}) {
		t.Fatalf("confirmed %s", e.Confirmed)
	}
	if ps := p.processes(t); len(ps.old) != 1 {
		t.Fatalf("the connection keeps no old worker: %+v", ps)
	}
	if got := conn.ask(t); got != "c" {
		t.Errorf("the old worker answers from %q by a table of the past", got)
	}
	conn = dial(t, listen)
	conn.ask(t)
	p.reload(t)
	apply(t, b, tab(3, 0, 100, d))
	if got := conn.ask(t); got != "" {
		t.Errorf("the old worker cannot know all nodes, and answers from %q", got)
	}
	conn = dial(t, listen)
	conn.ask(t)
	changed := tab(4, 100, 0)
	changed.Routes[0].Preview.From = []string{"127.0.0.0/8"}
	apply(t, b, changed)
	if got := conn.ask(t); got != "" {
		t.Errorf("the route was reloaded, and the old worker answers from %q", got)
	}
}

// keptConn is a keep-alive connection.
type keptConn struct {
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, listen string) keptConn {
	t.Helper()
	conn, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return keptConn{conn, bufio.NewReader(conn)}
}

// ask gives the body of the answer, "" when the connection closes without one.
func (c keptConn) ask(t *testing.T) string {
	t.Helper()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		if err != io.ErrUnexpectedEOF && err != io.EOF && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("ask: %v", err)
		}
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("ask: %v", err)
	}
	return string(body)
}
