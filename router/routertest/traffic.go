package routertest

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bootandshoot/release/router"
)

// trafficCases are what users see.
func trafficCases() []trafficCase {
	return []trafficCase{
		{"effective when apply returns", testEffective},
		{"weights over 10,000 requests", testWeights},
		{"hosts and paths", testMatching},
		{"a dot at the end of a host", testRootedHost},
		{"preview", testPreview},
		{"spill and standby", testSpill},
		{"spill over dead nodes", testSpillDead},
		{"no node", testNoNode},
		{"dead node", testDeadNode},
		{"counters", testCounters},
		{"drain", testDrain},
		{"no request is lost over 200 tables", testNoLoss},
		{"a taken port is refused and the old table goes on", testTakenPort},
		{"listeners come and go", testListeners},
		{"restart serves the table", testRestartServes},
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

func testRootedHost(t *testing.T, in Instance) {
	a, b := StartNode(t, "a", nil), StartNode(t, "b", nil)
	listen, c := FreeListen(t), client(t)
	shop := RouteTo(listen, FleetOf(1, 100, a))
	shop.Name, shop.Hosts = "shop", []string{"shop.example"}
	other := RouteTo(listen, FleetOf(1, 100, b))
	mustApply(t, in.Backend, TableOf(1, shop, other))
	if _, body := get(t, c, listen, func(r *http.Request) { r.Host = "shop.example." }); body != "a" {
		t.Errorf("shop.example. is %q", body)
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

func testSpillDead(t *testing.T, in Instance) {
	b := StartNode(t, "b", nil)
	listen, c := FreeListen(t), client(t)
	standby := FleetOf(2, 0, b)
	standby.Standby = true
	mustApply(t, in.Backend, TableOf(1, RouteTo(listen, FleetOf(1, 100, DeadNode(t, "x")), standby)))
	for range 20 {
		if status, body := get(t, c, listen, nil); status != 200 || body != "b" {
			t.Fatalf("nodes refuse connections: %d %q", status, body)
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
	if n.Connect == 0 && !(in.Probes && n.Ejected) || n.InFlight != 0 {
		t.Errorf("dead node: %+v", n)
	}
	if r := routeOf(t, e); r.Failed != 0 || r.Retried != n.Connect || r.Requests != 200 {
		t.Errorf("route counts %+v, dead node %+v", r, n)
	}
}
