package haproxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// TestHundredCutovers: 100 changes of weight under load, with and without keep-alive.
func TestHundredCutovers(t *testing.T) {
	for name, clients := range map[string][2]int{"keep-alive": {8, 0}, "connections anew": {0, 8}} {
		t.Run(name, func(t *testing.T) {
			_, b := newProxy(t, "")
			listen := routertest.FreeListen(t)
			a, c := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "c", nil)
			apply(t, b, table(1, listen, routertest.FleetOf(1, 100, a), routertest.FleetOf(2, 0, c)))
			l := startLoad(t, listen, clients[0], clients[1])
			routertest.Eventually(t, "the load is under way", func() bool { return a.Seen.Load() > 100 })
			for k := range 100 {
				w := []int{10, 50, 100, 0}[k%4]
				apply(t, b, table(uint64(k+2), listen, routertest.FleetOf(1, 100-w, a), routertest.FleetOf(2, w, c)))
			}
			l.end(t)
			if c.Seen.Load() == 0 {
				t.Error("the other fleet got nothing")
			}
			if e := observed(t, b); e.Routes[0].Requests != uint64(l.sent.Load()) || e.Routes[0].Failed != 0 || e.Routes[0].NoNode != 0 {
				t.Errorf("route counts %+v, sent %d", e.Routes[0], l.sent.Load())
			}
		})
	}
}

// TestNodesComeAndGo: nodes are replaced all the time, each is shot when it is seen empty, and no request is lost.
func TestNodesComeAndGo(t *testing.T) {
	_, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	slow := func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(3 * time.Millisecond)
		fmt.Fprint(w, "ok")
	}
	nodes := []*routertest.TestNode{routertest.StartNode(t, "n0", slow), routertest.StartNode(t, "n1", slow)}
	seq := uint64(1)
	apply(t, b, table(seq, listen, routertest.FleetOf(1, 100, nodes...)))
	l := startLoad(t, listen, 3, 3)
	for k := range 30 {
		nodes = append(nodes, routertest.StartNode(t, fmt.Sprintf("n%d", k+2), slow))
		seq++
		apply(t, b, table(seq, listen, routertest.FleetOf(1, 100, nodes...)))
		old := nodes[0]
		nodes = nodes[1:]
		seq++
		apply(t, b, table(seq, listen, routertest.FleetOf(1, 100, nodes...)))
		routertest.Eventually(t, "the node is empty", func() bool {
			for _, n := range observed(t, b).Nodes {
				if n.Node == old.Name {
					return n.InFlight == 0
				}
			}
			return true
		})
		old.Server.CloseClientConnections()
		old.Server.Close()
	}
	l.end(t)
	if e := observed(t, b); e.Routes[0].Failed != 0 {
		t.Errorf("route counts %+v", e.Routes[0])
	}
}

// TestAgentRestart: a new agent finds everything as it was.
func TestAgentRestart(t *testing.T) {
	p, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	a := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			once.Do(func() { close(held) })
			<-hold
		}
		fmt.Fprint(w, "a")
	})
	c := routertest.StartNode(t, "c", nil)
	apply(t, b, table(1, listen, routertest.FleetOf(1, 100, a)))
	for range 5 {
		get(t, listen)
	}
	answer := make(chan error, 1)
	go func() {
		res, err := http.Get("http://" + listen + "/hold")
		if err == nil {
			_ = res.Body.Close()
		}
		answer <- err
	}()
	<-held
	want := table(2, listen, routertest.FleetOf(2, 100, c))
	apply(t, b, want)
	again := p.backend(t)
	if got, err := again.Applied(t.Context()); err != nil || got.Version != want.Version {
		t.Fatalf("applied %s, %v", got.Version, err)
	}
	e := observed(t, again)
	if len(e.Nodes) != 2 || e.Nodes[0].Node != "a" || e.Nodes[0].InFlight != 1 || e.Nodes[0].Requests != 6 || e.Nodes[1].Node != "c" {
		t.Errorf("a new agent sees %+v", e.Nodes)
	}
	close(hold)
	if err := <-answer; err != nil {
		t.Error(err)
	}
	routertest.Eventually(t, "the empty node vanishes", func() bool { return len(observed(t, again).Nodes) == 1 })
	// The node comes back into the very server that it had, and its counters go on.
	apply(t, again, table(3, listen, routertest.FleetOf(1, 100, a), routertest.FleetOf(2, 0, c)))
	get(t, listen)
	if e := observed(t, again); e.Nodes[0].Requests != 7 {
		t.Errorf("the node that came back counts %+v", e.Nodes[0])
	}
}

