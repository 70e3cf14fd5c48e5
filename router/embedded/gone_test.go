package embedded

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

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
