package embedded

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

// drip sends text one byte at a time until the other end has enough of it.
func (c *client) drip(text string, every time.Duration) {
	for i := range len(text) {
		if _, err := io.WriteString(c.Conn, text[i:i+1]); err != nil {
			return
		}
		time.Sleep(every)
	}
}

// A head that trickles in is refused when its time is over, however steadily it comes.
func TestSlowHead(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		node := routertest.StartNode(t, "a", nil)
		r := startRig(t, secure, node)
		defer r.settle()
		r.e.patience.head = 500 * time.Millisecond
		var wait sync.WaitGroup
		defer wait.Wait()
		whole := "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 1000)
		for _, begun := range []int{1, 16, 25} {
			c := r.dial(whole[:begun])
			wait.Go(func() { c.drip(whole[begun:], 20*time.Millisecond) })
			if res := c.want(408, "*"); !res.Close {
				t.Error("the connection is to stay")
			}
		}
		if n := r.rejected("the head of the request took too long"); n != 3 || node.Seen.Load() != 0 {
			t.Errorf("%d rejections, node saw %d", n, node.Seen.Load())
		}
	})
}

// A connection on which nothing of a request comes ends without an answer.
func TestIdleConnectionEnds(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		r := startRig(t, secure, routertest.StartNode(t, "a", nil))
		defer r.settle()
		r.e.cfg.IdleTimeout = 200 * time.Millisecond
		r.dial("").end()
		c := r.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		c.want(200, "a")
		c.end()
	})
}

// A handshake that is never made ends too.
func TestSlowHandshake(t *testing.T) {
	r := startRig(t, true, routertest.StartNode(t, "a", nil))
	defer r.settle()
	r.e.patience.handshake = 300 * time.Millisecond
	r.serve()
	c, err := net.Dial("tcp", r.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte{22, 3, 1, 0})
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
	routertest.Eventually(t, "it is counted", func() bool { return r.rejected("tls handshake") == 1 })
}

// A body that stops coming ends the request, and with it the node's part.
func TestBodyThatStops(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		var left atomic.Int64
		node := routertest.StartNode(t, "a", func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				left.Add(1)
			}
		})
		r := startRig(t, secure, node)
		defer r.settle()
		r.e.patience.stall = 500 * time.Millisecond
		var clients []*client
		for _, text := range []string{
			"Content-Length: 100\r\n\r\nbegun", "Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nbe",
			"Transfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n",
		} {
			clients = append(clients, r.dial("POST / HTTP/1.1\r\nHost: x\r\n"+text))
		}
		for _, c := range clients {
			c.want(408, "*")
			c.end()
		}
		routertest.Eventually(t, "the node's part ended", func() bool { return left.Load() == int64(len(clients)) })
		if n, route := r.e.nodeTraffic("a"), r.e.routeTraffic(); n.Reset+n.Timeout > 0 || route.Failed > 0 {
			t.Errorf("node %+v, route %+v", n, route)
		}
	})
}

// A body that goes on slowly is fine for as long as it takes.
func TestSlowBody(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		r := startRig(t, secure, routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
		}))
		defer r.settle()
		r.e.cfg.NodeTimeout = time.Second // counts from the body's end
		c := r.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n")
		c.drip("01234567890123456789", 75*time.Millisecond)
		c.want(200, "01234567890123456789")
		c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\nExpect: 100-continue\r\n\r\n")
		if res, _, err := c.answer("POST"); err != nil || res.StatusCode != 100 {
			t.Fatalf("%v, %v", res, err)
		}
		c.drip("01234567890123456789", 75*time.Millisecond)
		c.want(200, "01234567890123456789")
	})
}

// The same with nodes that speak h2c: the time for the answer counts from the body's end, and does end.
func TestSlowBodyOverH2C(t *testing.T) {
	r := startRig(t, false, h2cNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/never" {
			<-r.Context().Done()
		}
		_, _ = w.Write(b)
	}))
	defer r.settle()
	r.route.Nodes = "h2c"
	r.e.cfg.NodeTimeout = time.Second
	c := r.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n")
	c.drip("01234567890123456789", 75*time.Millisecond)
	c.want(200, "01234567890123456789")
	c = r.dial("POST /never HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
	c.drip("hello", 10*time.Millisecond)
	c.want(504, "*")
}

