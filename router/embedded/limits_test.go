package embedded

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

func (e *engine) serveBalanced(t *testing.T, b router.Balance, nodes ...*routertest.TestNode) string {
	t.Helper()
	listen := routertest.FreeListen(t)
	r := routertest.RouteTo(listen, routertest.FleetOf(1, 100, nodes...))
	r.Balance = b
	e.mustApply(t, routertest.TableOf(1, r))
	return listen
}

// A node never has more requests than it may; the others wait their turn, up to so many and so long.
func TestQueue(t *testing.T) {
	e := startEngine(t, nil)
	var now, most atomic.Int64
	release := make(chan struct{})
	node := routertest.StartNode(t, "a", func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		now.Add(-1)
	})
	listen := e.serveBalanced(t, router.Balance{MaxInFlight: 2, MaxQueue: 5, QueueWait: 10 * time.Second}, node)
	var codes [600]atomic.Int64
	var wait sync.WaitGroup
	ask := func() {
		wait.Go(func() {
			res, _ := fetch(t, "GET", "http://"+listen+"/", "", nil)
			codes[res.StatusCode].Add(1)
		})
	}
	for range 7 {
		ask()
	}
	gate := &e.memory.routes["shop/production/web"].gate
	routertest.Eventually(t, "five wait", func() bool { return gate.waiting.Load() == 5 && now.Load() == 2 })
	ask()
	routertest.Eventually(t, "one too many is refused", func() bool { return codes[503].Load() == 1 })
	close(release)
	wait.Wait()
	if most.Load() != 2 || codes[200].Load() != 7 {
		t.Errorf("%d at a time, %d answered", most.Load(), codes[200].Load())
	}
	if n := gate.waiting.Load(); n != 0 {
		t.Errorf("%d still wait", n)
	}
}

func TestQueueWaitEnds(t *testing.T) {
	e := startEngine(t, nil)
	release := make(chan struct{})
	defer close(release)
	node := routertest.StartNode(t, "a", func(http.ResponseWriter, *http.Request) { <-release })
	listen := e.serveBalanced(t, router.Balance{MaxInFlight: 1, QueueWait: 50 * time.Millisecond}, node)
	go func() { _, _ = http.Get("http://" + listen + "/") }()
	routertest.Eventually(t, "the node is busy", func() bool { return e.nodeTraffic("a").InFlight == 1 })
	if res, _ := fetch(t, "GET", "http://"+listen+"/", "", nil); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("%d", res.StatusCode)
	}
}

// Nodes that answer 5xx again and again are skipped for a while, but never more than half of a fleet.
func TestEjection(t *testing.T) {
	e := startEngine(t, nil)
	bad := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }
	var nodes []*routertest.TestNode
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, routertest.StartNode(t, name, bad))
	}
	nodes = append(nodes, routertest.StartNode(t, "d", nil))
	listen := e.serveBalanced(t, router.Balance{EjectAfter: 3}, nodes...)
	for range 200 {
		fetch(t, "GET", "http://"+listen+"/", "", nil)
	}
	out := 0
	for _, name := range []string{"a", "b", "c", "d"} {
		n := e.nodeTraffic(name)
		if n.Ejected {
			out++
			if n.Requests > 40 {
				t.Errorf("%s had %d requests", name, n.Requests)
			}
		}
	}
	if out != 2 {
		t.Errorf("%d of 4 nodes are out, 3 are bad", out)
	}
	if e.nodeTraffic("d").Ejected {
		t.Error("the good node is out")
	}
}

// A node that joins a fleet gets little at first.
func TestSlowStart(t *testing.T) {
	e := startEngine(t, nil)
	start, ahead := time.Now(), new(atomic.Int64)
	e.now = func() time.Time { return start.Add(time.Duration(ahead.Load())) }
	a, b := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "b", nil)
	balance := router.Balance{SlowStart: time.Minute}
	listen := e.serveBalanced(t, balance, a)
	ahead.Add(int64(2 * time.Minute))
	r := routertest.RouteTo(listen, routertest.FleetOf(1, 100, a, b))
	r.Balance = balance
	e.mustApply(t, routertest.TableOf(2, r))
	share := func() int64 {
		before := b.Seen.Load()
		for range 300 {
			fetch(t, "GET", "http://"+listen+"/", "", nil)
		}
		return b.Seen.Load() - before
	}
	if n := share(); n > 60 {
		t.Errorf("%d of 300 requests at the start", n)
	}
	ahead.Add(int64(2 * time.Minute))
	if n := share(); n < 100 || n > 200 {
		t.Errorf("%d of 300 requests after the start", n)
	}
}
