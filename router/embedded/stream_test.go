package embedded

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// echoUpgrade takes the connection over and sends back what comes, as a WebSocket server would.
func echoUpgrade(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "echo") {
		fmt.Fprint(w, "plain")
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	_, _ = io.Copy(c, rw)
}

// upgradedClient is the client's end of an upgraded connection.
type upgradedClient struct {
	net.Conn
	r *bufio.Reader
}

func dialUpgrade(t *testing.T, listen string) *upgradedClient {
	t.Helper()
	c, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	u := &upgradedClient{c, bufio.NewReader(c)}
	res, err := http.ReadResponse(u.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != "echo" {
		t.Fatalf("upgrade: %d %v", res.StatusCode, res.Header)
	}
	return u
}

func (u *upgradedClient) echo(t *testing.T, text string) {
	t.Helper()
	_ = u.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(u, text+"\n"); err != nil {
		t.Fatal(err)
	}
	line, err := u.r.ReadString('\n')
	if err != nil || line != text+"\n" {
		t.Fatalf("echo of %q: %q, %v", text, line, err)
	}
}

func TestUpgradedConnections(t *testing.T) {
	e := startEngine(t, nil)
	a, b := routertest.StartNode(t, "a", echoUpgrade), routertest.StartNode(t, "b", nil)
	listen := e.serveNodes(t, a)
	u := dialUpgrade(t, listen)
	u.echo(t, "one")
	e.mustApply(t, routertest.TableOf(2, routertest.RouteTo(listen, routertest.FleetOf(2, 100, b))))
	u.echo(t, "still there when its node left the table")
	if n := e.nodeTraffic("a"); n.InFlight != 1 {
		t.Fatalf("node %+v", n)
	}
	if n := e.cut(routertest.FleetOf(1, 0).ID, "a"); n != 1 {
		t.Fatalf("%d connections cut, want 1", n)
	}
	if _, err := u.r.ReadByte(); err == nil {
		t.Fatal("the connection lives")
	}
	routertest.Eventually(t, "the node is empty", func() bool { return e.nodeTraffic("a").InFlight == 0 })
	if n := e.snapshot().visible(e.current.Load()); len(n.Edge.Nodes) != 1 {
		t.Errorf("nodes %+v", n.Edge.Nodes)
	}
}

func TestUpgradedConnectionEndsAtEitherSide(t *testing.T) {
	e := startEngine(t, nil)
	listen := e.serveNodes(t, routertest.StartNode(t, "a", echoUpgrade))
	u := dialUpgrade(t, listen)
	u.echo(t, "one")
	_ = u.Close()
	routertest.Eventually(t, "the node is empty", func() bool { return e.nodeTraffic("a").InFlight == 0 })
	if n := e.nodeTraffic("a"); n.Cut+n.Reset != 0 || e.routeTraffic().Failed != 0 {
		t.Errorf("node %+v", n)
	}
}

// Server-Sent Events: each event arrives before the next is made.
func TestAnswersStream(t *testing.T) {
	e := startEngine(t, nil)
	next := make(chan struct{})
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Trailer", "X-Sum")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n", i)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
		w.Header().Set("X-Sum", "3")
	}))
	res, err := http.Get("http://" + listen + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := bufio.NewReader(res.Body)
	for i := range 3 {
		if line, err := r.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event %d: %q, %v", i, line, err)
		}
		next <- struct{}{}
	}
	if _, err := r.ReadByte(); err != io.EOF || res.Trailer.Get("X-Sum") != "3" {
		t.Fatalf("end %v, trailer %v", err, res.Trailer)
	}
}

// Both directions at once: the node answers each line while the request goes on.
func TestRequestsStream(t *testing.T) {
	e := startEngine(t, nil)
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.WriteHeader(200)
		_ = rc.Flush()
		for s := bufio.NewScanner(r.Body); s.Scan(); {
			fmt.Fprintln(w, s.Text())
			_ = rc.Flush()
		}
	}))
	in, out := io.Pipe()
	res, err := http.Post("http://"+listen+"/", "text/plain", in)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := bufio.NewReader(res.Body)
	for i := range 5 {
		fmt.Fprintf(out, "line %d\n", i)
		if line, err := r.ReadString('\n'); err != nil || line != fmt.Sprintf("line %d\n", i) {
			t.Fatalf("%q, %v", line, err)
		}
	}
	_ = out.Close()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Fatal(err)
	}
}

