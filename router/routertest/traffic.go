package routertest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// runTraffic tests what users see.
func runTraffic(t *testing.T, h Harness) {
	tests := []struct {
		name string
		test func(*testing.T, Instance)
	}{
		{"effective when apply returns", testEffective},
		{"weights over 10,000 requests", testWeights},
		{"hosts and paths", testMatching},
		{"preview", testPreview},
		{"spill and standby", testSpill},
		{"no node", testNoNode},
		{"dead node", testDeadNode},
		{"counters", testCounters},
		{"drain", testDrain},
		{"no request is lost over 200 tables", testNoLoss},
		{"a taken port is refused and the old table goes on", testTakenPort},
		{"listeners come and go", testListeners},
		{"restart serves the table", testRestartServes},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, h.New(t)) })
	}
}

// client has connections of its own.
func client(t *testing.T) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// get asks listen and returns status and body; change may set host, path and headers.
func get(t *testing.T, c *http.Client, listen string, change func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+listen+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatalf("get %s: %v", listen, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("get %s: %v", listen, err)
	}
	return res.StatusCode, string(body)
}

func testEffective(t *testing.T, in Instance) {
	a, b := StartNode(t, "a", nil), StartNode(t, "b", nil)
	listen, c := FreeListen(t), client(t)
	for seq := range uint64(100) {
		wa, want := 100, "a"
		if seq%2 == 1 {
			wa, want = 0, "b"
		}
		mustApply(t, in.Backend, TableOf(seq+1, RouteTo(listen, FleetOf(1, wa, a), FleetOf(2, 100-wa, b))))
		if status, body := get(t, c, listen, nil); status != 200 || body != want {
			t.Fatalf("right after table %d: %d %q, want %q", seq+1, status, body, want)
		}
	}
}