// A node that speaks h2c and falls silent in the middle of an answer is given up.
func TestSilentAnswerOverH2C(t *testing.T) {
	left := make(chan struct{})
	r := startRig(t, false, h2cNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(left)
	}))
	defer r.settle()
	r.route.Nodes = "h2c"
	r.e.patience.silent = 300 * time.Millisecond
	c := r.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if res, body, err := c.answer("GET"); err == nil {
		t.Errorf("half an answer looked whole: %v, %q", res, body)
	}
	<-left
	if n := r.e.nodeTraffic("a"); n.Timeout != 1 {
		t.Errorf("node %+v", n)
	}
}

// bigAnswer is a node that answers with n bytes of the pattern as fast as it can.
func bigAnswer(t *testing.T, n int, chunked bool) *routertest.TestNode {
	body := pattern(n)
	return routertest.StartNode(t, "a", func(w http.ResponseWriter, _ *http.Request) {
		if !chunked {
			w.Header().Set("Content-Length", fmt.Sprint(n))
		}
		_, _ = w.Write(body)
	})
}

// A client that stops reading in the middle of an answer is let go, and is no fault of the node.
func TestClientThatStopsReading(t *testing.T) {
	parts := map[string]func(*testing.T){}
	for i := range 4 {
		secure, chunked := i&1 > 0, i&2 > 0
		parts[fmt.Sprintf("tls %v, chunked %v", secure, chunked)] = func(t *testing.T) {
			r := startRig(t, secure, bigAnswer(t, 64<<20, chunked))
			defer r.settle()
			r.e.patience.stall = 500 * time.Millisecond
			c := r.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			routertest.Eventually(t, "it is under way", func() bool { return r.e.inFlight.Load() == 1 })
			routertest.Eventually(t, "it is over", func() bool { return r.e.inFlight.Load() == 0 })
			if _, _, err := c.answer("GET"); err == nil {
				t.Error("the answer looks whole")
			}
			if n, route := r.e.nodeTraffic("a"), r.e.routeTraffic(); n.Reset+n.Timeout > 0 || route.Failed > 0 {
				t.Errorf("node %+v, route %+v", n, route)
			}
		}
	}
	abreast(t, parts)
}

// A client that reads slowly gets all of its answer, though any one large part of it takes longer than the patience for one
// in which nothing moves.
func TestSlowReader(t *testing.T) {
	const size = 12 << 20
	want := pattern(size)
	bothWays(t, func(t *testing.T, secure bool) {
		r := startRig(t, secure, bigAnswer(t, size, false))
		defer r.settle()
		r.e.patience.stall = time.Second
		c := r.dial("")
		_ = c.tcp.SetReadBuffer(512 << 10)
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		res, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1<<20)
		for at := 0; at < size; at += len(got) {
			time.Sleep(300 * time.Millisecond)
			if _, err := io.ReadFull(res.Body, got); err != nil {
				t.Fatalf("after %d bytes: %v, %+v", at, err, r.logged())
			}
			if string(got) != string(want[at:at+len(got)]) {
				t.Fatalf("other bytes after %d", at)
			}
		}
	})
}

// A node that stops in the middle of a large answer is given up, also where the kernel moves the bytes.
func TestNodeThatStopsInALargeAnswer(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
			if readHead(r) {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
				_, _ = c.Write(pattern(1 << 20))
				_, _ = io.Copy(io.Discard, r)
			}
		})
		r := startRig(t, secure, node)
		defer r.settle()
		r.e.patience.silent = 500 * time.Millisecond
		c := r.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, body, err := c.answer("GET"); err == nil || len(body) > 1<<20 {
			t.Errorf("%d bytes, %v", len(body), err)
		}
		if route := r.e.routeTraffic(); route.Failed != 1 {
			t.Errorf("%+v", route)
		}
	})
}
