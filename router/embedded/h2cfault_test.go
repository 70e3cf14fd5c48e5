package embedded

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// What nodes do wrong shows over h2 too.
func TestBadNodesOverH2(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\n"
	for name, tt := range map[string]struct {
		text   string
		ends   bool
		status int
		body   string
		how    string
	}{
		"nothing":              {"", true, 502, "*", "end"},
		"garbage":              {"what?\r\n\r\n", false, 502, "*", "end"},
		"half a head":          {head + "Con", true, 502, "*", "end"},
		"half a body":          {head + "Content-Length: 10\r\n\r\nhello", true, 200, "hello", "reset"},
		"a body up to the end": {head + "\r\nhello", true, 200, "hello", "end"},
		"half a chunk":         {head + "Transfer-Encoding: chunked\r\n\r\n9\r\nhello", true, 200, "hello", "reset"},
		"a malformed chunk":    {head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz", false, 200, "hello", "reset"},
		"trailers":             {head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\nContent-Length: 7\r\n\r\n", false, 200, "hello", "end"},
		"hop by hop":           {head + "Connection: close, X\r\nX: y\r\nKeep-Alive: 5\r\nUpgrade: z\r\nContent-Length: 5\r\n\r\nhello", true, 200, "hello", "end"},
		"interim":              {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + head + "Content-Length: 5\r\n\r\nhello", false, 200, "hello", "end"},
		"unasked upgrade":      {switching, false, 502, "*", "end"},
		"no content":           {"HTTP/1.1 204 No Content\r\n\r\n", false, 204, "", "end"},
		"not modified":         {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, 304, "", "end"},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRig(t, false, rawNode(t, "a", says(tt.text, tt.ends)))
			defer r.settle()
			c := r.h2(1 << 20)
			c.request(1, "GET", "/", true)
			if status, body, how := c.outcome(1); status != tt.status || tt.body != "*" && body != tt.body || how != tt.how {
				t.Errorf("%d %q %s; want %d %q %s", status, body, how, tt.status, tt.body, tt.how)
			}
		})
	}
}

// An answer of an h2c node that comes before the end of a body from an HTTP/1.1 client: what the client sends next is not taken
// for more of that body.
func TestEarlyAnswerOfAnH2CNode(t *testing.T) {
	node := h2cNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			w.WriteHeader(413)
			return
		}
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	})
	r := startRig(t, false, node)
	defer r.settle()
	r.route.Nodes = "h2c"
	for range 20 {
		c := r.dial("POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello")
		c.want(413, "")
		c.send("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
		if b, err := io.ReadAll(c.r); len(b) > 0 {
			t.Fatalf("%q, %v", b, err)
		}
	}
	c := r.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
	c.drip("hello", time.Millisecond)
	c.want(200, "hello")
}

// Interim answers to streams that are reset at that moment: nothing is written while it is read.
func TestH2ResetDuringInterimAnswers(t *testing.T) {
	node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
		for readHead(r) {
			for range 20 {
				_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-A: b\r\nX-C: d\r\n\r\n")
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-E: f\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	r := startRig(t, false, node)
	defer r.settle()
	c := r.h2(1 << 16)
	go func() { _, _ = io.Copy(io.Discard, c.conn) }()
	for id := uint32(1); id < 3000; id += 2 {
		c.request(id, "GET", "/", true)
		for deadline := time.Now().Add(time.Duration(id%7) * 50 * time.Microsecond); time.Now().Before(deadline); {
			runtime.Gosched()
		}
		_ = c.WriteRSTStream(id, http2.ErrCodeCancel)
	}
}

// Answers of an h2c node that are legal, and a status that is none: neither harms anybody else.
func TestStatusOfAnH2CNode(t *testing.T) {
	node := rawNode(t, "a", serveStatuses)
	r := startRig(t, false, node)
	defer r.settle()
	r.route.Nodes = "h2c"
	for path, want := range map[string]int{"/304": 304, "/204": 204, "/-100": 502, "/42": 502, "/99999": 502} {
		c := r.dial("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
		c.want(want, "*")
	}
}

// What a client sends does not make its node look bad: a request that is too large with what is added to it, names of trailers that are none.
func TestNodeIsNotBlamedForClients(t *testing.T) {
	r := startRig(t, false, h2cNode(t, "a", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer r.settle()
	r.route.Nodes = "h2c"
	c := r.dial("GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 199) + "\r\n")
	c.want(431, "*")
	c = r.dial("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: a b, X-Sum\r\n\r\n5\r\nhello\r\n")
	c.send("0\r\n\r\n")
	c.want(200, "")
	if n := r.e.nodeTraffic("a"); n.Reset+n.Timeout > 0 || n.Ejected {
		t.Errorf("node %+v", n)
	}
}

// A head that is larger than its node takes is the client's: the node never has it.
func TestHeadTooLargeForAnH2CNode(t *testing.T) {
	node := h2cServer(t, "a", &http.Server{MaxHeaderBytes: 4 << 10, Handler: http.NotFoundHandler()})
	bothWays(t, func(t *testing.T, secure bool) {
		r := startRig(t, secure, node)
		defer r.settle()
		r.route.Nodes = "h2c"
		c := r.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		c.want(404, "*") // with it comes what the node takes
		for i, head := range []string{"GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nContent-Length: 5\r\n"} {
			c = r.dial(head + "Host: x\r\nX: " + strings.Repeat("y", 8<<10) + "\r\n\r\nhello"[:4+5*i])
			c.want(431, "head too large for the node\n")
		}
		if n, route := r.e.nodeTraffic("a"), r.e.routeTraffic(); n.Reset+n.Timeout > 0 || n.Requests != 1 || route.Failed > 0 || route.Rejected != 2 {
			t.Errorf("node %+v, route %+v", n, route)
		}
		if n := r.rejected("head too large for the node"); n != 2 {
			t.Errorf("%d are counted", n)
		}
	})
}
