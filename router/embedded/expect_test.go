package embedded

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

const expecting = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"

// bodyNode reads heads, says first, reads the body if it is to, and answers with it.
func bodyNode(t *testing.T, first string, read bool) *routertest.TestNode {
	return rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
		for readHead(r) {
			_, _ = io.WriteString(c, first)
			if !read {
				continue
			}
			b := make([]byte, 5)
			if _, err := io.ReadFull(r, b); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"+string(b))
		}
	})
}

// What nodes may do with a client that waits for its body to be wanted.
func TestExpectations(t *testing.T) {
	tests := []struct {
		name     string
		node     func(*testing.T) *routertest.TestNode
		interims int // answers 100 before the other
		status   int
		body     string
	}{
		{"wants it", func(t *testing.T) *routertest.TestNode { return bodyNode(t, "HTTP/1.1 100 Continue\r\n\r\n", true) }, 1, 200, "hello"},
		{"wants it twice", func(t *testing.T) *routertest.TestNode {
			return bodyNode(t, strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 2), true)
		}, 1, 200, "hello"},
		{"does not know the question", func(t *testing.T) *routertest.TestNode { return bodyNode(t, "", true) }, 1, 200, "hello"},
		{"refuses", func(t *testing.T) *routertest.TestNode {
			return bodyNode(t, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno", false)
		}, 0, 417, "no"},
		{"needs nothing of it", func(t *testing.T) *routertest.TestNode {
			return bodyNode(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false)
		}, 0, 200, "ok"},
		{"goes away", func(t *testing.T) *routertest.TestNode { return rawNode(t, "a", resets("")) }, 0, 502, "*"},
	}
	bothWays(t, func(t *testing.T, secure bool) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				r := startRig(t, secure, tt.node(t))
				defer r.settle()
				r.e.patience.goOn = 200 * time.Millisecond
				c := r.dial(expecting)
				for interims := 0; ; interims++ {
					res, body, err := c.answer("POST")
					if err != nil {
						t.Fatal(err)
					}
					if res.StatusCode == 100 {
						c.send("hello")
						continue
					}
					if interims != tt.interims || res.StatusCode != tt.status || tt.body != "*" && body != tt.body {
						t.Fatalf("after %d interim answers %d %q", interims, res.StatusCode, body)
					}
					if (interims > 0) == res.Close {
						t.Errorf("%d interim answers, and the connection closes: %v", interims, res.Close)
					}
					break
				}
			})
		}
	})
}

// A client that does not wait to be asked.
func TestExpectationWithTheBodyAtOnce(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		r := startRig(t, secure, bodyNode(t, "", true))
		defer r.settle()
		c := r.dial("")
		for range 3 {
			c.send(expecting + "hello")
			c.want(200, "hello")
		}
	})
}

// The node's time to answer begins when the body has been sent, however long that took and whoever asked for it.
func TestLongUploadOfAnExpectingClient(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		for _, first := range []string{"", "HTTP/1.1 100 Continue\r\n\r\n"} {
			r := startRig(t, secure, bodyNode(t, first, true))
			r.e.patience.goOn = 200 * time.Millisecond
			c := r.dial(expecting)
			c.want(100, "")
			c.drip("hello", 3*sweepEvery)
			c.want(200, "hello")
			r.settle()
		}
	})
}

// A client that expects something else is told so before any node hears of it.
func TestUnknownExpectation(t *testing.T) {
	node := routertest.StartNode(t, "a", nil)
	r := startRig(t, false, node)
	defer r.settle()
	c := r.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: miracles\r\n\r\nhello")
	c.want(417, "*")
	c.end()
	if node.Seen.Load() != 0 || r.rejected("unknown expectation") != 1 {
		t.Error("it was not rejected")
	}
}

// A node that fails while the body of a client is on its way is at fault, not the client.
func TestNodeFailsDuringABody(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		for name, serve := range map[string]func(net.Conn, *bufio.Reader){
			"resets": func(c net.Conn, r *bufio.Reader) {
				if readHead(r) {
					time.Sleep(20 * time.Millisecond)
					_ = c.(*net.TCPConn).SetLinger(0)
				}
			},
			"closes": func(c net.Conn, r *bufio.Reader) {
				if readHead(r) {
					_, _ = r.ReadByte()
				}
			},
			"garbage": says("what?\r\n\r\n", false),
		} {
			t.Run(name, func(t *testing.T) {
				r := startRig(t, secure, rawNode(t, "a", serve))
				defer r.settle()
				c := r.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello")
				c.want(502, "*")
				if n, route := r.e.nodeTraffic("a"), r.e.routeTraffic(); n.Reset != 1 || route.Failed != 1 || route.Rejected != 0 {
					t.Errorf("node %+v, route %+v", n, route)
				}
			})
		}
	})
}
