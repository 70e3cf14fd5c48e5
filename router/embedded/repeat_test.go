package embedded

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

func TestRepeats(t *testing.T) {
	tests := []struct {
		method, body string
		status       int
	}{
		{"GET", "", 200}, {"HEAD", "", 200}, {"OPTIONS", "", 200}, {"DELETE", "", 200},
		{"PUT", "small enough to be sent again", 200},
		{"PUT", strings.Repeat("x", replayLimit*40), 502},
		{"POST", "", 502}, {"POST", "body", 502}, {"PATCH", "body", 502},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %d", tt.method, len(tt.body)), func(t *testing.T) {
			e := startEngine(t, nil)
			bad := rawNode(t, "bad", func(c net.Conn, r *bufio.Reader) {
				if readHead(r) {
					_, _ = io.CopyN(io.Discard, r, int64(len(tt.body)))
					_ = c.(*net.TCPConn).SetLinger(0)
				}
			})
			good := routertest.StartNode(t, "good", func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				if string(b) != tt.body {
					w.WriteHeader(400)
				}
			})
			listen := routertest.FreeListen(t)
			standby := routertest.FleetOf(2, 0, good)
			standby.Standby = true
			e.mustApply(t, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, bad), standby)))
			res, _ := fetch(t, tt.method, "http://"+listen+"/", tt.body, nil)
			if res.StatusCode != tt.status {
				t.Fatalf("status %d, want %d", res.StatusCode, tt.status)
			}
			if n := e.nodeTraffic("bad"); n.Reset != 1 || n.Connect != 0 {
				t.Errorf("bad node: %+v", n)
			}
			r := e.routeTraffic()
			if repeated := tt.status == 200; (r.Retried == 1) != repeated || (r.Failed == 1) == repeated {
				t.Errorf("route: %+v", r)
			}
		})
	}
}

// A request that no node has seen goes on to another one even when the budget is used up, but only once for nothing.
func TestConnectFailuresAndTheBudget(t *testing.T) {
	for name, tt := range map[string]struct {
		dead, drained int
		status        int
	}{
		"one dead node":                          {1, 0, 200},
		"one dead node, no budget":               {1, budgetReserve, 200},
		"two dead nodes":                         {2, 0, 200},
		"two dead nodes, no budget":              {2, budgetReserve, 502},
		"two dead nodes, budget for one more":    {2, budgetReserve - budgetRetry, 200},
		"many dead nodes":                        {6, 0, 200},
		"many dead nodes, budget for three more": {6, budgetReserve - 3*budgetRetry, 502},
		"more dead nodes than tries":             {maxConnectTries, 0, 502},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t, nil)
			var dead []*routertest.TestNode
			for i := range tt.dead {
				dead = append(dead, routertest.DeadNode(t, fmt.Sprint("dead", i)))
			}
			good := routertest.StartNode(t, "good", nil)
			listen := routertest.FreeListen(t)
			standby := routertest.FleetOf(2, 0, good)
			standby.Standby = true
			e.mustApply(t, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, dead...), standby)))
			e.memory.routes["shop/production/web"].budget.spent.Store(int64(tt.drained))
			if res, _ := fetch(t, "POST", "http://"+listen+"/", "body", nil); res.StatusCode != tt.status {
				t.Errorf("status %d, want %d", res.StatusCode, tt.status)
			}
			if r := e.routeTraffic(); (r.Failed == 0) != (tt.status == 200) || (good.Seen.Load() == 1) != (tt.status == 200) {
				t.Errorf("route %+v, the good node saw %d", r, good.Seen.Load())
			}
		})
	}
}

func TestAnswerThatHasBegunIsNotRepeated(t *testing.T) {
	e := startEngine(t, nil)
	bad := rawNode(t, "bad", func(c net.Conn, r *bufio.Reader) {
		if readHead(r) {
			_, _ = io.WriteString(c, "HTTP/1.1 20")
		}
	})
	good := routertest.StartNode(t, "good", nil)
	listen := routertest.FreeListen(t)
	standby := routertest.FleetOf(2, 0, good)
	standby.Standby = true
	e.mustApply(t, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, bad), standby)))
	if res, _ := fetch(t, "GET", "http://"+listen+"/", "", nil); res.StatusCode != http.StatusBadGateway {
		t.Fatalf("status %d", res.StatusCode)
	}
	if good.Seen.Load() != 0 {
		t.Error("it was repeated")
	}
}

