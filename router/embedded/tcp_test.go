package embedded

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// A connection that one end resets is reset at the other: what ends in the middle must not look whole.
func TestTCPReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *net.TCPConn, 2)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			accepted <- c.(*net.TCPConn)
		}
	}()
	e := startEngine(t, nil)
	listen := routertest.FreeListen(t)
	route := router.Route{Name: "db", Listen: listen, Protocol: router.TCP, Fleets: []router.Fleet{
		{ID: "db/1", Release: "r1", Weight: 100, Nodes: []router.Node{{Name: "a", Address: l.Addr().String()}}},
	}}
	e.mustApply(t, routertest.TableOf(1, route))

	for name, nodeFirst := range map[string]bool{"by the node": true, "by the client": false} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", listen)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			first, second := <-accepted, c.(*net.TCPConn)
			if !nodeFirst {
				first, second = second, first
			}
			defer second.Close()
			_ = first.SetLinger(0)
			_ = first.Close()
			if n, err := second.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other end read %d bytes, %v; want that it was reset", n, err)
			}
			routertest.Eventually(t, "nothing is left", func() bool { return e.inFlight.Load() == 0 })
		})
	}
}

// A connection stays when its listen address leaves the table. One that finds no node is counted as that.
func TestTCPAddressMoves(t *testing.T) {
	node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) { _, _ = io.Copy(c, r) })
	e := startEngine(t, nil)
	fleet := router.Fleet{ID: "db/1", Release: "r1", Weight: 100, Nodes: []router.Node{{Name: "a", Address: node.Address}}}
	route := func() router.Route {
		return router.Route{Name: "db", Listen: routertest.FreeListen(t), Protocol: router.TCP, Fleets: []router.Fleet{fleet}}
	}
	first, second := route(), route()
	e.mustApply(t, routertest.TableOf(1, first))
	c, err := net.Dial("tcp", first.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	echo := func(text string) {
		t.Helper()
		b := make([]byte, len(text))
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
			t.Fatalf("%q, %v; want %q", b, err, text)
		}
	}
	echo("before")
	e.mustApply(t, routertest.TableOf(2, second))
	routertest.Eventually(t, "nobody listens where the route was", func() bool {
		again, err := net.Dial("tcp", first.Listen)
		if err == nil {
			_ = again.Close()
		}
		return err != nil
	})
	echo("after")

	second.Fleets[0].Nodes = nil
	e.mustApply(t, routertest.TableOf(3, second))
	none, err := net.Dial("tcp", second.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	_, _ = none.Read(make([]byte, 1))
	routertest.Eventually(t, "it is counted", func() bool { o := e.routeTraffic(); return o.NoNode == 1 && o.Failed == 1 })
}

// A connection goes on to another node as a request does: once for nothing, then out of the budget, and each time is counted.
func TestTCPConnectFailuresAndTheBudget(t *testing.T) {
	for name, tt := range map[string]struct {
		dead, drained int
		retried       uint64
		joined        bool
	}{
		"one dead node":                       {1, 0, 1, true},
		"one dead node, no budget":            {1, budgetReserve, 1, true},
		"two dead nodes":                      {2, 0, 2, true},
		"two dead nodes, no budget":           {2, budgetReserve, 1, false},
		"two dead nodes, budget for one more": {2, budgetReserve - budgetRetry, 2, true},
		"more dead nodes than tries":          {maxConnectTries, 0, maxConnectTries - 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t, nil)
			var dead []*routertest.TestNode
			for i := range tt.dead {
				dead = append(dead, routertest.DeadNode(t, fmt.Sprint("dead", i)))
			}
			good := rawNode(t, "good", func(c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, "hello") })
			standby := routertest.FleetOf(2, 0, good)
			standby.Standby = true
			route := router.Route{Name: "db", Listen: routertest.FreeListen(t), Protocol: router.TCP, Fleets: []router.Fleet{routertest.FleetOf(1, 1, dead...), standby}}
			e.mustApply(t, routertest.TableOf(1, route))
			e.memory.routes["db"].budget.spent.Store(int64(tt.drained))
			c, err := net.Dial("tcp", route.Listen)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			if b, _ := io.ReadAll(c); (string(b) == "hello") != tt.joined {
				t.Errorf("got %q, want that it reaches the good node: %v", b, tt.joined)
			}
			_ = c.Close()
			routertest.Eventually(t, "it is over", func() bool { return e.inFlight.Load() == 0 })
			if r := e.routeTraffic(); r.Retried != tt.retried || (r.Failed == 0) != tt.joined {
				t.Errorf("route %+v, want %d retried", r, tt.retried)
			}
		})
	}
}