func get(t *testing.T, listen string) string {
	t.Helper()
	res, err := http.Get("http://" + listen + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestManyNodes: more nodes than the configuration has servers.
func TestManyNodes(t *testing.T) {
	p, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	first := routertest.StartNode(t, "first", nil)
	apply(t, b, table(1, listen, routertest.FleetOf(1, 100, first)))
	worker := p.processes(t).current
	l := startLoad(t, listen, 2, 2)
	nodes := []*routertest.TestNode{first}
	for k := range 20 {
		nodes = append(nodes, routertest.StartNode(t, fmt.Sprintf("n%d", k), nil))
	}
	apply(t, b, table(2, listen, routertest.FleetOf(1, 100, nodes...)))
	routertest.Eventually(t, "all nodes get requests", func() bool {
		for _, n := range nodes {
			if n.Seen.Load() < 50 {
				return false
			}
		}
		return true
	})
	for _, n := range nodes[1:] {
		if n.Seen.Load() > 200 {
			t.Errorf("%s got %d requests when each of 20 others had 50", n.Name, n.Seen.Load())
		}
	}
	apply(t, b, table(3, listen, routertest.FleetOf(1, 100, nodes[15:]...)))
	l.end(t)
	if now := p.processes(t).current; now != worker {
		t.Error("nodes came by a reload")
	}
	// Only nodes in added servers are left: the slot must not take itself for empty.
	seen := nodes[20].Seen.Load()
	apply(t, b, table(4, listen, routertest.FleetOf(1, 100, nodes[20])))
	if get(t, listen) != "n19" || nodes[20].Seen.Load() == seen {
		t.Error("a node in an added server gets no requests")
	}
	p.kill()
	p.start(t)
	if get(t, listen) != "n19" {
		t.Error("after a restart the node gets no requests")
	}
}

// TestTwoHAProxys: one dies and comes back, one cannot be reached for a while and goes on serving.
func TestTwoHAProxys(t *testing.T) {
	one, _ := newProxy(t, "")
	two, _ := newProxy(t, "")
	two.edge.Name = "there"
	b, err := New(Config{Edges: []Edge{one.edge, two.edge}})
	if err != nil {
		t.Fatal(err)
	}
	// Two on one machine share the port, as two machines would share a name.
	listen := routertest.FreeListen(t)
	a, c := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "c", nil)
	apply(t, b, table(1, listen, routertest.FleetOf(1, 100, a), routertest.FleetOf(2, 0, c)))
	two.kill()
	apply(t, b, table(2, listen, routertest.FleetOf(1, 50, a), routertest.FleetOf(2, 50, c)))
	o, err := b.Observe(t.Context())
	if err != nil || len(o.Edges) != 2 || !o.Edges[0].Silent.IsZero() || o.Edges[1].Silent.IsZero() || len(o.Edges[1].Nodes) != 2 || o.Edges[1].ID != "there" {
		t.Fatalf("observed with one dead: %+v, %v", o, err)
	}
	for id, code := range map[string]fault.Code{"there": "", "here": fault.Invalid, "nowhere": fault.NotFound} {
		if err := b.Forget(t.Context(), id); fault.CodeOf(err) != code {
			t.Errorf("forget %s: %v, want %q", id, err, code)
		}
	}
	if o, err := b.Observe(t.Context()); err != nil || len(o.Edges) != 1 || o.Edges[0].ID != "here" {
		t.Errorf("observed with one forgotten: %+v, %v", o, err)
	}
	two.start(t)
	o, err = b.Observe(t.Context())
	if err != nil || len(o.Edges) != 2 || o.Edges[1].Confirmed.Seq != 2 || !o.Edges[1].Silent.IsZero() {
		t.Fatalf("observed after its restart: %+v, %v", o, err)
	}
	hidden := two.edge.Socket + ".hidden"
	if err := os.Rename(two.edge.Socket, hidden); err != nil {
		t.Fatal(err)
	}
	apply(t, b, table(3, listen, routertest.FleetOf(1, 0, a), routertest.FleetOf(2, 100, c)))
	if err := os.Rename(hidden, two.edge.Socket); err != nil {
		t.Fatal(err)
	}
	routertest.Eventually(t, "the one that could not be reached has the table", func() bool {
		o, err := b.Observe(t.Context())
		return err == nil && o.Edges[1].Confirmed.Seq == 3
	})
	seen := a.Seen.Load()
	for range 50 {
		if got := get(t, listen); got != "c" {
			t.Fatalf("an edge answers from %q", got)
		}
	}
	if a.Seen.Load() != seen {
		t.Error("the old fleet got requests")
	}
}

// TestEndOfLongConnections: they are ended one after another within the time that is given, and counted.
func TestEndOfLongConnections(t *testing.T) {
	const count = 40
	_, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	a := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; r.Context().Err() == nil; i++ {
			if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	c := routertest.StartNode(t, "c", nil)
	apply(t, b, table(1, listen, routertest.FleetOf(1, 100, a)))
	var open atomic.Int64
	var wg sync.WaitGroup
	for range count {
		res, err := http.Get("http://" + listen + "/")
		if err != nil {
			t.Fatal(err)
		}
		open.Add(1)
		wg.Go(func() {
			defer open.Add(-1)
			defer res.Body.Close()
			_, _ = io.Copy(io.Discard, res.Body)
		})
	}
	if n := observed(t, b).Nodes[0]; n.Long != count || n.InFlight != count {
		t.Fatalf("long connections %+v, want %d", n, count)
	}
	apply(t, b, table(2, listen, routertest.FleetOf(2, 100, c)))
	if n := observed(t, b).Nodes[0]; n.Long != count || n.Node != "a" {
		t.Fatalf("after the node left: %+v", n)
	}
	closing := table(3, listen, routertest.FleetOf(2, 100, c))
	closing.Closing = []router.Closing{{Fleet: "shop/production/web/r1/1", Node: "a", Within: 2 * time.Second}}
	apply(t, b, closing)
	began := time.Now()
	var half time.Duration
	var last router.NodeTraffic
	for open.Load() > 0 && time.Since(began) < 10*time.Second {
		for _, n := range observed(t, b).Nodes {
			if n.Node == "a" {
				last = n
			}
		}
		if half == 0 && open.Load() <= count/2 {
			half = time.Since(began)
		}
		time.Sleep(20 * time.Millisecond)
	}
	wg.Wait()
	if took := time.Since(began); half < 500*time.Millisecond || took > 4*time.Second {
		t.Errorf("half were ended after %s, all after %s, want them spread over 2 s", half, took)
	}
	routertest.Eventually(t, "the cut connections are counted", func() bool {
		for _, n := range observed(t, b).Nodes {
			if n.Node == "a" {
				last = n
			}
		}
		return last.Cut == count && last.InFlight == 0
	})
}

// TestCertificates: HTTPS with redirect and HSTS, and a certificate that is renewed without a reload.
func TestCertificates(t *testing.T) {
	p, b := newProxy(t, "")
	cert, key := certificate(t, "shop.example")
	listen, plain := routertest.FreeListen(t), routertest.FreeListen(t)
	a := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-Proto")) })
	r := routertest.RouteTo(listen, routertest.FleetOf(1, 100, a))
	r.Hosts = []string{"shop.example"}
	r.TLS = &router.TLS{Cert: cert, Key: key, Redirect: plain, HSTS: time.Hour}
	apply(t, b, routertest.TableOf(1, r))
	worker := p.processes(t).current
	serial := func() string {
		conn, err := tls.Dial("tcp", listen, &tls.Config{InsecureSkipVerify: true, ServerName: "shop.example", NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if conn.ConnectionState().NegotiatedProtocol != "h2" {
			t.Errorf("negotiated %q, want h2", conn.ConnectionState().NegotiatedProtocol)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	c := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer c.CloseIdleConnections()
	ask := func(url string) *http.Response {
		req, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.example"
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	res := ask("https://" + listen + "/x")
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if string(body) != "https" || res.Header.Get("Strict-Transport-Security") != "max-age=3600" {
		t.Errorf("by HTTPS: %q, %v", body, res.Header)
	}
	res = ask("http://" + plain + "/x?y=1")
	_ = res.Body.Close()
	_, port, _ := net.SplitHostPort(listen)
	if want := "https://shop.example:" + port + "/x?y=1"; res.StatusCode != 308 || res.Header.Get("Location") != want {
		t.Errorf("plain HTTP: %d %q, want %q", res.StatusCode, res.Header.Get("Location"), want)
	}
	old := serial()
	freshCert, freshKey := certificate(t, "shop.example")
	for from, to := range map[string]string{freshCert: cert, freshKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	routertest.Eventually(t, "the new certificate is shown", func() bool {
		observed(t, b)
		return serial() != old
	})
	if now := p.processes(t).current; now != worker {
		t.Error("the certificate was renewed by a reload")
	}
}
