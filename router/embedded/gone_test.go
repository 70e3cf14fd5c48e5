package embedded

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/router/routertest"
)

// leaves are the ways in which clients go away.
func leaves() map[string]func(*client) {
	return map[string]func(*client){
		"closes":   func(c *client) { _ = c.Conn.Close() },
		"resets":   func(c *client) { _ = c.tcp.SetLinger(0); _ = c.tcp.Close() },
		"vanishes": func(c *client) { _ = c.tcp.Close() }, // over TLS: without a word
	}
}

// Clients may go away at any stage of a request. Nothing is left of them, and no node is blamed.
func TestClientGoes(t *testing.T) {
	large := pattern(8 << 20)
	stages := []struct {
		name  string
		text  string
		until func(*rig, *client) // it leaves
	}{
		{"before anything", "", nil},
		{"in the head", "GET / HTTP/1.1\r\nHo", nil},
		{"after the head", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", nil},
		{"while it waits", "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n", atNode},
		{"while it waits after a body", "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", atNode},
		{"in the body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhello", atNode},
		{"in a chunked body", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", atNode},
		{"before the body that it asked for", "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", atNode},
		{"in the answer", "GET /large HTTP/1.1\r\nHost: x\r\n\r\n", answered},
		{"in a stream", "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n", answered},
		{"in a chunked answer", "GET /chunks HTTP/1.1\r\nHost: x\r\n\r\n", answered},
		{"in an upgrade", "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", answered},
		{"before the answer of an upgrade", "GET /wait HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", atNode},
		{"with another request behind", "GET /wait HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", nil},
	}
	serve := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/wait":
			_, _ = io.Copy(io.Discard, r.Body) // or net/http does not notice the end of the connection
			<-r.Context().Done()
		case "/large":
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			_, _ = w.Write(large)
		case "/chunks":
			_, _ = w.Write(large)
		case "/stream":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: x\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/upgrade":
			echoUpgrade(w, r)
		default:
			_, _ = io.Copy(io.Discard, r.Body)
		}
	}
	bothWays(t, func(t *testing.T, secure bool) {
		parts := map[string]func(*testing.T){}
		for _, stage := range stages {
			for how, leave := range leaves() {
				parts[stage.name+" "+how] = func(t *testing.T) {
					r := startRig(t, secure, routertest.StartNode(t, "a", serve))
					defer r.settle()
					for range 3 {
						c := r.dial(stage.text)
						if stage.until != nil {
							stage.until(r, c)
						}
						leave(c)
					}
					routertest.Eventually(t, "nothing is in flight", func() bool { return r.e.left() == "" })
					if n, route := r.e.nodeTraffic("a"), r.e.routeTraffic(); n.Reset+n.Timeout+n.Connect > 0 || route.Failed > 0 {
						t.Errorf("node %+v\nroute %+v", n, route)
					}
				}
			}
		}
		abreast(t, parts)
	})
}

// A client that has closed its sending side gets its answer as long as it can be told from one that is gone: with TLS's goodbye
// alone at any time, with the connection's half too while its upload is being read.
func TestHalfClosedClient(t *testing.T) {
	const (
		size = 24 << 20
		gone = 5 * time.Second      // so long has the answer to be there when the body has ended, on a busy machine too
		look = gone + 10*sweepEvery // by then it was looked whether the client is there
	)
	serve := func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(look) // all that the kernels on the way take is there by now, and more waits
		n, _ := io.Copy(io.Discard, r.Body)
		time.Sleep(3 * sweepEvery) // it is looked again
		_, _ = fmt.Fprint(w, n)
	}
	parts := map[string]func(*testing.T){}
	body := pattern(size)
	for _, tt := range []struct {
		name             string
		secure, tcp      bool // TLS; the connection's half is closed, too
		size             int
		lastRecordIsTiny bool
	}{
		{"goodbye while it waits", true, false, 0, false},
		{"goodbye in an upload", true, false, size, false},
		{"closed in an upload", false, true, size, false},
		{"goodbye and closed in an upload", true, true, size, false},
		{"goodbye and closed in an upload with a short end", true, true, size, true},
	} {
		parts[tt.name] = func(t *testing.T) {
			r := startRig(t, tt.secure, routertest.StartNode(t, "a", serve))
			defer r.settle()
			r.e.patience.gone = gone
			c := r.dial(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", tt.size))
			cut := tt.size
			if tt.lastRecordIsTiny {
				cut -= 2 // as long as a goodbye when it is sealed
			}
			_, _ = c.Conn.Write(body[:cut])
			_, _ = c.Conn.Write(body[cut:tt.size])
			if tt.secure {
				_ = c.Conn.(*tls.Conn).CloseWrite()
			}
			if tt.tcp {
				_ = c.tcp.CloseWrite()
			}
			c.want(200, fmt.Sprint(tt.size))
		}
	}
	abreast(t, parts)
}

// What waits from a TLS client that has closed its sending side is a goodbye, or something to be read.
func TestOnlyGoodbye(t *testing.T) {
	for name, tt := range map[string]struct {
		sent string
		want bool
	}{
		"nothing":                  {"", true},
		"an alert of TLS 1.2":      {"\x15\x03\x03\x00\x1a" + strings.Repeat("x", 26), true},
		"an alert of TLS 1.3":      {"\x17\x03\x03\x00\x13" + strings.Repeat("x", 19), true},
		"data":                     {"\x17\x03\x03\x00\x40" + strings.Repeat("x", 64), false},
		"data and an alert":        {"\x17\x03\x03\x00\x13" + strings.Repeat("x", 19) + "\x17\x03\x03\x00\x13" + strings.Repeat("x", 19), false},
		"half of a record's head":  {"\x17\x03", false},
		"half of a record's alert": {"\x15\x03\x03\x00\x1a" + "half", false},
	} {
		t.Run(name, func(t *testing.T) {
			c, peer := connTo(t)
			if _, err := io.WriteString(peer, tt.sent); err != nil {
				t.Fatal(err)
			}
			_ = peer.CloseWrite()
			routertest.Eventually(t, "the end came", func() bool { return ended(c.TCPConn, unix.POLLRDHUP) && waiting(c.raw) == len(tt.sent) })
			if got := onlyGoodbye(c.raw); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// atNode waits until the node has the request.
func atNode(r *rig, _ *client) {
	r.t.Helper()
	routertest.Eventually(r.t, "the node has it", func() bool { return r.e.nodeTraffic("a").InFlight == 1 })
}

// answered waits for the beginning of the answer.
func answered(r *rig, c *client) {
	r.t.Helper()
	if !readHead(c.r) {
		r.t.Fatal("no answer")
	}
}

// A client that goes between two tries of its request is not waited for by the second.
func TestClientGoesBetweenTries(t *testing.T) {
	first := make(chan net.Conn)
	node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
		if readHead(r) {
			first <- c
			<-first
		}
	})
	r := startRig(t, false, node)
	defer r.settle()
	r.e.cfg.NodeTimeout = time.Minute
	for range 5 {
		c := r.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		conn := <-first
		_ = c.tcp.Close()
		time.Sleep(sweepEvery) // that the sweep sees it somewhere around here is what is tried
		_ = conn.Close()
		first <- nil
		select {
		case conn = <-first:
			_ = conn
			first <- nil
		case <-time.After(3 * sweepEvery):
		}
		routertest.Eventually(t, "nothing is in flight", func() bool { return r.e.inFlight.Load() == 0 })
	}
}
