package embedded

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

// cut as a status is an answer whose end is missing, and whose reader can tell.
const cut = -1

// says is a node that reads a request's head and then says text. It keeps the connection until the other end closes it,
// unless ends is set.
func says(text string, ends bool) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		for readHead(r) {
			_, _ = io.WriteString(c, text)
			if ends {
				return
			}
		}
	}
}

// resets is says with a reset as its end.
func resets(text string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		if readHead(r) {
			_, _ = io.WriteString(c, text)
			_ = c.(*net.TCPConn).SetLinger(0)
		}
	}
}

// What nodes may do wrong, and what their clients get.
func TestBadNodes(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\n"
	tests := []struct {
		name   string
		node   func(net.Conn, *bufio.Reader)
		status int
		body   string
	}{
		{"closes at once", func(net.Conn, *bufio.Reader) {}, 502, "*"},
		{"reads and closes", says("", true), 502, "*"},
		{"reads and resets", resets(""), 502, "*"},
		{"says nothing", says("", false), 504, "*"},
		{"garbage", says("\x00\x01\x02 what?\r\n\r\n", false), 502, "*"},
		{"no HTTP", says("<html>hello</html>\n", true), 502, "*"},
		{"another protocol", says("SSH-2.0-OpenSSH_9.2\r\n", false), 502, "*"},
		{"HTTP/2", says("HTTP/2.0 200 OK\r\n\r\n", false), 502, "*"},
		{"half a head", says(head+"Content-Le", true), 502, "*"},
		{"half a head, then nothing", says(head+"Content-Le", false), 504, "*"},
		{"a head too large", says(head+"X: "+strings.Repeat("x", 70<<10)+"\r\n\r\n", false), 502, "*"},
		{"two lengths", says(head+"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", false), 502, "*"},
		{"a length and chunks", says(head+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false), 502, "*"},
		{"a negative length", says(head+"Content-Length: -5\r\n\r\nhello", false), 502, "*"},
		{"an unknown encoding", says(head+"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false), 502, "*"},
		{"a folded field", says(head+"X: a\r\n b\r\nContent-Length: 0\r\n\r\n", false), 502, "*"},
		{"bare line feeds", says("HTTP/1.1 200 OK\nContent-Length: 0\n\n", false), 502, "*"},
		{"a status of two digits", says("HTTP/1.1 20 OK\r\n\r\n", false), 502, "*"},
		{"an upgrade that nobody asked for", says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", false), 502, "*"},
		{"too short a body", says(head+"Content-Length: 10\r\n\r\nhello", true), cut, "hello"},
		{"too short a body, with a reset", resets(head + "Content-Length: 10\r\n\r\nhello"), cut, "*"},
		{"a body that stops", says(head+"Content-Length: 10\r\n\r\nhello", false), cut, "hello"},
		{"a chunked body that ends early", says(head+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true), cut, "hello"},
		{"a chunked body that stops", says(head+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false), cut, "hello"},
		{"half a chunk", says(head+"Transfer-Encoding: chunked\r\n\r\na\r\nhello", true), cut, "hello"},
		{"a malformed chunk", says(head+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n", false), cut, "hello"},
		{"a body up to a reset", resets(head + "\r\nhello"), cut, "*"},
		{"too much body", says(head+"Content-Length: 5\r\n\r\nhello, world", false), 200, "hello"},
		{"two answers", says(head+"Content-Length: 1\r\n\r\na"+head+"Content-Length: 1\r\n\r\nb", false), 200, "a"},
		{"a body where none may be", says("HTTP/1.1 204 No Content\r\n\r\nhello", false), 204, ""},
		{"a length where none may be", says("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false), 204, ""},
		{"a length of what was not modified", says("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nTransfer-Encoding\r\n\r\n", false), 502, "*"},
		{"not modified", says("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false), 304, ""},
		{"no reason", says("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", false), 200, "ok"},
		{"HTTP/1.0 up to the end", says("HTTP/1.0 200 OK\r\n\r\nhello", true), 200, "hello"},
		{"HTTP/1.0 with a length", says("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", false), 200, "hello"},
		{"HTTP/1.0 that stays", says("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", false), 200, "hello"},
		{"up to the end", says(head+"\r\nhello", true), 200, "hello"},
		{"interim answers", says(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 50)+head+"Content-Length: 2\r\n\r\nok", false), 200, "ok"},
		{"a continue that nobody asked for", says("HTTP/1.1 100 Continue\r\n\r\n"+head+"Content-Length: 2\r\n\r\nok", false), 200, "ok"},
		{"interim answers without end", func(c net.Conn, r *bufio.Reader) {
			for readHead(r); ; {
				if _, err := io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
					return
				}
			}
		}, 504, "*"},
		{"closes without saying so", says(head+"Content-Length: 2\r\n\r\nok", true), 200, "ok"},
	}
	bothWays(t, func(t *testing.T, secure bool) {
		parts := map[string]func(*testing.T){}
		for _, tt := range tests {
			parts[tt.name] = func(t *testing.T) {
				r := startRig(t, secure, rawNode(t, "a", tt.node))
				defer r.settle()
				switch tt.status {
				case 504:
					r.e.cfg.NodeTimeout = 300 * time.Millisecond
				case cut:
					r.e.patience.silent = 300 * time.Millisecond
				}
				c := r.dial("")
				for i := range 2 {
					c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
					if !c.holds(tt.status, tt.body) {
						break
					}
					if i == 1 && tt.status < 500 {
						break
					}
					if tt.status >= 500 {
						r.e.mustApply(t, routertest.TableOf(uint64(i+2), r.route)) // the same again: the client's connection stays
					}
				}
				r.holdsCounts(tt.status)
			}
		}
		abreast(t, parts)
	})
}

// holds reads an answer, after interim ones, and says whether the connection can have another one.
func (c *client) holds(status int, body string) bool {
	c.t.Helper()
	for {
		res, got, err := c.answer("GET")
		switch {
		case status == cut && res == nil && body == "*":
			return false // the reset overtook what was sent before
		case res == nil:
			c.t.Fatalf("no answer: %v, want %d", err, status)
		case res.StatusCode < 200 && res.StatusCode != 101:
			continue
		case status == cut && err == nil:
			c.t.Fatalf("an answer %d %q that looks whole", res.StatusCode, got)
		case status == cut && (body == "*" || strings.HasPrefix(body, got)):
			return false
		case err != nil || res.StatusCode != status || body != "*" && got != body:
			c.t.Fatalf("%d %q, %v; want %d %q", res.StatusCode, got, err, status, body)
		}
		return !res.Close
	}
}

// holdsCounts checks that the node's fault was counted as such, once for each request.
func (r *rig) holdsCounts(status int) {
	r.t.Helper()
	routertest.Eventually(r.t, "nothing is in flight", func() bool { return r.e.inFlight.Load() == 0 })
	n, route := r.e.nodeTraffic("a"), r.e.routeTraffic()
	failed := uint64(0)
	if status == cut || status == 502 || status == 504 {
		failed = route.Requests
	}
	if route.Failed != failed || route.Rejected != 0 || failed > 0 && n.Reset+n.Timeout < failed {
		r.t.Errorf("node %+v\nroute %+v, want %d failed", n, route, failed)
	}
	if status == 504 && n.Timeout != route.Requests {
		r.t.Errorf("%d of %d counted as late", n.Timeout, route.Requests)
	}
}

// A node may reset its connection after any byte of its answer.
func TestNodeResetsAtEachByte(t *testing.T) {
	const whole = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	bothWays(t, func(t *testing.T, secure bool) {
		at := make(chan int, 1)
		node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
			if readHead(r) {
				_, _ = io.WriteString(c, whole[:<-at])
				_ = c.(*net.TCPConn).SetLinger(0)
			}
		})
		r := startRig(t, secure, node)
		defer r.settle()
		for n := range len(whole) {
			at <- n
			c := r.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
			res, body, err := c.answer("POST")
			switch {
			case res == nil && n <= strings.Index(whole, "\r\n\r\n")+3:
				t.Errorf("%d bytes: no answer: %v", n, err)
			case res != nil && res.StatusCode == 502 && err == nil:
			case err == nil:
				t.Errorf("%d bytes: %d %q looks whole", n, res.StatusCode, body)
			}
			_ = c.Close()
		}
		if route := r.e.routeTraffic(); route.Failed != uint64(len(whole)) {
			t.Errorf("%+v, want %d failed", route, len(whole))
		}
	})
}

// HEAD has an answer without a body, whatever the node says of its length.
func TestHeadAnswers(t *testing.T) {
	for name, head := range map[string]string{
		"length": "Content-Length: 100\r\n\r\n", "chunks": "Transfer-Encoding: chunked\r\n\r\n", "nothing": "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := startRig(t, false, rawNode(t, "a", says("HTTP/1.1 200 OK\r\n"+head, false)))
			defer r.settle()
			c := r.dial("")
			for range 3 {
				c.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
				res, body, err := c.answer(http.MethodHead)
				if err != nil || res.StatusCode != 200 || body != "" {
					t.Fatalf("%v %q %v", res, body, err)
				}
				if name == "length" && res.ContentLength != 100 {
					t.Errorf("length %d", res.ContentLength)
				}
			}
		})
	}
}

// An HTTP/1.0 client gets what any node says, framed by a length or the connection's end.
func TestOldClients(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\n"
	for name, tt := range map[string]struct {
		node   func(net.Conn, *bufio.Reader)
		stays  bool
		broken bool
	}{
		"length":           {says(head+"Content-Length: 5\r\n\r\nhello", false), true, false},
		"chunks":           {says(head+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n", false), false, false},
		"end":              {says(head+"\r\nhello", true), false, false},
		"interim":          {says("HTTP/1.1 103 Early Hints\r\n\r\n"+head+"Content-Length: 5\r\n\r\nhello", false), true, false},
		"broken chunks":    {says(head+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true), false, true},
		"malformed chunks": {says(head+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nq", true), false, true},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", secure), func(t *testing.T) {
				r := startRig(t, secure, rawNode(t, "a", tt.node))
				defer r.settle()
				c := r.dial("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
				b := new(strings.Builder)
				if tt.stays {
					for range 2 {
						res := c.want(200, "hello")
						if res.Close || res.ProtoAtLeast(1, 1) && res.Header.Get("Connection") != "keep-alive" {
							t.Errorf("%+v", res)
						}
						c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
					}
					return
				}
				_, err := io.Copy(b, c.r)
				if (err != nil) != tt.broken || strings.Contains(strings.ToLower(b.String()), "chunked") {
					t.Errorf("%q, %v", b, err)
				}
				if _, body, _ := strings.Cut(b.String(), "\r\n\r\n"); body != "hello" && !tt.broken {
					t.Errorf("body %q", body)
				}
			})
		}
	}
}

// A node that answers before it was told everything is believed; what it did not want is not forced on it.
func TestEarlyAnswers(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
			if readHead(r) {
				_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
				time.Sleep(50 * time.Millisecond)
			}
		})
		r := startRig(t, secure, node)
		defer r.settle()
		c := r.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
		go func() {
			for piece := string(pattern(64 << 10)); ; {
				if _, err := io.WriteString(c.Conn, piece); err != nil {
					return
				}
			}
		}()
		c.want(413, "no")
		if n := r.e.nodeTraffic("a"); n.Reset+n.Timeout > 0 {
			t.Errorf("%+v", n)
		}
	})
}

// An answer that ends with its connection is broken off by a reset, also when it is a write of the request's body that is told
// of the reset.
func TestResetIsNoEnd(t *testing.T) {
	node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
		if readHead(r) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nhello")
			_ = c.(*net.TCPConn).SetLinger(0)
		}
	})
	r := startRig(t, false, node)
	defer r.settle()
	for i := range 300 {
		c := r.dial("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
		go c.drip(strings.Repeat("1\r\nx\r\n", 3)+"0\r\n\r\n", time.Duration(i)*time.Microsecond)
		res, body, err := c.answer("POST")
		if res != nil && res.StatusCode == 200 && err == nil {
			t.Fatalf("%q looks whole", body)
		}
		_ = c.Conn.Close()
	}
}

// One that ends in order is whole, though the node then resets what is still sent to it.
func TestEndBeforeAReset(t *testing.T) {
	node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
		if readHead(r) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nhello")
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = r.ReadByte()
			_ = c.(*net.TCPConn).SetLinger(0)
		}
	})
	r := startRig(t, false, node)
	defer r.settle()
	for i := range 300 {
		c := r.dial("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
		go c.drip(strings.Repeat("1\r\nx\r\n", 3)+"0\r\n\r\n", time.Duration(i)*time.Microsecond)
		if res, body, err := c.answer("POST"); err != nil || res.StatusCode != 200 || body != "hello" {
			t.Fatalf("%d: %+v %q %v", i, res, body, err)
		}
		_ = c.Conn.Close()
	}
}
