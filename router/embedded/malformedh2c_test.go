package embedded

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// A body that is malformed or ends early is the client's fault also when the node speaks h2c: 400, never 502, and no word against the
// node, which sees the stream break off.
func TestMalformedBodiesToH2C(t *testing.T) {
	const chunked, five, smuggled = "Transfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n", "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	tests := []struct {
		name, head string
		first      string // of the body, until the node has it
		rest       string
		ends       bool // the client says no more
		refused    bool // as malformed, and not as incomplete
	}{
		{"no size", chunked, five, "xyz\r\n" + smuggled, false, true},
		{"a negative size", chunked, five, "-5\r\nhello\r\n" + smuggled, false, true},
		{"a size beyond all", chunked, five, "8000000000000000\r\nhello" + smuggled, false, true},
		{"a bare line feed", chunked, five, "5\nhello\r\n" + smuggled, false, true},
		{"a chunk too long", chunked, five, "5\r\nhello!\r\n" + smuggled, false, true},
		{"a bad trailer", chunked, five, "0\r\nbad trailer\r\n\r\n" + smuggled, false, true},
		{"much, then no size", chunked, strings.Repeat("4000\r\n"+strings.Repeat("x", 0x4000)+"\r\n", 20), "xyz\r\n" + smuggled, false, true},
		{"chunks that end early", chunked, five, "5\r\nhe", true, false},
		{"no last chunk", chunked, five, "", true, false},
		{"too short", "Content-Length: 10\r\n\r\n", "hello", "", true, false},
		{"much too short", "Content-Length: 1000000\r\n\r\n", strings.Repeat("x", 300_000), "", true, false},
	}
	bothWays(t, func(t *testing.T, secure bool) {
		for _, tt := range tests {
			if secure && tt.ends {
				continue // the end of what is sent ends a TLS connection
			}
			t.Run(tt.name, func(t *testing.T) {
				var smuggle, requests atomic.Int64
				broken := make(chan error, 2)
				r := startRig(t, secure, h2cNode(t, "a", func(w http.ResponseWriter, q *http.Request) {
					requests.Add(1)
					if strings.Contains(q.URL.Path, "smuggled") {
						smuggle.Add(1)
					}
					_, err := io.Copy(io.Discard, q.Body)
					broken <- err
				}))
				defer r.settle()
				r.route.Nodes = router.NodeH2C
				r.route.Balance.EjectAfter = 1
				c := r.dial("POST / HTTP/1.1\r\nHost: x\r\n" + tt.head + tt.first)
				routertest.Eventually(t, "the node has it", func() bool { return requests.Load() == 1 })
				c.send(tt.rest)
				if tt.ends {
					_ = c.tcp.CloseWrite()
				}
				if res := c.want(400, "*"); !res.Close {
					t.Error("the connection is to stay")
				}
				c.end()
				if err := <-broken; err == nil {
					t.Error("the node took the body for whole")
				}
				routertest.Eventually(t, "it is over", func() bool { return r.e.inFlight.Load() == 0 })
				n, route := r.e.nodeTraffic("a"), r.e.routeTraffic()
				if n.Reset+n.Timeout+n.Connect+n.Status5x > 0 || n.Ejected || route.Failed+route.Retried+route.NoNode > 0 {
					t.Errorf("the node is blamed: %+v, route %+v", n, route)
				}
				if want := map[bool]uint64{true: 1}[tt.refused]; route.Rejected != want || !tt.refused && r.rejected("the request body is incomplete") != 1 {
					t.Errorf("route %+v, refused %v", route, r.e.reasons.read())
				}
				if requests.Load() != 1 || smuggle.Load() != 0 {
					t.Errorf("the node saw %d requests", requests.Load())
				}
			})
		}
	})
}

// What is said behind a body of a stated length is the next request, and refused for what it is.
func TestTooLongABodyToH2C(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		node := h2cNode(t, "a", func(w http.ResponseWriter, q *http.Request) { _, _ = io.Copy(w, q.Body) })
		r := startRig(t, secure, node)
		defer r.settle()
		r.route.Nodes = router.NodeH2C
		c := r.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello, world\r\n\r\n")
		c.want(200, "hello")
		if res := c.want(400, "*"); !res.Close {
			t.Error("the connection is to stay")
		}
		c.end()
		if n, route := r.e.nodeTraffic("a"), r.e.routeTraffic(); n.Requests != 1 || n.Reset+n.Timeout > 0 || route.Failed > 0 {
			t.Errorf("node %+v, route %+v", n, route)
		}
	})
}
