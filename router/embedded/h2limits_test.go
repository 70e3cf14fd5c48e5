package embedded

import (
	"bytes"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/bootandshoot/release/router/embedded/http1"
	"github.com/bootandshoot/release/router/routertest"
)

// A client that resets streams as fast as it can does not make the router do more than a bounded number of things at once, and
// others are served meanwhile. [CVE-2023-44487]
func TestH2RapidReset(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		r := startRig(t, secure, routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-r.Context().Done()
			}
		}))
		defer r.settle()
		r.serve()
		before := runtime.NumGoroutine()
		const attackers = 3
		ended := make(chan int, attackers)
		for range attackers {
			c := r.h2(1 << 16)
			go func() { _, _ = io.Copy(io.Discard, c.conn) }()
			go func() {
				sent := 0
				for id := uint32(1); id < 1_600_000; id += 2 {
					c.request(id, "GET", "/slow", true)
					if err := c.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
						break
					}
					sent++
				}
				ended <- sent
			}()
		}
		most := 0
		for left := attackers; left > 0; {
			select {
			case sent := <-ended:
				left--
				if sent > 600_000 {
					t.Errorf("ended after %d resets", sent)
				}
			default:
				most = max(most, runtime.NumGoroutine()-before)
				start := time.Now()
				c := r.dial("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				c.want(200, "")
				if took := time.Since(start); took > 10*time.Second {
					t.Errorf("another client waited %s", took)
				}
				_ = c.Conn.Close()
			}
		}
		// Each stream has its handler; each of them a connection to the node, whose server has two goroutines for it.
		if limit := attackers*maxStreams*5 + 100; most > limit {
			t.Errorf("%d goroutines more, at most %d", most, limit)
		}
		hasty, other := r.rejected("rapid reset"), r.rejected("http2 connection error")
		if hasty == 0 || hasty+other < attackers {
			t.Errorf("%d connections are counted as ended for their resets, %d as ended by net/http", hasty, other)
		}
		t.Logf("%d goroutines more; %d ended here, %d by net/http", most, hasty, other)
	})
}

// A head that never ends is not collected. [CVE-2024-27316]
func TestH2ContinuationFlood(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		node := routertest.StartNode(t, "a", nil)
		r := startRig(t, secure, node)
		defer r.settle()
		c := r.h2(1 << 16)
		c.block.Reset()
		_ = c.enc.WriteField(hpack.HeaderField{Name: ":method", Value: "GET"})
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block.Bytes()})
		answered := make(chan bool, 1)
		go func() { // reads only: the other side of the framer is in use
			for {
				frame, err := c.ReadFrame()
				if _, ok := frame.(*http2.MetaHeadersFrame); ok || err != nil {
					answered <- ok
					return
				}
			}
		}()
		piece := bytes.Repeat([]byte{0x40, 1, 'x', 1, 'y'}, 3000)
		sent := 0
		for range 10_000 {
			if err := c.WriteContinuation(1, false, piece); err != nil {
				break
			}
			sent += len(piece)
		}
		if sent > 20<<20 {
			t.Errorf("%d bytes were taken", sent)
		}
		if <-answered {
			t.Error("it was answered")
		}
		if node.Seen.Load() > 0 {
			t.Error("the node saw it")
		}
		if n := r.rejected("http2 connection error"); n != 1 {
			t.Errorf("it is counted %d times", n)
		}
	})
}

// A head that is too large is refused and counted as over HTTP/1.1, if it is not so large that net/http ends its connection.
func TestH2LargeHead(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		node := routertest.StartNode(t, "a", nil)
		r := startRig(t, secure, node)
		defer r.settle()
		c := r.h2(1 << 16)
		for i, tt := range []struct{ size, status, refused int }{
			{http1.MaxHead - 1024, 200, 0}, {http1.MaxHead, 431, 1}, {http1.MaxHead + h2Frame/2, 431, 2},
		} {
			id := uint32(2*i + 1)
			c.block.Reset()
			for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/"}} {
				_ = c.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
			}
			for left := tt.size; left > 0; left -= 8 << 10 {
				_ = c.enc.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("~", min(left, 8<<10)), Sensitive: true})
			}
			c.head(id, c.block.Bytes())
			if status, _, how := c.outcome(id); status != tt.status || how != "end" {
				t.Errorf("%d bytes: %d %s, want %d", tt.size, status, how, tt.status)
			}
			if n := r.rejected("head too large"); n != uint64(tt.refused) {
				t.Errorf("after %d bytes: %d are counted, want %d", tt.size, n, tt.refused)
			}
		}
		if n := node.Seen.Load(); n != 1 {
			t.Errorf("the node saw %d", n)
		}
	})
}
