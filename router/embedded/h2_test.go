package embedded

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// h2cNode is a node that speaks HTTP/2 without TLS and nothing else.
func h2cNode(t *testing.T, name string, handler http.HandlerFunc) *routertest.TestNode {
	t.Helper()
	return h2cServer(t, name, &http.Server{Handler: handler})
}

// h2cServer is h2cNode with a server of any settings.
func h2cServer(t *testing.T, name string, s *http.Server) *routertest.TestNode {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s.Protocols = protocols
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return &routertest.TestNode{Name: name, Address: l.Addr().String()}
}

// h2cClient begins HTTP/2 without TLS at once.
func h2cClient(t *testing.T) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func h2cRoute(listen string, fleets ...router.Fleet) router.Route {
	r := routertest.RouteTo(listen, fleets...)
	r.Nodes = router.NodeH2C
	return r
}

// Trailers, both ways, and streams that go both ways at once: what gRPC needs.
func TestH2CToTheNode(t *testing.T) {
	e := startEngine(t, nil)
	node := h2cNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		ctrl := http.NewResponseController(w)
		_ = ctrl.Flush()
		b := make([]byte, 64)
		for {
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n])
			_ = ctrl.Flush()
			if err != nil {
				break
			}
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Saw", fmt.Sprint(r.Proto, r.Header.Get("Te"), r.Trailer.Get("Sent")))
	})
	listen := routertest.FreeListen(t)
	e.mustApply(t, routertest.TableOf(1, h2cRoute(listen, routertest.FleetOf(1, 100, node))))
	for _, client := range []*http.Client{h2cClient(t), {Transport: &http.Transport{}}} {
		in, out := io.Pipe()
		req, _ := http.NewRequest("POST", "http://"+listen+"/svc/Method", in)
		req.Header.Set("Te", "trailers")
		req.Trailer = http.Header{"Sent": nil}
		answered := make(chan *http.Response, 1)
		go func() {
			res, err := client.Do(req)
			if err != nil {
				t.Error(err)
			}
			answered <- res
		}()
		_, _ = io.WriteString(out, "one")
		res := <-answered
		if res == nil {
			return
		}
		got := make([]byte, 3)
		for _, piece := range []string{"one", "two", "ten"} {
			if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != piece {
				t.Fatalf("%s: got %q, %v", res.Proto, got, err)
			}
			if piece != "ten" {
				_, _ = io.WriteString(out, map[string]string{"one": "two", "two": "ten"}[piece])
			}
		}
		req.Trailer.Set("Sent", "yes")
		_ = out.Close()
		if b, err := io.ReadAll(res.Body); err != nil || len(b) > 0 {
			t.Fatalf("%s: the end: %q, %v", res.Proto, b, err)
		}
		if s, saw := res.Trailer.Get("Grpc-Status"), res.Trailer.Get("Saw"); s != "0" || saw != "HTTP/2.0trailersyes" {
			t.Errorf("%s: trailers %q %q of %v", res.Proto, s, saw, res.Trailer)
		}
		_ = res.Body.Close()
	}
}

// A stream of gRPC-Web has its status in the body: at its end it gets no trailers.
func TestGRPCWebStreamEndsWithoutTrailers(t *testing.T) {
	e := startEngine(t, nil)
	node := h2cNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc-web+proto")
		_, _ = io.WriteString(w, "message")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	listen := routertest.FreeListen(t)
	e.mustApply(t, routertest.TableOf(1, h2cRoute(listen, routertest.FleetOf(1, 100, node))))
	res, err := h2cClient(t).Get("http://" + listen + "/svc/Watch")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	if n := e.nodeTraffic("a"); n.Long != 1 {
		t.Errorf("it does not count as long: %+v", n)
	}
	e.closing(t, 2, listen, node, 0)
	if b, err := io.ReadAll(res.Body); err != nil || len(b) > 0 || len(res.Trailer) > 0 {
		t.Errorf("%q, %v, trailers %v", b, err, res.Trailer)
	}
}

// A gRPC stream whose node leaves ends with UNAVAILABLE, which clients take for trying again.
func TestGRPCStreamEndsInOrder(t *testing.T) {
	e := startEngine(t, nil)
	node := h2cNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		_, _ = io.WriteString(w, "message")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	listen := routertest.FreeListen(t)
	e.mustApply(t, routertest.TableOf(1, h2cRoute(listen, routertest.FleetOf(1, 100, node))))
	res, err := h2cClient(t).Get("http://" + listen + "/svc/Watch")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	e.closing(t, 2, listen, node, 0)
	if b, err := io.ReadAll(res.Body); err != nil || len(b) > 0 || res.Trailer.Get("Grpc-Status") != "14" {
		t.Errorf("%q, %v, trailers %v", b, err, res.Trailer)
	}
}

func TestH2CNodeThatFails(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.NodeTimeout = 200 * time.Millisecond })
	slow := h2cNode(t, "slow", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
		}
	})
	broken := h2cNode(t, "broken", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	seq := uint64(0)
	for want, node := range map[int]*routertest.TestNode{504: slow, 502: broken, 503: routertest.DeadNode(t, "dead")} {
		seq++
		listen := routertest.FreeListen(t)
		e.mustApply(t, routertest.TableOf(seq, h2cRoute(listen, routertest.FleetOf(1, 100, node))))
		if res, body := fetch(t, "GET", "http://"+listen+"/", "", nil); res.StatusCode != want && want != 503 || want == 503 && res.StatusCode != 502 {
			t.Errorf("%s: %d %q", node.Name, res.StatusCode, body)
		}
	}
}

