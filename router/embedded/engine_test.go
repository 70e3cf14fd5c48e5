package embedded

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded/http1"
	"github.com/bootandshoot/release/router/routertest"
)

// startEngine is a data plane inside the test process, without control API.
func startEngine(t *testing.T, change func(*Config)) *engine {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	e := newEngine(cfg.withDefaults())
	var err error
	if e.access, err = openAccessLog(e.cfg); err != nil {
		t.Fatal(err)
	}
	go e.sweeper.run(t.Context())
	t.Cleanup(func() {
		e.listeners.shutdown(0)
		e.cutAll()
		e.access.close()
	})
	return e
}

func (e *engine) mustApply(t *testing.T, table router.Table) {
	t.Helper()
	if err := e.apply(context.Background(), table); err != nil {
		t.Fatal(err)
	}
}

// serveNodes routes everything on a fresh listen address to a fleet of the nodes.
func (e *engine) serveNodes(t *testing.T, nodes ...*routertest.TestNode) string {
	t.Helper()
	listen := routertest.FreeListen(t)
	e.mustApply(t, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 100, nodes...))))
	return listen
}

func (e *engine) nodeTraffic(name string) router.NodeTraffic {
	for _, n := range e.snapshot().Edge.Nodes {
		if n.Node == name {
			return n
		}
	}
	return router.NodeTraffic{}
}

func (e *engine) routeTraffic() router.RouteTraffic { return e.snapshot().Edge.Routes[0] }

// rawNode serves each connection by hand.
func rawNode(t *testing.T, name string, serve func(net.Conn, *bufio.Reader)) *routertest.TestNode {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	n := &routertest.TestNode{Name: name, Address: l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c, bufio.NewReader(c))
			}()
		}
	}()
	return n
}

// readHead reads a request's header and nothing else; false at the end of the connection.
func readHead(r *bufio.Reader) bool {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == "\r\n" {
			return true
		}
	}
}

func fetch(t *testing.T, method, url, body string, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, url, in)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return res, string(b)
}

func TestMalformedBodyIsTheClientsFault(t *testing.T) {
	e := startEngine(t, nil)
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	c, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", res.StatusCode)
	}
	if n, r := e.nodeTraffic("a"), e.routeTraffic(); n.Reset != 0 || r.Failed != 0 {
		t.Errorf("node %+v, route %+v", n, r)
	}
}

func TestRefusals(t *testing.T) {
	e := startEngine(t, nil)
	listen := e.serveNodes(t, routertest.StartNode(t, "a", nil))
	tests := map[string]struct {
		request string
		status  int
	}{
		"long target":    {"GET /" + strings.Repeat("x", http1.MaxTarget) + " HTTP/1.1\r\nHost: x\r\n\r\n", 414},
		"long header":    {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", http1.MaxHead+8192) + "\r\n\r\n", 431},
		"connect":        {"CONNECT example:443 HTTP/1.1\r\nHost: example:443\r\n\r\n", 405},
		"two lengths":    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
		"no host":        {"GET / HTTP/1.1\r\n\r\n", 400},
		"every resource": {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		"1.0":            {"GET / HTTP/1.0\r\n\r\n", 200},
	}
	for name, tt := range tests {
		c, err := net.Dial("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(c, tt.request) }()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if res.StatusCode != tt.status {
			t.Errorf("%s: %d, want %d", name, res.StatusCode, tt.status)
		}
		_ = c.Close()
	}
}

func TestHeaders(t *testing.T) {
	e := startEngine(t, nil)
	var got http.Header
	var host string
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		got, host = r.Header.Clone(), r.Host
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("X-End", "1")
	}))
	res, _ := fetch(t, "GET", "http://"+listen+"/a%2Fb?q=1", "", func(r *http.Request) {
		r.Host = "shop.example"
		for _, h := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "Forwarded", "X-Real-Ip"} {
			r.Header.Set(h, "spoofed")
		}
		r.Header.Set("Connection", "X-Private")
		r.Header.Set("X-Private", "1")
		r.Header.Set("Proxy-Authorization", "secret")
		r.Header.Set("X-Kept", "1")
		r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	})
	_, port, _ := net.SplitHostPort(listen)
	want := map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "shop.example", "X-Forwarded-Proto": "http", "X-Forwarded-Port": port,
		"X-Forwarded-Prefix": "", "Forwarded": "", "X-Real-Ip": "", "X-Private": "", "Proxy-Authorization": "", "X-Kept": "1",
		"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	for name, v := range want {
		if got.Get(name) != v {
			t.Errorf("node saw %s: %q, want %q", name, got.Get(name), v)
		}
	}
	if host != "shop.example" || res.Header.Get("X-Hop") != "" || res.Header.Get("X-End") != "1" {
		t.Errorf("host %q, answer %v", host, res.Header)
	}
}

func TestRestoreWaitsForAPort(t *testing.T) {
	e := startEngine(t, nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	node := routertest.StartNode(t, "a", nil)
	busy, free := taken.Addr().String(), routertest.FreeListen(t)
	other := routertest.RouteTo(free, routertest.FleetOf(1, 1, node))
	other.Name = "other"
	table := routertest.TableOf(4, routertest.RouteTo(busy, routertest.FleetOf(1, 1, node)), other)
	b, err := table.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.save(table.Version, b); err != nil {
		t.Fatal(err)
	}
	if err := e.restore(); err != nil {
		t.Fatal(err)
	}
	fetch(t, "GET", "http://"+free+"/", "", nil)
	failed := 0
	for _, l := range e.listeners.states() {
		if l.Listen == busy && l.Error != "" {
			failed++
		}
	}
	if failed != 1 {
		t.Fatalf("listeners %+v", e.listeners.states())
	}
	_ = taken.Close()
	e.tidy()
	if _, body := fetch(t, "GET", "http://"+busy+"/", "", nil); body != "a" {
		t.Fatalf("after the port got free: %q", body)
	}
}

func TestRestoreOfABrokenTable(t *testing.T) {
	e := startEngine(t, nil)
	path := filepath.Join(e.cfg.Dir, tableName) + ".0"
	if err := os.WriteFile(path, []byte(`{"schema":1,"routes":[{`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.restore(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".bad"); err != nil {
		t.Error(err)
	}
	e.serveNodes(t, routertest.StartNode(t, "a", nil))
}

func TestListenAddressNarrows(t *testing.T) {
	e := startEngine(t, nil)
	node := routertest.StartNode(t, "a", nil)
	port := routertest.FreePort(t)
	narrow := "127.0.0.1:" + port
	for i, listen := range []string{":" + port, narrow, ":" + port} {
		e.mustApply(t, routertest.TableOf(uint64(i+1), routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))))
		if _, body := fetch(t, "GET", "http://"+narrow+"/", "", nil); body != "a" {
			t.Fatalf("listen %s: %q", listen, body)
		}
	}
}

// Connections that come while a table is being opened wait; none is answered by a router without routes.
func TestNothingIsAcceptedBeforeTheTable(t *testing.T) {
	e := startEngine(t, nil)
	node := routertest.StartNode(t, "a", nil)
	listen := routertest.FreeListen(t)
	ln, err := listenTCP(listen)
	if err != nil {
		t.Fatal(err)
	}
	e.listeners.inherit(map[string]*net.TCPListener{listen: ln})
	answer := make(chan string, 1)
	c, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	go func() {
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			answer <- err.Error()
			return
		}
		answer <- res.Status
	}()
	e.mustApply(t, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))))
	if got := <-answer; got != "200 OK" {
		t.Fatal(got)
	}
}
