package embedded

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/embedded/http1"
	"github.com/bootandshoot/release/router/routertest"
)

// malformed are requests of the kinds by which two servers were made to read the same bytes differently, and plainly broken
// ones. Package http1 has all of them; these are one or two of each kind.
var malformed = []string{
	// Two ways to say where a body ends.
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n",
	"OPTIONS / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	// Disguises of Transfer-Encoding.
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n",
	// Disguises of Content-Length.
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello",
	// Whose request it is.
	"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
	"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
	// The first line.
	"GET /\r\n", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n", "GET / http/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
	"GE\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	// Fields.
	"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nTrailer: Content-Length\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 200) + "\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 64<<10) + "\r\n\r\n",
	"GET /" + strings.Repeat("x", 16<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", strings.Repeat("X", 65) + " / HTTP/1.1\r\nHost: a\r\n\r\n",
	// Chunks that are here with the head.
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\n=b\r\nhello\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8000000000000000\r\nhello",
}

// refusal is what package http1 says of a request and of what follows its head.
func refusal(t *testing.T, text string) *http1.Error {
	t.Helper()
	var h http1.Head
	n, err := http1.ParseRequest([]byte(text), &h)
	if err == nil && h.Length == http1.Chunked {
		err = new(http1.ChunkReader).Peek([]byte(text[n:]))
	}
	var refused *http1.Error
	if !errors.As(err, &refused) {
		t.Fatalf("%.60q is not refused: %v", text, err)
	}
	return refused
}

// What is malformed is answered for what it is, once; the connection ends, nothing of it reaches a node, and it is counted.
func TestMalformedRequests(t *testing.T) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	parts := map[string]func(*testing.T){}
	for i := range 4 {
		secure, dripped := i&1 > 0, i&2 > 0
		parts[map[bool]string{false: "plain", true: "tls"}[secure]+map[bool]string{false: "", true: ", in pieces"}[dripped]] = func(t *testing.T) {
			var connections atomic.Int64
			node := rawNode(t, "a", func(net.Conn, *bufio.Reader) { connections.Add(1) })
			if dripped { // then chunks come when the request is under way
				node = routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					if strings.Contains(r.URL.Path, "smuggled") {
						connections.Add(1)
					}
				})
			}
			r := startRig(t, secure, node)
			defer r.settle()
			for _, text := range malformed {
				refused := refusal(t, text)
				before := r.rejected(refused.Reason)
				c := r.dial("")
				if pieces := text + smuggled; dripped && len(text) < 200 {
					go c.drip(pieces, 100*time.Microsecond)
				} else {
					go c.send(pieces)
				}
				res, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Errorf("%.80q: %v", text, err)
					continue
				}
				_, _ = io.Copy(io.Discard, res.Body)
				if res.StatusCode != refused.Status || !res.Close {
					t.Errorf("%.80q: %d, closes %v; want %d (%s)", text, res.StatusCode, res.Close, refused.Status, refused.Reason)
				}
				c.end()
				if n := r.rejected(refused.Reason) - before; n != 1 {
					t.Errorf("%.80q: counted %d times as %q", text, n, refused.Reason)
				}
			}
			if n := connections.Load(); n != 0 {
				t.Errorf("the node got %d", n)
			}
		}
	}
	abreast(t, parts)
}

// A chunk that turns out malformed when others are with the node already: 400, and the node sees the request break off.
func TestMalformedLaterChunks(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		broken := make(chan error, 1)
		node := routertest.StartNode(t, "a", func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			broken <- err
		})
		r := startRig(t, secure, node)
		defer r.settle()
		for i, bad := range []string{"xyz\r\n", "5\nhello", "-5\r\nhello\r\n", "5\r\nhello!\r\n", "0\r\nbad trailer\r\n\r\n", "0\r\n\n", "0\r\n folded: x\r\n\r\n"} {
			c := r.dial("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
			routertest.Eventually(t, "the node has it", func() bool { return r.e.nodeTraffic("a").InFlight == 1 })
			c.send(bad + "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
			if res := c.want(400, "*"); !res.Close {
				t.Errorf("%q: the connection is to stay", bad)
			}
			c.end()
			if err := <-broken; err == nil {
				t.Errorf("%q: the node took the body for whole", bad)
			}
			routertest.Eventually(t, "it is over", func() bool { return r.e.inFlight.Load() == 0 })
			if n, route := r.e.nodeTraffic("a"), r.e.routeTraffic(); n.Reset+n.Timeout > 0 || route.Failed > 0 || route.Rejected != uint64(i+1) {
				t.Fatalf("%q: node %+v, route %+v", bad, n, route)
			}
		}
		if n := node.Seen.Load(); n != 7 {
			t.Errorf("the node saw %d requests", n)
		}
	})
}

// The same when the answer is under way: it breaks off so that its reader can tell.
func TestMalformedChunkDuringTheAnswer(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		node := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			_ = rc.EnableFullDuplex()
			_, _ = io.WriteString(w, "begun")
			_ = rc.Flush()
			_, _ = io.Copy(w, r.Body)
		})
		r := startRig(t, secure, node)
		defer r.settle()
		for _, version := range []string{"1.1", "1.0"} {
			length := "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
			if version == "1.0" {
				length = "Content-Length: 10\r\n\r\nhello"
			}
			c := r.dial("POST / HTTP/" + version + "\r\nHost: x\r\n" + length)
			if !readHead(c.r) {
				t.Fatal("no answer")
			}
			if version == "1.0" {
				_ = c.tcp.CloseWrite() // and no word more: a write would take the reset from the read below
			} else {
				c.send("xyz\r\n")
			}
			b, err := io.ReadAll(c.r)
			if err == nil && strings.HasSuffix(string(b), "0\r\n\r\n") {
				t.Errorf("%s: the answer looks whole: %q", version, b)
			}
			if version == "1.0" && err == nil {
				t.Errorf("%s: the answer looks whole: %q", version, b)
			}
		}
		routertest.Eventually(t, "it is over", func() bool { return r.e.inFlight.Load() == 0 })
		if n, route := r.e.nodeTraffic("a"), r.e.routeTraffic(); n.Reset+n.Timeout > 0 || route.Failed > 0 {
			t.Errorf("node %+v, route %+v", n, route)
		}
	})
}
