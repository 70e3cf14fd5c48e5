package embedded

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// mute is a node that takes requests and answers when it is let.
type mute struct {
	*routertest.TestNode
	has atomic.Int64 // so many requests
	let chan struct{}
	end func() // lets it answer
}

func newMute(t *testing.T, name string, start func(*testing.T, string, http.HandlerFunc) *routertest.TestNode) *mute {
	m := &mute{let: make(chan struct{})}
	m.end = sync.OnceFunc(func() { close(m.let) })
	m.TestNode = start(t, name, func(w http.ResponseWriter, r *http.Request) {
		m.has.Add(1)
		if r.URL.Path == "/stream" {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		if r.URL.Path == "/stream" || r.URL.Path == "/begun" {
			fmt.Fprint(w, "be")
			_ = http.NewResponseController(w).Flush()
			<-m.let
			fmt.Fprint(w, "gun")
			return
		}
		<-m.let
		fmt.Fprint(w, name)
	})
	t.Cleanup(m.end)
	return m
}

// heldRequest is one that waits at a mute node.
type heldRequest struct {
	method, path, body string
	unwell, gone       string // what comes of it, by how the node fails: the body of the answer, or its status
	done               chan string
}

// ask sends it. Its answer comes to done.
func (h *heldRequest) ask(t *testing.T, c *http.Client, listen string) {
	h.done = make(chan string, 1)
	var body io.Reader
	if h.body != "" {
		body = strings.NewReader(h.body)
	}
	req, err := http.NewRequestWithContext(t.Context(), h.method, "http://"+listen+h.path, body)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		res, err := c.Do(req)
		if err != nil {
			h.done <- err.Error()
			return
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		switch {
		case err != nil:
			h.done <- err.Error()
		case res.StatusCode != 200 || h.method == "HEAD":
			h.done <- fmt.Sprint(res.StatusCode)
		default:
			h.done <- string(b)
		}
	}()
}

// want holds what came of it.
func (h *heldRequest) want(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-h.done:
		if got != want {
			t.Errorf("%s %s: %q, want %q", h.method, h.path, got, want)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("%s %s: no answer, want %q", h.method, h.path, want)
	}
}

// swept waits until the sweep has looked at all connections since.
func swept(t *testing.T, e *engine) {
	t.Helper()
	c := &sweepCount{}
	e.sweeper.add(c)
	defer e.sweeper.remove(c)
	routertest.Eventually(t, "the sweep to have looked at all", func() bool { return c.n.Load() >= 3 }) // the second of these was a whole one
}

type sweepCount struct{ n atomic.Int32 }

func (c *sweepCount) sweep(time.Time) { c.n.Add(1) }

// What waits at a node that fails is answered by another one where that is safe, and refused at once where nobody will answer; what
// may still be answered, or is under way, stays.
func TestNodeThatFails(t *testing.T) {
	kinds := map[string]struct {
		start func(*testing.T, string, http.HandlerFunc) *routertest.TestNode
		route func(string, ...router.Fleet) router.Route
	}{
		"http/1.1": {routertest.StartNode, routertest.RouteTo},
		"h2c":      {h2cNode, h2cRoute},
	}
	for kind, k := range kinds {
		for _, failed := range []string{"drains", "unwell", "gone"} {
			t.Run(kind+" "+failed, func(t *testing.T) {
				e := startEngine(t, nil)
				a, witness := newMute(t, "a", k.start), newMute(t, "w", k.start)
				b := k.start(t, "b", func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					fmt.Fprint(w, "b")
				})
				held := []*heldRequest{
					{method: "GET", path: "/", unwell: "b", gone: "b"},
					{method: "HEAD", path: "/", unwell: "200", gone: "200"},
					{method: "OPTIONS", path: "/", unwell: "b", gone: "b"},
					{method: "PUT", path: "/", body: "x", unwell: "a", gone: "b"},
					{method: "DELETE", path: "/", unwell: "a", gone: "b"},
					{method: "POST", path: "/", body: "x", unwell: "a", gone: "502"},
					{method: "POST", path: "/", body: strings.Repeat("x", 3*replayLimit), unwell: "a", gone: "502"},
					{method: "GET", path: "/begun", unwell: "begun", gone: "begun"},
					{method: "GET", path: "/stream", unwell: "begun", gone: "begun"},
				}
				listen, client := routertest.FreeListen(t), &http.Client{Transport: &http.Transport{}}
				e.mustApply(t, routertest.TableOf(1, k.route(listen, routertest.FleetOf(1, 100, a.TestNode))))
				for _, h := range held {
					h.ask(t, client, listen)
				}
				routertest.Eventually(t, "all are at the node", func() bool { return int(a.has.Load()) == len(held) })
				e.mustApply(t, routertest.TableOf(2, k.route(listen, routertest.FleetOf(1, 100, witness.TestNode))))
				last := &heldRequest{method: "GET", path: "/"}
				last.ask(t, client, listen)
				routertest.Eventually(t, "the last is at its node", func() bool { return witness.has.Load() == 1 })

				table := routertest.TableOf(3, k.route(listen, routertest.FleetOf(1, 100, b)))
				id := routertest.FleetOf(1, 0).ID
				table.Failed = []router.Failed{{Fleet: id, Node: "w", Gone: true}}
				if failed != "drains" {
					table.Failed = append(table.Failed, router.Failed{Fleet: id, Node: "a", Gone: failed == "gone"})
				}
				e.mustApply(t, table)
				last.want(t, "b")
				swept(t, e)
				var staying []*heldRequest
				for _, h := range held {
					want := map[string]string{"drains": "a", "unwell": h.unwell, "gone": h.gone}[failed]
					if failed == "drains" || want == "a" || want == "begun" {
						staying = append(staying, h)
						continue
					}
					h.want(t, want)
				}
				a.end()
				for _, h := range staying {
					switch {
					case h.method == "HEAD":
						h.want(t, "200")
					case h.path != "/":
						h.want(t, "begun")
					default:
						h.want(t, "a")
					}
				}
				witness.end()
				routertest.Eventually(t, "nothing is in flight", func() bool { return e.inFlight.Load() == 0 })
			})
		}
	}
}

