package haproxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// TestHundredCutovers: 100 changes of weight under the load of a program of others, with and without keep-alive.
func TestHundredCutovers(t *testing.T) {
	for name, flag := range map[string]string{"keep-alive": "", "connections anew": "-disable-keepalive"} {
		t.Run(name, func(t *testing.T) {
			_, b := newProxy(t, "")
			listen := routertest.FreeListen(t)
			a, c := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "c", nil)
			apply(t, b, table(1, listen, routertest.FleetOf(1, 100, a), routertest.FleetOf(2, 0, c)))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			args := []string{"-z", "60s", "-c", "16", "-t", "10", "http://" + listen + "/"}
			if flag != "" {
				args = append([]string{flag}, args...)
			}
			hey := exec.CommandContext(ctx, "hey", args...)
			hey.Cancel = func() error { return hey.Process.Signal(os.Interrupt) }
			var out strings.Builder
			hey.Stdout, hey.Stderr = &out, &out
			if err := hey.Start(); err != nil {
				t.Fatalf("start hey (Debian's package hey): %v", err)
			}
			routertest.Eventually(t, "hey asks", func() bool { return a.Seen.Load() > 100 })
			for k := range 100 {
				w := []int{10, 50, 100, 0}[k%4]
				apply(t, b, table(uint64(k+2), listen, routertest.FleetOf(1, 100-w, a), routertest.FleetOf(2, w, c)))
			}
			cancel()
			_ = hey.Wait()
			said := out.String()
			codes := regexp.MustCompile(`\[(\d+)\]\s+(\d+) responses`).FindAllStringSubmatch(said, -1)
			if len(codes) != 1 || codes[0][1] != "200" || strings.Contains(said, "Error distribution") {
				t.Errorf("hey saw\n%s", said)
			}
			if c.Seen.Load() == 0 {
				t.Error("the other fleet got nothing")
			}
			t.Logf("%s answers of 200, %d and %d requests at the nodes", codes[0][2], a.Seen.Load(), c.Seen.Load())
			if e := observed(t, b); e.Routes[0].Failed != 0 || e.Routes[0].NoNode != 0 {
				t.Errorf("route counts %+v", e.Routes[0])
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
	l := startLoad(t, listen, 6)
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

// TestOurOwnReloads: routes with listen addresses of their own come and go, and the one that stays loses nothing.
func TestOurOwnReloads(t *testing.T) {
	_, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	a := routertest.StartNode(t, "a", nil)
	apply(t, b, table(1, listen, routertest.FleetOf(1, 100, a)))
	before := observed(t, b)
	l := startLoad(t, listen, 6)
	for k := range 6 {
		tab := table(uint64(k+2), listen, routertest.FleetOf(1, 100, a))
		if k%2 == 0 {
			more := routertest.RouteTo(routertest.FreeListen(t), routertest.FleetOf(1, 100, a))
			more.Name = "other/production/web"
			tab.Routes = append(tab.Routes, more)
		}
		apply(t, b, tab)
		observed(t, b)
	}
	l.end(t)
	routertest.Eventually(t, "nothing is in flight", func() bool { return observed(t, b).Nodes[0].InFlight == 0 })
	after := observed(t, b)
	if after.Instance != before.Instance {
		t.Errorf("instance %s became %s over reloads of our own", before.Instance, after.Instance)
	}
	// What a worker counts between the last look at it and its end is not seen.
	if r := after.Routes[0]; r.Failed != 0 || r.Requests <= before.Routes[0].Requests || r.Requests > uint64(l.sent.Load()) {
		t.Errorf("route counts %+v, sent %d", r, l.sent.Load())
	}
}

// TestOldWorkers: a connection that stays with a worker from before a reload obeys later tables, as far as that worker can,
// and is closed where it cannot.
func TestOldWorkers(t *testing.T) {
	p, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	a, c, d := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "c", nil), routertest.StartNode(t, "d", nil)
	tab := func(seq uint64, wa, wc int, more ...*routertest.TestNode) router.Table {
		return table(seq, listen, routertest.FleetOf(1, wa, a), routertest.FleetOf(2, wc, append([]*routertest.TestNode{c}, more...)...))
	}
	apply(t, b, tab(1, 100, 0))
	conn := dial(t, listen)
	if got := conn.ask(t); got != "a" {
		t.Fatalf("before: %q", got)
	}
	p.reload(t)
	apply(t, b, tab(2, 0, 100))
	if e := observed(t, b); e.Confirmed != (router.Version{Epoch: 1, Seq: 2}) {
		t.Fatalf("confirmed %s", e.Confirmed)
	}
	if ps := p.processes(t); len(ps.old) != 1 {
		t.Fatalf("the connection keeps no old worker: %+v", ps)
	}
	if got := conn.ask(t); got != "c" {
		t.Errorf("the old worker answers from %q by a table of the past", got)
	}
	conn = dial(t, listen)
	conn.ask(t)
	p.reload(t)
	apply(t, b, tab(3, 0, 100, d))
	if got := conn.ask(t); got != "" {
		t.Errorf("the old worker cannot know all nodes, and answers from %q", got)
	}
	conn = dial(t, listen)
	conn.ask(t)
	changed := tab(4, 100, 0)
	changed.Routes[0].Preview.From = []string{"127.0.0.0/8"}
	apply(t, b, changed)
	if got := conn.ask(t); got != "" {
		t.Errorf("the route was reloaded, and the old worker answers from %q", got)
	}
}

// keptConn is a keep-alive connection.
type keptConn struct {
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, listen string) keptConn {
	t.Helper()
	conn, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return keptConn{conn, bufio.NewReader(conn)}
}

// ask gives the body of the answer, "" when the connection closes without one.
func (c keptConn) ask(t *testing.T) string {
	t.Helper()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		if err != io.ErrUnexpectedEOF && err != io.EOF && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("ask: %v", err)
		}
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("ask: %v", err)
	}
	return string(body)
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
	l := startLoad(t, listen, 4)
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