func TestAnswerCutInTheMiddle(t *testing.T) {
	e := startEngine(t, nil)
	listen := e.serveNodes(t, rawNode(t, "bad", func(c net.Conn, r *bufio.Reader) {
		if readHead(r) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		}
	}))
	res, err := http.Get("http://" + listen + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Fatalf("the client got %q as whole", b)
	}
	routertest.Eventually(t, "the failure is counted", func() bool {
		return e.routeTraffic().Failed == 1 && e.nodeTraffic("bad").Reset == 1 && e.nodeTraffic("bad").InFlight == 0
	})
}

func TestNodeTimeout(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.NodeTimeout = 30 * time.Millisecond })
	hang := make(chan struct{})
	defer close(hang)
	listen := e.serveNodes(t, rawNode(t, "slow", func(net.Conn, *bufio.Reader) { <-hang }))
	res, _ := fetch(t, "GET", "http://"+listen+"/", "", nil)
	if res.StatusCode != http.StatusGatewayTimeout || e.nodeTraffic("slow").Timeout != 1 || e.routeTraffic().Failed != 1 {
		t.Fatalf("status %d, node %+v", res.StatusCode, e.nodeTraffic("slow"))
	}
}

func TestClientThatGoesAwayIsNobodysFailure(t *testing.T) {
	e := startEngine(t, nil)
	arrived, gone := make(chan struct{}), make(chan struct{})
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(gone)
	}))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-arrived
		cancel()
	}()
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+listen+"/", nil)
	if res, err := http.DefaultClient.Do(req); err == nil {
		_ = res.Body.Close()
		t.Fatal("an answer")
	}
	<-gone
	routertest.Eventually(t, "the request ended", func() bool { return e.nodeTraffic("a").InFlight == 0 })
	if n, r := e.nodeTraffic("a"), e.routeTraffic(); n.Reset+n.Connect+n.Timeout != 0 || r.Failed != 0 {
		t.Errorf("node %+v, route %+v", n, r)
	}
}

// A node that closes connections without saying so must not cost a request that may be repeated.
func TestIdleConnectionClosedByTheNode(t *testing.T) {
	e := startEngine(t, nil)
	node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
		if readHead(r) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	listen := e.serveNodes(t, node)
	for i := range 300 {
		method := []string{"GET", "PUT", "DELETE"}[i%3]
		if res, _ := fetch(t, method, "http://"+listen+"/", "", nil); res.StatusCode != 200 {
			t.Fatalf("request %d, %s: %d", i, method, res.StatusCode)
		}
	}
	if r := e.routeTraffic(); r.Failed != 0 {
		t.Errorf("route %+v", r)
	}
}

func TestDeadNodeIsSkippedAndTriedAgain(t *testing.T) {
	e := startEngine(t, nil)
	start, ahead := time.Now(), new(atomic.Int64)
	e.now = func() time.Time { return start.Add(time.Duration(ahead.Load())) }
	dead, good := routertest.DeadNode(t, "dead"), routertest.StartNode(t, "good", nil)
	listen := e.serveNodes(t, dead, good)
	ask := func(n int) {
		for range n {
			if res, _ := fetch(t, "GET", "http://"+listen+"/", "", nil); res.StatusCode != 200 {
				t.Fatalf("status %d", res.StatusCode)
			}
		}
	}
	ask(60)
	if n := e.nodeTraffic("dead").Connect; n != 1 {
		t.Fatalf("%d tries within one second, want 1", n)
	}
	ahead.Add(int64(1100 * time.Millisecond))
	ask(60)
	if n := e.nodeTraffic("dead").Connect; n != 2 {
		t.Fatalf("%d tries after one second, want 2", n)
	}
}