// A request leaves a node that may still answer it only for one that can, and as far as the budget goes.
func TestStaysAtTheNode(t *testing.T) {
	for _, why := range []string{"no other node", "no budget", "another node that is full"} {
		t.Run(why, func(t *testing.T) {
			e := startEngine(t, nil)
			a, b := newMute(t, "a", routertest.StartNode), newMute(t, "b", routertest.StartNode)
			listen := routertest.FreeListen(t)
			route := routertest.RouteTo(listen, routertest.FleetOf(1, 100, a.TestNode))
			if why == "another node that is full" {
				route.Balance.MaxInFlight = 1
			}
			e.mustApply(t, routertest.TableOf(1, route))
			h := &heldRequest{method: "GET", path: "/"}
			h.ask(t, http.DefaultClient, listen)
			routertest.Eventually(t, "it is at the node", func() bool { return a.has.Load() == 1 })

			route.Fleets = []router.Fleet{routertest.FleetOf(1, 100, b.TestNode)}
			switch why {
			case "no other node":
				route.Fleets[0].Nodes = nil
			case "no budget":
				stats := e.memory.routes[route.Name]
				for stats.budget.spend() {
				}
			default:
				e.mustApply(t, routertest.TableOf(2, route))
				(&heldRequest{method: "GET", path: "/"}).ask(t, http.DefaultClient, listen)
				routertest.Eventually(t, "the other node is full", func() bool { return b.has.Load() == 1 })
			}
			table := routertest.TableOf(3, route)
			table.Failed = []router.Failed{{Fleet: routertest.FleetOf(1, 0).ID, Node: "a"}}
			e.mustApply(t, table)
			routertest.Eventually(t, "the sweep has looked", func() bool {
				for _, w := range e.sweeper.list(nil) {
					if c, ok := w.(*nodeConn); ok && c.node.name == "a" && c.waiting.from.Load() == away && !c.reads.expired() {
						return true
					}
				}
				return false
			})
			a.end()
			h.want(t, "a")
			b.end()
			if n := e.nodeTraffic("a"); n.Timeout != 0 || n.Requests != 1 {
				t.Errorf("node %+v", n)
			}
		})
	}
}

// A node that takes no more of a request and is gone does not keep it either.
func TestGoneInTheMiddleOfARequest(t *testing.T) {
	for name, size := range map[string]int{"small": 60 << 10, "large": 64 << 20} {
		t.Run(name, func(t *testing.T) {
			r := startRig(t, false, rawNode(t, "a", func(c net.Conn, _ *bufio.Reader) {
				_ = c.(*net.TCPConn).SetReadBuffer(1 << 10)
				<-t.Context().Done()
			}))
			defer r.settle()
			c := r.dial(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size))
			go func() { _, _ = c.Write(make([]byte, size)) }()
			atNode(r, c)
			table := routertest.TableOf(2, routertest.RouteTo(r.listen, routertest.FleetOf(1, 100, routertest.StartNode(t, "b", nil))))
			table.Failed = []router.Failed{{Fleet: routertest.FleetOf(1, 0).ID, Node: "a", Gone: true}}
			r.e.mustApply(t, table)
			c.want(502, "*")
			_ = c.Close()
		})
	}
}

// A node that was gone and comes back into the table is like any other.
func TestNodeThatComesBack(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newMute(t, "a", routertest.StartNode), routertest.StartNode(t, "b", nil)
	listen := e.serveNodes(t, a.TestNode, b)
	table := routertest.TableOf(2, routertest.RouteTo(listen, routertest.FleetOf(1, 100, b)))
	table.Failed = []router.Failed{{Fleet: routertest.FleetOf(1, 0).ID, Node: "a", Gone: true}}
	e.mustApply(t, table)
	table = routertest.TableOf(3, routertest.RouteTo(listen, routertest.FleetOf(1, 100, a.TestNode)))
	table.Failed = []router.Failed{{Fleet: routertest.FleetOf(1, 0).ID, Node: "a", Gone: true}} // what the routes name is not meant
	e.mustApply(t, table)
	h := &heldRequest{method: "POST", path: "/"}
	h.ask(t, http.DefaultClient, listen)
	routertest.Eventually(t, "it is at the node", func() bool { return a.has.Load() == 1 })
	swept(t, e)
	a.end()
	h.want(t, "a")
}
