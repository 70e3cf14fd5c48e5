package embedded

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// crowd is an engine with a queue: node "a" has as many requests as it may, and keeps them.
type crowd struct {
	t      *testing.T
	e      *engine
	listen string
	busy   *routertest.TestNode
	gate   *gate
	route  router.Route

	clients sync.WaitGroup
	mu      sync.Mutex
	answers map[string]int // by status and body
}

// newCrowd sends as many requests as node "a" may have, which is one, of all nodes that the route has.
func newCrowd(t *testing.T, change func(*router.Route), others ...*routertest.TestNode) *crowd {
	t.Helper()
	c := &crowd{t: t, e: startEngine(t, nil), listen: routertest.FreeListen(t), answers: map[string]int{}}
	release := make(chan struct{})
	c.busy = routertest.StartNode(t, "a", func(http.ResponseWriter, *http.Request) { <-release })
	c.route = routertest.RouteTo(c.listen, routertest.FleetOf(1, 100, append(others, c.busy)...))
	c.route.Balance = router.Balance{MaxInFlight: 1, QueueWait: 30 * time.Second}
	if change != nil {
		change(&c.route)
	}
	c.e.mustApply(t, routertest.TableOf(1, c.route))
	c.gate = &c.e.memory.routes[c.route.Name].gate
	var endless sync.WaitGroup
	endless.Go(func() { fetch(t, "GET", "http://"+c.listen+"/endless", "", nil) })
	t.Cleanup(func() {
		close(release)
		endless.Wait()
		c.clients.Wait()
	})
	routertest.Eventually(t, "the node is busy", func() bool { return c.e.nodeTraffic("a").InFlight == 1 })
	return c
}

// ask sends requests that wait until they are answered.
func (c *crowd) ask(n int, change func(*http.Request)) {
	for range n {
		c.clients.Go(func() {
			res, body := fetch(c.t, "GET", "http://"+c.listen+"/", "", change)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.answers[res.Status+" "+body]++
		})
	}
}

func (c *crowd) waiting(n int) {
	c.t.Helper()
	routertest.Eventually(c.t, "requests wait", func() bool { return int(c.gate.waiting.Load()) == n })
}

func (c *crowd) answered(n int, by string) {
	c.t.Helper()
	routertest.Eventually(c.t, "the others have answered", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.answers["200 OK "+by] == n
	})
}

// Requests that wait for one fleet go to another one as soon as a table names that instead.
func TestQueueSeesAnotherFleet(t *testing.T) {
	c := newCrowd(t, nil)
	c.ask(5, nil)
	c.waiting(5)
	c.route.Fleets = []router.Fleet{routertest.FleetOf(2, 100, routertest.StartNode(t, "b", nil))}
	c.e.mustApply(t, routertest.TableOf(2, c.route))
	c.answered(5, "b")
	c.ask(5, nil)
	c.answered(10, "b")
	if n := c.gate.waiting.Load(); n != 0 {
		t.Errorf("%d still wait", n)
	}
}

func TestQueueSeesAnotherNode(t *testing.T) {
	c := newCrowd(t, nil)
	c.ask(5, nil)
	c.waiting(5)
	c.route.Fleets = []router.Fleet{routertest.FleetOf(1, 100, c.busy, routertest.StartNode(t, "b", nil))}
	c.e.mustApply(t, routertest.TableOf(2, c.route))
	c.answered(5, "b")
}

// A table without the limit lets everybody in, and one in which another route has the host takes its requests along.
func TestQueueSeesAnotherRoute(t *testing.T) {
	c := newCrowd(t, nil)
	c.ask(5, nil)
	c.waiting(5)
	other := routertest.RouteTo(c.listen, routertest.FleetOf(2, 100, routertest.StartNode(t, "b", nil)))
	other.Name, other.Balance = "shop/production/other", c.route.Balance
	c.e.mustApply(t, routertest.TableOf(2, other))
	c.answered(5, "b")
}

// One that waits for its release alone does not hold up those who may go elsewhere.
func TestQueueLetsOthersPass(t *testing.T) {
	b := routertest.StartNode(t, "b", nil)
	c := newCrowd(t, func(r *router.Route) {
		r.Preview.From = []string{"127.0.0.0/8"}
		r.Fleets = append(r.Fleets, routertest.FleetOf(2, 1, b))
	})
	c.ask(1, func(r *http.Request) { r.Header.Set("X-Release", "r1") })
	c.waiting(1)
	c.ask(1, nil)
	c.answered(1, "b")
	c.waiting(1)
}

// Who finds the nodes full waits for them: the release on standby is there for nodes that are down.
func TestQueueDoesNotSpillToStandby(t *testing.T) {
	c := newCrowd(t, func(r *router.Route) {
		r.Fleets = append(r.Fleets, routertest.FleetOf(2, 0, routertest.StartNode(t, "b", nil)))
		r.Fleets[1].Standby = true
	})
	c.ask(3, nil)
	c.waiting(3)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) > 0 {
		t.Errorf("answers %v", c.answers)
	}
}

// A node that was down and is back takes requests that had tried it and wait since.
func TestQueueSeesANodeThatIsBack(t *testing.T) {
	down := routertest.DeadNode(t, "b")
	c := newCrowd(t, nil, down)
	c.ask(1, nil)
	c.waiting(1)
	l, err := net.Listen("tcp", down.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); readHead(r); {
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb")
				}
			}()
		}
	}()
	c.ask(1, nil) // has not tried it
	routertest.Eventually(t, "both are answered", func() bool {
		c.e.tidy()
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.answers["200 OK b"] == 2
	})
}

// Whoever is served goes in order, and a place that is given up is the next one's.
func TestQueueKeepsItsOrder(t *testing.T) {
	e := startEngine(t, nil)
	turns := make(chan string)
	next := make(chan struct{})
	node := routertest.StartNode(t, "a", func(_ http.ResponseWriter, r *http.Request) {
		turns <- r.URL.Path
		<-next
	})
	listen := e.serveBalanced(t, router.Balance{MaxInFlight: 1, QueueWait: 30 * time.Second}, node)
	gate := &e.memory.routes["shop/production/web"].gate
	var clients sync.WaitGroup
	defer clients.Wait()
	defer close(next)
	ask := func(path string) { clients.Go(func() { fetch(t, "GET", "http://"+listen+path, "", nil) }) }
	ask("/1")
	if got := <-turns; got != "/1" {
		t.Fatal(got)
	}
	gone := dialText(t, listen, "GET /gone HTTP/1.1\r\nHost: x\r\n\r\n")
	routertest.Eventually(t, "the first waits", func() bool { return gate.waiting.Load() == 1 })
	for i, path := range []string{"/2", "/3", "/4"} {
		ask(path)
		routertest.Eventually(t, "one more waits", func() bool { return int(gate.waiting.Load()) == i+2 })
	}
	_ = gone.Close()
	routertest.Eventually(t, "the first has left", func() bool { return gate.waiting.Load() == 3 })
	for _, want := range []string{"/2", "/3", "/4"} {
		next <- struct{}{}
		if got := <-turns; got != want {
			t.Errorf("%s came, want %s", got, want)
		}
	}
}

func dialText(t *testing.T, listen, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}
