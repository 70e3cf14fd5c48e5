package routertest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

func testCounters(t *testing.T, in Instance) {
	a := StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fail" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	listen, c := FreeListen(t), client(t)
	mustApply(t, in.Backend, TableOf(1, RouteTo(listen, FleetOf(1, 100, a))))
	for i := range 10 {
		get(t, c, listen, func(r *http.Request) {
			if i%5 == 0 {
				r.URL.Path = "/fail"
			}
		})
	}
	var n router.NodeTraffic
	Eventually(t, "all requests ended", func() bool {
		n, _ = nodeOf(edgeOf(t, in.Backend), a)
		return n.InFlight == 0
	})
	if n.Requests != 10 || n.Status5x != 2 || n.Fleet != "shop/production/web/r1/1" {
		t.Errorf("node counts %+v", n)
	}
	var observed uint64
	for _, k := range n.Latency.Counts {
		observed += k
	}
	if observed != 10 || len(n.Latency.Counts) != len(router.LatencyBounds())+1 || n.Latency.Sum <= 0 {
		t.Errorf("latency %+v", n.Latency)
	}
	mustApply(t, in.Backend, TableOf(2, RouteTo(listen, FleetOf(1, 0, a))))
	if n, _ := nodeOf(edgeOf(t, in.Backend), a); n.Requests != 10 {
		t.Errorf("a new table changed the count to %d", n.Requests)
	}
}

func testDrain(t *testing.T, in Instance) {
	arrived, finish := make(chan struct{}), make(chan struct{})
	var once sync.Once
	a := StartNode(t, "a", func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(arrived) })
		<-finish
		fmt.Fprint(w, "a")
	})
	b := StartNode(t, "b", nil)
	defer sync.OnceFunc(func() {
		select {
		case <-finish:
		default:
			close(finish)
		}
	})()
	listen, c := FreeListen(t), client(t)
	mustApply(t, in.Backend, TableOf(1, RouteTo(listen, FleetOf(1, 100, a))))
	answer := make(chan string, 1)
	go func() {
		res, err := c.Get("http://" + listen + "/")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answer <- string(body)
	}()
	<-arrived
	mustApply(t, in.Backend, TableOf(2, RouteTo(listen, FleetOf(2, 100, b))))
	if n, there := nodeOf(edgeOf(t, in.Backend), a); !there || n.InFlight != 1 {
		t.Fatalf("node that left with a request: %+v, reported %v", n, there)
	}
	for range 20 {
		if _, body := get(t, c, listen, nil); body != "b" {
			t.Fatalf("a node that left the table got a request")
		}
	}
	close(finish)
	if got := <-answer; got != "a" {
		t.Fatalf("request in flight over the change: %q", got)
	}
	Eventually(t, "the empty node vanished", func() bool {
		_, there := nodeOf(edgeOf(t, in.Backend), a)
		return !there
	})
}

func testNoLoss(t *testing.T, in Instance) {
	nodes := []*TestNode{StartNode(t, "a", nil), StartNode(t, "b", nil), StartNode(t, "c", nil), StartNode(t, "d", nil)}
	listen, c := FreeListen(t), client(t)
	table := func(seq uint64) router.Table {
		k := int(seq)
		return TableOf(seq, RouteTo(listen,
			FleetOf(1, 1+k%100, nodes[k%2]), FleetOf(2, 1+k*7%100, nodes[2+k/2%2])))
	}
	mustApply(t, in.Backend, table(1))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var sent, failed atomic.Int64
	for w := range 6 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				sent.Add(1)
				if err := once(c, listen, (w+i)%2 == 0); err != nil {
					failed.Add(1)
					t.Errorf("request lost: %v", err)
					return
				}
			}
		})
	}
	for seq := uint64(2); seq <= 201; seq++ {
		mustApply(t, in.Backend, table(seq))
	}
	close(stop)
	wg.Wait()
	if in.Lacks["counters"] != "" {
		return
	}
	r := routeOf(t, edgeOf(t, in.Backend))
	if r.Requests != uint64(sent.Load()) || r.Failed != 0 {
		t.Errorf("route counts %+v, sent %d, failed %d", r, sent.Load(), failed.Load())
	}
}

// once sends one GET or POST and wants 200.
func once(c *http.Client, listen string, post bool) error {
	var res *http.Response
	var err error
	if post {
		res, err = c.Post("http://"+listen+"/", "text/plain", strings.NewReader("body"))
	} else {
		res, err = c.Get("http://" + listen + "/")
	}
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != 200 {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

func testTakenPort(t *testing.T, in Instance) {
	a := StartNode(t, "a", nil)
	listen, c := FreeListen(t), client(t)
	good := TableOf(1, RouteTo(listen, FleetOf(1, 100, a)))
	mustApply(t, in.Backend, good)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	free := FreeListen(t)
	bad := good.Canonical()
	bad.Version.Seq = 2
	bad.Routes[0].Fleets[0].Nodes = nil
	bad.Routes = append(bad.Routes,
		router.Route{Name: "aaa/free", Listen: free}, router.Route{Name: "zzz/taken", Listen: other.Addr().String()})
	err = in.Backend.Apply(context.Background(), bad)
	if !fault.Is(err, fault.Exists) || !strings.Contains(err.Error(), "zzz/taken") {
		t.Fatalf("a taken port: %v, want an exists fault that names the route", err)
	}
	wantApplied(t, in.Backend, good)
	if status, body := get(t, c, listen, nil); status != 200 || body != "a" {
		t.Fatalf("after a refused table: %d %q", status, body)
	}
	if l, err := net.Listen("tcp", free); err != nil {
		t.Errorf("a listener of the refused table stays open: %v", err)
	} else {
		_ = l.Close()
	}
	_ = other.Close()
	mustApply(t, in.Backend, bad)
}

func testListeners(t *testing.T, in Instance) {
	a := StartNode(t, "a", nil)
	first, second, c := FreeListen(t), FreeListen(t), client(t)
	mustApply(t, in.Backend, TableOf(1, RouteTo(first, FleetOf(1, 100, a))))
	get(t, c, first, nil)
	mustApply(t, in.Backend, TableOf(2, RouteTo(second, FleetOf(1, 100, a))))
	if _, body := get(t, c, second, nil); body != "a" {
		t.Fatalf("new listener: %q", body)
	}
	Eventually(t, "the old listener closed", func() bool {
		conn, err := net.Dial("tcp", first)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	mustApply(t, in.Backend, TableOf(3))
	if e := edgeOf(t, in.Backend); len(e.Listeners) != 0 {
		t.Fatalf("an empty table listens on %+v", e.Listeners)
	}
}

func testRestartServes(t *testing.T, in Instance) {
	if in.Restart == nil {
		return
	}
	a := StartNode(t, "a", nil)
	listen, c := FreeListen(t), client(t)
	mustApply(t, in.Backend, TableOf(1, RouteTo(listen, FleetOf(1, 100, a))))
	get(t, c, listen, nil)
	in.Restart(t)
	if status, body := get(t, client(t), listen, nil); status != 200 || body != "a" {
		t.Fatalf("after restart: %d %q", status, body)
	}
}
