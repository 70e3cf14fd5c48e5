package embedded

import (
	"bytes"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/bootandshoot/release/router/routertest"
)

// askH2 sends one request of any fields over h2 without TLS, and gives the status of the answer.
func askH2(t *testing.T, address string, fields ...string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = c.Write([]byte(http2.ClientPreface))
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = f.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return err.Error()
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return "reset"
		case *http2.GoAwayFrame:
			return "goaway"
		}
	}
}

// What HTTP/2 can carry and HTTP/1.1 cannot does not become lines of a request to a node.
func TestH2CannotInjectLines(t *testing.T) {
	e := startEngine(t, nil)
	var seen []string
	node := routertest.StartNode(t, "a", func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, r.Method+" "+r.RequestURI) })
	listen := e.serveNodes(t, node)
	ask := func(method, path string, more ...string) string {
		return askH2(t, listen, append([]string{":method", method, ":scheme", "http", ":authority", "x", ":path", path}, more...)...)
	}
	if got := ask("GET", "/fine"); got != "200" {
		t.Fatalf("a request: %s", got)
	}
	for _, bad := range [][]string{
		{"GET /other HTTP/1.1 x", "/"}, {"GET", "/a HTTP/1.1"}, {"GET", "/a\r\nX: y"}, {"GET", "/", "x y", "z"}, {"GET", "/", "x", "a\r\nb: c"},
		{"GET", "/", "content_length", "5"}, {"GET", "/", "transfer-encoding", "chunked"},
	} {
		if got := ask(bad[0], bad[1], bad[2:]...); got == "200" {
			t.Errorf("%q was answered %s", bad, got)
		}
	}
	if len(seen) != 1 {
		t.Errorf("the node saw %q", seen)
	}
}

// What a client says of where it comes from is not believed, whatever it calls it.
func TestForwardedOfStrangers(t *testing.T) {
	e := startEngine(t, nil)
	var got http.Header
	listen := e.serveNodes(t, routertest.StartNode(t, "a", func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() }))
	names := []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "X_Forwarded_For", "X-Real-Ip", "X_Real_IP", "Forwarded"}
	fetch(t, "GET", "http://"+listen+"/", "", func(r *http.Request) {
		for _, name := range names {
			r.Header[name] = []string{"liar"}
		}
	})
	for name, values := range got {
		for _, v := range values {
			if bytes.Contains([]byte(v), []byte("liar")) {
				t.Errorf("%s: %s", name, v)
			}
		}
	}
	if got.Get("X-Forwarded-For") != "127.0.0.1" || len(got["X-Forwarded-Port"]) != 1 {
		t.Errorf("%v", got)
	}
}