func testWeights(t *testing.T, in Instance) {
	const total, workers = 10000, 8
	a, b := StartNode(t, "a", nil), StartNode(t, "b", nil)
	listen, c := FreeListen(t), client(t)
	mustApply(t, in.Backend, TableOf(1, RouteTo(listen, FleetOf(1, 90, a), FleetOf(2, 10, b))))
	var left atomic.Int64
	left.Store(total)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				res, err := c.Get("http://" + listen + "/")
				if err != nil {
					t.Errorf("get: %v", err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
	wg.Wait()
	if got := b.Seen.Load(); got < total*9/100 || got > total*11/100 {
		t.Fatalf("10 %% of %d requests were %d", total, got)
	}
	if a.Seen.Load()+b.Seen.Load() != total {
		t.Fatalf("%d requests became %d", total, a.Seen.Load()+b.Seen.Load())
	}
}

func testMatching(t *testing.T, in Instance) {
	listen, c := FreeListen(t), client(t)
	route := func(name string, hosts, paths []string) router.Route {
		n := StartNode(t, name, nil)
		return router.Route{Name: name, Listen: listen, Hosts: hosts, Paths: paths, Fleets: []router.Fleet{
			{ID: name + "/1", Release: "r1", Weight: 1, Nodes: []router.Node{{Name: n.Name, Address: n.Address}}}}}
	}
	mustApply(t, in.Backend, TableOf(1,
		route("any-api", nil, []string{"/api"}),
		route("deep", []string{"*.b.example"}, nil),
		route("shop", []string{"Shop.example"}, nil),
		route("shop-api", []string{"shop.example"}, []string{"/api", "/api/v2/"}),
		route("wild", []string{"*.example"}, nil),
	))
	tests := []struct{ host, path, want string }{
		{"shop.example", "/", "shop"},
		{"SHOP.example:8080", "/x", "shop"},
		{"shop.example.", "/x", "shop"},
		{"shop.example", "/api", "shop-api"},
		{"shop.example", "/api/v2", "shop-api"},
		{"shop.example", "/apix", "shop"},
		{"a.example", "/api", "wild"},
		{"a.b.example", "/", "deep"},
		{"b.example", "/", "wild"},
		{"other.test", "/api/x", "any-api"},
		{"other.test", "/", ""},
		{"example", "/", ""},
	}
	for _, tt := range tests {
		status, body := get(t, c, listen, func(r *http.Request) { r.Host, r.URL.Path = tt.host, tt.path })
		if tt.want == "" && status != http.StatusNotFound || tt.want != "" && (status != 200 || body != tt.want) {
			t.Errorf("%s%s: %d %q, want %q", tt.host, tt.path, status, body, tt.want)
		}
	}
}

func testPreview(t *testing.T, in Instance) {
	a, b := StartNode(t, "a", nil), StartNode(t, "b", nil)
	listen, c := FreeListen(t), client(t)
	sum := sha256.Sum256([]byte("open sesame"))
	table := func(seq uint64, p router.Preview) router.Table {
		r := RouteTo(listen, FleetOf(1, 100, a), FleetOf(2, 0, b))
		r.Preview = p
		return TableOf(seq, r)
	}
	local := router.Preview{From: []string{"127.0.0.0/8", "::1/128"}}
	keyed := router.Preview{KeySHA256: hex.EncodeToString(sum[:])}
	far := router.Preview{From: []string{"192.0.2.0/24"}}
	tests := []struct {
		name         string
		preview      router.Preview
		release, key string
		status       int
		want         string
	}{
		{"from the network", local, "r2", "", 200, "b"},
		{"the serving release", local, "r1", "", 200, "a"},
		{"no header", local, "", "", 200, "a"},
		{"no such release", local, "r9", "", 503, ""},
		{"with the key", keyed, "r2", "open sesame", 200, "b"},
		{"with a wrong key", keyed, "r2", "sesame", 200, "a"},
		{"without the key", keyed, "r2", "", 200, "a"},
		{"from elsewhere", far, "r2", "", 200, "a"},
		{"nobody may", router.Preview{}, "r2", "", 200, "a"},
	}
	for i, tt := range tests {
		mustApply(t, in.Backend, table(uint64(i+1), tt.preview))
		status, body := get(t, c, listen, func(r *http.Request) {
			r.Header.Set("X-Forwarded-For", "127.0.0.1")
			if tt.release != "" {
				r.Header.Set("X-Release", tt.release)
			}
			if tt.key != "" {
				r.Header.Set("X-Release-Key", tt.key)
			}
		})
		if status != tt.status || tt.want != "" && body != tt.want {
			t.Errorf("%s: %d %q, want %d %q", tt.name, status, body, tt.status, tt.want)
		}
	}
	if a.Leaked.Load()+b.Leaked.Load() > 0 {
		t.Error("a node saw X-Release or X-Release-Key")
	}
}

func testSpill(t *testing.T, in Instance) {
	a, b := StartNode(t, "a", nil), StartNode(t, "b", nil)
	listen, c := FreeListen(t), client(t)
	standby := FleetOf(2, 0, b)
	standby.Standby = true
	tests := []struct {
		name   string
		fleets []router.Fleet
		want   string
	}{
		{"an empty weighted fleet spills to the other one", []router.Fleet{FleetOf(1, 99), FleetOf(2, 1, b)}, "b"},
		{"no weighted fleet has a node", []router.Fleet{FleetOf(1, 100), standby}, "b"},
		{"standby waits while a weighted fleet serves", []router.Fleet{FleetOf(1, 1, a), standby}, "a"},
		{"nodes refuse connections", []router.Fleet{FleetOf(1, 100, DeadNode(t, "x")), standby}, "b"},
	}
	for i, tt := range tests {
		mustApply(t, in.Backend, TableOf(uint64(i+1), RouteTo(listen, tt.fleets...)))
		for range 20 {
			if status, body := get(t, c, listen, nil); status != 200 || body != tt.want {
				t.Fatalf("%s: %d %q, want %q", tt.name, status, body, tt.want)
			}
		}
	}
}

func testNoNode(t *testing.T, in Instance) {
	listen, c := FreeListen(t), client(t)
	warm := FleetOf(2, 0, StartNode(t, "b", nil)) // not on standby
	mustApply(t, in.Backend, TableOf(1, RouteTo(listen, FleetOf(1, 100), warm)))
	res, err := c.Get("http://" + listen + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Fatalf("without nodes: %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	if r := routeOf(t, edgeOf(t, in.Backend)); r.NoNode != 1 || r.Requests != 1 || r.Failed != 1 {
		t.Fatalf("route counts %+v", r)
	}
}

func testDeadNode(t *testing.T, in Instance) {
	dead, b := DeadNode(t, "dead"), StartNode(t, "b", nil)
	listen, c := FreeListen(t), client(t)
	mustApply(t, in.Backend, TableOf(1, RouteTo(listen, FleetOf(1, 100, dead, b))))
	for i := range 200 {
		res, err := c.Post("http://"+listen+"/", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != 200 {
			t.Fatalf("request %d with one of two nodes dead: %d", i, res.StatusCode)
		}
	}
	e := edgeOf(t, in.Backend)
	n, _ := nodeOf(e, dead)
	if n.Connect == 0 || n.InFlight != 0 {
		t.Errorf("dead node: %+v", n)
	}
	if r := routeOf(t, e); r.Failed != 0 || r.Retried != n.Connect || r.Requests != 200 {
		t.Errorf("route counts %+v, dead node %+v", r, n)
	}
}

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