func TestExpectContinue(t *testing.T) {
	e := startEngine(t, nil)
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Refuse") != "" {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	for _, refuse := range []string{"", "X-Refuse: 1\r\n"} {
		c, err := net.Dial("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"+refuse+"\r\n")
		r := bufio.NewReader(c)
		want := 200
		if refuse != "" {
			want = http.StatusRequestEntityTooLarge
		} else {
			line, err := r.ReadString('\n')
			if err != nil || !strings.Contains(line, "100") {
				t.Fatalf("%q, %v", line, err)
			}
			_, _ = r.ReadString('\n')
			_, _ = io.WriteString(c, "body")
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != want {
			t.Fatalf("%+v, %v", res, err)
		}
	}
}

// A client that closes its sending side before the answer begins counts as gone. It gets no answer, and not an empty 200.
func TestClientThatClosesItsSendingSide(t *testing.T) {
	e := startEngine(t, nil)
	entered := make(chan struct{})
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}))
	c, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestLargeBodies(t *testing.T) {
	e := startEngine(t, nil)
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	body := strings.Repeat("0123456789abcdef", 1<<20/16*20)
	if _, got := fetch(t, "POST", "http://"+listen+"/", body, nil); got != body {
		t.Fatalf("%d bytes came back of %d", len(got), len(body))
	}
}

// shown is the certificate that listen shows for a name.
func shown(t *testing.T, listen, name string) *x509.Certificate {
	t.Helper()
	c, err := tls.Dial("tcp", listen, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

func TestTLS(t *testing.T) {
	e := startEngine(t, nil)
	var ahead atomic.Int64
	e.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	node := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, " ", r.Header.Get("X-Forwarded-Proto"))
	})
	listen := routertest.FreeListen(t)
	shop, other := t.TempDir(), t.TempDir()
	route := func(name, host string, files router.TLS) router.Route {
		r := routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))
		r.Name, r.Hosts, r.TLS = name, []string{host}, &files
		return r
	}
	first := routertest.Certificate(t, shop, 1, "shop.example")
	table := routertest.TableOf(1, route("a", "shop.example", first), route("b", "*.other.example", routertest.Certificate(t, other, 7, "*.other.example")))
	e.mustApply(t, table)

	for _, h2 := range []bool{true, false} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true}, ForceAttemptHTTP2: h2}
		defer tr.CloseIdleConnections()
		req, _ := http.NewRequest("GET", "https://"+listen+"/", nil)
		req.Host = "shop.example"
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if (res.ProtoMajor == 2) != h2 || string(b) != "HTTP/1.1 https" {
			t.Errorf("h2 %v: %s, node saw %q", h2, res.Proto, b)
		}
	}
	for name, serial := range map[string]int64{"shop.example": 1, "x.other.example": 7, "unknown.example": 1} {
		if got := shown(t, listen, name).SerialNumber.Int64(); got != serial {
			t.Errorf("%s: certificate %d, want %d", name, got, serial)
		}
	}
	routertest.Certificate(t, shop, 2, "shop.example")
	ahead.Add(int64(2 * time.Second))
	if got := shown(t, listen, "shop.example").SerialNumber.Int64(); got != 2 {
		t.Errorf("after a change of the files: certificate %d, want 2", got)
	}
	if err := os.WriteFile(first.Cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	ahead.Add(int64(2 * time.Second))
	if got := shown(t, listen, "shop.example").SerialNumber.Int64(); got != 2 {
		t.Errorf("after the files broke: certificate %d, want 2", got)
	}
	table.Version.Seq++
	e.mustApply(t, table) // a broken renewal must not keep weights from moving
	bad := table.Canonical()
	bad.Version.Seq++
	bad.Routes[0].TLS = &router.TLS{Cert: first.Cert, Key: first.Cert}
	if err := e.apply(t.Context(), bad); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("a certificate that does not load: %v", err)
	}
}