// Half an answer resets the stream: it must not look like a whole one.
func TestHalfAnAnswerOverH2(t *testing.T) {
	e := startEngine(t, nil)
	node := routertest.StartNode(t, "a", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	listen := e.serveNodes(t, node)
	res, err := h2cClient(t).Get("http://" + listen + "/")
	if err == nil {
		_, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
	}
	if err == nil {
		t.Error("half an answer looked like a whole one")
	}
}

// Early hints reach both kinds of clients before the answer.
func TestInterimAnswers(t *testing.T) {
	e := startEngine(t, nil)
	node := routertest.StartNode(t, "a", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "ok")
	})
	listen := e.serveNodes(t, node)
	_, r := dialRaw(t, listen, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	b, _ := io.ReadAll(r)
	if !strings.HasPrefix(string(b), "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n") {
		t.Errorf("HTTP/1.1: %q", b)
	}
	if res, err := h2cClient(t).Get("http://" + listen + "/"); err != nil || res.StatusCode != 200 {
		t.Errorf("h2: %v, %v", res, err)
	}
}

// A certificate from files, h2 by ALPN, a redirect from plain HTTP, and Strict-Transport-Security.
func TestRedirectAndHSTS(t *testing.T) {
	e := startEngine(t, nil)
	files := routertest.Certificate(t, t.TempDir(), 1, "shop.example")
	listen, plain := routertest.FreeListen(t), routertest.FreeListen(t)
	route := routertest.RouteTo(listen, routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil)))
	files.Redirect, files.HSTS = plain, time.Hour
	route.TLS, route.Hosts = &files, []string{"shop.example"}
	e.mustApply(t, routertest.TableOf(1, route))
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasSuffix(address, ":80") {
				address = plain
			} else {
				address = listen
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Get("http://shop.example/a/b?c=d")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	_, port, _ := net.SplitHostPort(listen)
	if got := res.Request.URL.String(); got != "https://shop.example:"+port+"/a/b?c=d" || res.ProtoMajor != 2 {
		t.Errorf("came to %s over %s", got, res.Proto)
	}
	if got := res.Header.Get("Strict-Transport-Security"); got != "max-age=3600" {
		t.Errorf("Strict-Transport-Security: %q", got)
	}
	if res, _ := fetch(t, "GET", "http://"+plain+"/", "", nil); res.StatusCode != 404 {
		t.Errorf("another host at the redirecting address: %d", res.StatusCode)
	}
}

// Where a plain request is sent to.
func TestRedirectLocation(t *testing.T) {
	e := startEngine(t, nil)
	files := routertest.Certificate(t, t.TempDir(), 1, "shop.example")
	listen, plain := routertest.FreeListen(t), routertest.FreeListen(t)
	route := routertest.RouteTo(listen, routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil)))
	files.Redirect = plain
	route.TLS = &files
	e.mustApply(t, routertest.TableOf(1, route))
	_, port, _ := net.SplitHostPort(listen)
	for head, want := range map[string]string{
		"GET /a?b=c HTTP/1.1\r\nHost: Shop.Example:80": "https://shop.example:" + port + "/a?b=c",
		"GET / HTTP/1.1\r\nHost: [::1]":                "https://[::1]:" + port + "/",
		"OPTIONS * HTTP/1.1\r\nHost: shop.example":     "https://shop.example:" + port + "/",
		"GET / HTTP/1.1\r\nHost:":                      "",
	} {
		c, err := net.Dial("tcp", plain)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, head+"\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", head, err)
		}
		_ = c.Close()
		if got := res.Header.Get("Location"); got != want || want == "" && res.StatusCode != 400 || res.Header.Get("Date") == "" {
			t.Errorf("%s: %d to %q, want %q; headers %v", head, res.StatusCode, got, want, res.Header)
		}
	}
}

// A host may stand beside :authority or in its place if it says the same. [RFC 9113, 8.3.1]
func TestH2Host(t *testing.T) {
	r := startRig(t, false, routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) }))
	defer r.settle()
	c := r.h2(1 << 20)
	for i, tt := range []struct {
		authority, host string
		status          int
	}{{"x", "", 200}, {"x", "x", 200}, {"", "x", 200}, {"x", "y", 400}, {"", "", 400}} {
		c.block.Reset()
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", tt.authority}, {"host", tt.host}} {
			if f[1] != "" {
				_ = c.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
			}
		}
		id := uint32(2*i + 1)
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndStream: true, EndHeaders: true})
		if status, body, how := c.outcome(id); status != tt.status || how != "end" || status == 200 && body != "x" {
			t.Errorf("authority %q, host %q: %d %q %s, want %d", tt.authority, tt.host, status, body, how, tt.status)
		}
	}
}

// A request over h2 without a body is one to the node too; only where a body might have been meant it is told that there is none.
func TestNoBodyOverH2(t *testing.T) {
	lengths := make(chan string, 1)
	r := startRig(t, true, routertest.StartNode(t, "a", func(_ http.ResponseWriter, r *http.Request) {
		lengths <- strings.Join(r.Header["Content-Length"], ",")
	}))
	client := r.client()
	for method, want := range map[string]string{"GET": "", "HEAD": "", "DELETE": "", "POST": "0", "PUT": "0", "PATCH": "0"} {
		r.ask(client, method, "/", "")
		if got := <-lengths; got != want {
			t.Errorf("%s: Content-Length %q, want %q", method, got, want)
		}
	}
	r.settle()
}
