package embedded

import (
	"bufio"
	"bytes"
	"io"
	"math"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

// Requests over HTTP/1.1 on connections that are kept cost no allocation. All that allocates in this process is counted, so the node
// and the client allocate nothing either.
func TestNoAllocationARequest(t *testing.T) {
	const (
		warm, requests = 500, 4000
		get            = "GET /path?query=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b; c=d\r\n\r\n"
		post           = "POST /path HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"
		lengthAnswer   = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
		chunkedAnswer  = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	)
	limit := 0.05 // what runs beside: the sweep, the runtime
	if raceDetector {
		limit = 3 // sync.Pool drops a part of what it is given
	}
	for name, tt := range map[string]struct{ request, answer, last string }{
		"GET":            {get, lengthAnswer, "\r\n\r\nhello"},
		"POST":           {post, lengthAnswer, "\r\n\r\nhello"},
		"chunked answer": {get, chunkedAnswer, "\r\n0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t, nil)
			listen := e.serveNodes(t, frugalNode(t, []byte(tt.request[len(tt.request)-4:]), []byte(tt.answer)))
			c, err := net.Dial("tcp", listen)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			request, last, b := []byte(tt.request), []byte(tt.last), make([]byte, 4<<10)
			ask := func(n int) {
				for range n {
					if _, err := c.Write(request); err != nil {
						t.Fatal(err)
					}
					readUntil(c, last, b)
				}
			}
			ask(warm)
			each := math.Inf(1)
			for round := 0; round < 3 && each > limit; round++ { // what an earlier test left may still be ending
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				ask(requests)
				runtime.ReadMemStats(&after)
				each = min(each, float64(after.Mallocs-before.Mallocs)/requests)
			}
			if each > limit {
				t.Errorf("%.2f allocations a request, at most %.2f", each, limit)
			}
			if r := e.routeTraffic(); r.Requests < warm+requests || r.Failed > 0 {
				t.Errorf("route %+v", r)
			}
		})
	}
}

// frugalNode answers each request that ends with last, and allocates nothing for it.
func frugalNode(t *testing.T, last, answer []byte) *routertest.TestNode {
	return rawNode(t, "a", func(c net.Conn, _ *bufio.Reader) {
		for b := make([]byte, 4<<10); readUntil(c, last, b); {
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
}

// readUntil reads to what ends with last, and says whether it came.
func readUntil(r io.Reader, last, b []byte) bool {
	for n := 0; ; {
		m, err := r.Read(b[n:])
		if n += m; bytes.HasSuffix(b[:n], last) {
			return true
		}
		if err != nil {
			return false
		}
	}
}
