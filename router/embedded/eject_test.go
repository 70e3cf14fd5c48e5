package embedded

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// moody is a node that fails in some way while it is ill, and answers with its name else.
type moody struct {
	*routertest.TestNode
	ill atomic.Bool
	has atomic.Int64 // requests, so many
}

// newMoody takes what the node does instead of an answer: it closes the connection in that way when it returns.
func newMoody(t *testing.T, name string, fail func(*net.TCPConn)) *moody {
	m := &moody{}
	m.TestNode = rawNode(t, name, func(c net.Conn, r *bufio.Reader) {
		for readHead(r) {
			m.has.Add(1)
			if m.ill.Load() {
				fail(c.(*net.TCPConn))
				return
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
		}
	})
	return m
}

// fleetOfMoods is an engine with four of them.
type fleetOfMoods struct {
	t      *testing.T
	e      *engine
	listen string
	nodes  []*moody
}

const ejectedAfter = 3

func newFleetOfMoods(t *testing.T, fail func(*net.TCPConn)) *fleetOfMoods {
	f := &fleetOfMoods{t: t, e: startEngine(t, nil)}
	var nodes []*routertest.TestNode
	for _, name := range []string{"a", "b", "c", "d"} {
		f.nodes = append(f.nodes, newMoody(t, name, fail))
		nodes = append(nodes, f.nodes[len(nodes)].TestNode)
	}
	f.listen = f.e.serveBalanced(t, router.Balance{EjectAfter: ejectedAfter, Timeout: 2 * time.Second}, nodes...)
	return f
}

// pass lets so much of the time pass for which nodes are out. The engine's clock stays: the sweep that ends what is late goes by the
// machine's.
func (f *fleetOfMoods) pass(d time.Duration) {
	f.e.mu.Lock()
	defer f.e.mu.Unlock()
	for _, n := range f.e.memory.nodes {
		if until := n.skipUntil.Load(); until != 0 {
			n.skipUntil.Store(max(1, until-int64(d)))
		}
	}
}

// ask sends requests that no node may get twice, all at once, and gives what came back by its number.
func (f *fleetOfMoods) ask(n int) map[int]int {
	f.t.Helper()
	var mu sync.Mutex
	var wait sync.WaitGroup
	codes := map[int]int{}
	for range n {
		wait.Go(func() {
			res, _ := fetch(f.t, "POST", "http://"+f.listen+"/", "", nil)
			mu.Lock()
			defer mu.Unlock()
			codes[res.StatusCode]++
		})
	}
	wait.Wait()
	return codes
}

// had is how many requests each node got since the last call, and whether it is out.
func (f *fleetOfMoods) had() (has [4]int64, out [4]bool) {
	for i, n := range f.nodes {
		has[i], out[i] = n.has.Swap(0), f.e.nodeTraffic(n.Name).Ejected
	}
	return has, out
}

// A node whose answers break off, or do not come in time, is out after so many in a row: for 10 s it gets nothing, then one request to
// prove itself, and what comes of that decides. Never is more than half of the fleet out.
func TestEjectionByBrokenAndLateAnswers(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for name, tt := range map[string]struct {
		fail   func(*net.TCPConn)
		status int
		count  func(router.NodeTraffic) uint64
	}{
		"resets": {func(c *net.TCPConn) { _ = c.SetLinger(0) }, 502, func(n router.NodeTraffic) uint64 { return n.Reset }},
		"closes": {func(*net.TCPConn) {}, 502, func(n router.NodeTraffic) uint64 { return n.Reset }},
		"half an answer": {func(c *net.TCPConn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Len") }, 502,
			func(n router.NodeTraffic) uint64 { return n.Reset }},
		"late": {func(*net.TCPConn) { <-release }, 504, func(n router.NodeTraffic) uint64 { return n.Timeout }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleetOfMoods(t, tt.fail)
			f.nodes[0].ill.Store(true)
			f.nodes[1].ill.Store(true)
			codes := map[int]int{}
			var first time.Time // not later than the first node was out
			for range 10 {      // a node of the two gets a quarter of them
				round := time.Now()
				for code, n := range f.ask(12) {
					codes[code] += n
				}
				_, out := f.had()
				if first.IsZero() && (out[0] || out[1]) {
					first = round
				}
				if out[0] && out[1] {
					break
				}
			}
			for i := range 2 {
				if n := f.e.nodeTraffic(f.nodes[i].Name); !n.Ejected || tt.count(n) < ejectedAfter || tt.count(n) != n.Requests {
					t.Fatalf("after answers %v: %+v", codes, n)
				}
			}
			if codes[tt.status] < 2*ejectedAfter || len(codes) > 2 {
				t.Errorf("answers %v", codes)
			}

			quiet := func(when string) {
				t.Helper()
				codes := f.ask(40)
				if has, out := f.had(); codes[200] != 40 || has[0]+has[1] != 0 || out != [4]bool{true, true} {
					t.Errorf("%s: answers %v, the nodes had %v, out are %v", when, codes, has, out)
				}
			}
			quiet("at once")
			f.pass(max(0, 6*time.Second-time.Since(first)))
			quiet("after 6 s") // and a little, on a busy machine
			f.pass(4*time.Second + time.Since(first))
			codes = map[int]int{}
			var has [4]int64
			var out [4]bool
			for range 20 { // few at a time: one that comes 1 s after the trial has begun may try the node as well
				for code, n := range f.ask(12) {
					codes[code] += n
				}
				var more [4]int64
				more, out = f.had()
				for i, n := range more {
					has[i] += n
				}
				if has[0] > 0 && has[1] > 0 {
					break
				}
			}
			if has[0] != 1 || has[1] != 1 || out != [4]bool{true, true} || codes[tt.status] != 2 {
				t.Errorf("after 10 s: answers %v, the nodes had %v, out are %v; want one request each, and both out again", codes, has, out)
			}
			quiet("after the trial")

			f.nodes[0].ill.Store(false)
			f.pass(10 * time.Second)
			for range 20 { // the one that proves itself does so while the others of its round are under way
				f.ask(10)
			}
			if has, out = f.had(); has[0] < 20 || has[1] != 1 || out != [4]bool{false, true} {
				t.Errorf("a is well again: the nodes had %v, out are %v", has, out)
			}

			f.nodes[2].ill.Store(true)
			f.nodes[3].ill.Store(true)
			for range 3 {
				f.ask(24)
			}
			has, out = f.had()
			n := 0
			for _, o := range out {
				if o {
					n++
				}
			}
			if n != 2 || !out[1] || has[0] == 0 {
				t.Errorf("three are ill: out are %v, the nodes had %v", out, has)
			}
		})
	}
}

// Nodes that become ill at the same moment do not overtake each other on the way out.
func TestNeverMoreThanHalfIsOut(t *testing.T) {
	for size := 1; size <= 5; size++ {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			for range 300 {
				target := &target{}
				for i := range size {
					target.nodes = append(target.nodes, newNode(nodeKey{name: fmt.Sprint(i)}, 0))
				}
				var wait sync.WaitGroup
				begin := make(chan struct{})
				for _, n := range target.nodes {
					wait.Go(func() {
						<-begin
						n.ill(target, 1, 0)
					})
				}
				close(begin)
				wait.Wait()
				out := 0
				for _, n := range target.nodes {
					if n.ejected.Load() {
						out++
					}
				}
				if out != size/2 {
					t.Fatalf("%d of %d are out", out, size)
				}
			}
		})
	}
}
