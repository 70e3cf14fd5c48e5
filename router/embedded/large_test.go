package embedded

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/bootandshoot/release/router/embedded/http1"
	"github.com/bootandshoot/release/router/routertest"
)

// Heads up to the limit go through whole, both ways, and with their bodies.
func TestLargeHeads(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		node := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Large", r.Header.Get("X-Large"))
			_, _ = w.Write(b)
		})
		r := startRig(t, secure, node)
		defer r.settle()
		c := r.dial("")
		for _, size := range []int{1, 4 << 10, 15 << 10, pieceSize - 100, pieceSize, pieceSize + 100, 32 << 10, 63 << 10} {
			for _, body := range []int{0, 1, 100, 20 << 10, 200 << 10} {
				value, sent := strings.Repeat("v", size), string(pattern(body))
				go c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\nContent-Length: %d\r\n\r\n%s", value, body, sent))
				res := c.want(200, sent)
				if res.Header.Get("X-Large") != value {
					t.Fatalf("a field of %d bytes came back as one of %d", size, len(res.Header.Get("X-Large")))
				}
			}
		}
		fields := strings.Repeat("X-Many: y\r\n", http1.MaxFields-1)
		c.send("GET / HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n")
		c.want(200, "")
	})
}

// Requests sent ahead of their turn are answered in order, whatever they are.
func TestPipelining(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		node := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, b)
		})
		r := startRig(t, secure, node)
		defer r.settle()
		c := r.dial("")
		var text strings.Builder
		var want []string
		for i := range 300 {
			switch path := fmt.Sprint("/", i); i % 4 {
			case 0:
				fmt.Fprintf(&text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
				want = append(want, "GET "+path+" ")
			case 1:
				body := pattern(i * 10)
				fmt.Fprintf(&text, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
				want = append(want, fmt.Sprintf("POST %s %s", path, body))
			case 2:
				fmt.Fprintf(&text, "PUT %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n%x\r\n%s\r\n0\r\nX: y\r\n\r\n", path, i, pattern(i))
				want = append(want, fmt.Sprintf("PUT %s abc%s", path, pattern(i)))
			case 3:
				fmt.Fprintf(&text, "\r\nDELETE %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", path)
				want = append(want, "DELETE "+path+" ")
			}
		}
		text.WriteString("GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /more HTTP/1.1\r\nHost: x\r\n\r\n")
		go c.send(text.String())
		for _, body := range append(want, "GET /last ") {
			c.want(200, body)
		}
		c.end()
		if n := node.Seen.Load(); n != 301 {
			t.Errorf("the node saw %d requests", n)
		}
	})
}

// Bodies of any size arrive byte for byte, both ways, with a length and in chunks.
func TestBodiesOfAllSizes(t *testing.T) {
	sizes := []int{1, pieceSize - 1, pieceSize, pieceSize + 1, spliceFrom - 1, spliceFrom, spliceFrom + 1, spliceFrom + pieceSize, 1 << 20, 3<<20 + 7}
	bothWays(t, func(t *testing.T, secure bool) {
		node := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			if r.Header.Get("X-Chunked") == "" {
				w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			}
			for len(b) > 0 {
				n, _ := w.Write(b[:min(len(b), 50000)])
				b = b[n:]
			}
		})
		r := startRig(t, secure, node)
		defer r.settle()
		c := r.dial("")
		for _, size := range sizes {
			body := string(pattern(size))
			for how := range 4 {
				head := "POST / HTTP/1.1\r\nHost: x\r\n"
				if how&1 > 0 {
					head += "X-Chunked: 1\r\n"
				}
				text := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, size, body)
				if how&2 > 0 {
					text = head + "Transfer-Encoding: chunked\r\n\r\n" + inChunks(body, 1+size/7) + "0\r\n\r\n"
				}
				go c.send(text)
				c.want(200, body)
			}
		}
	})
}

// inChunks frames body in chunks of a size.
func inChunks(body string, size int) string {
	var b strings.Builder
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String()
}

// repeated gives n bytes of a pattern without holding them.
type repeated struct {
	piece []byte
	left  int64
	at    int
}

func newRepeated(n int64) *repeated { return &repeated{piece: pattern(1<<20 + 13), left: n} }

func (p *repeated) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(int64(len(b)), p.left)], p.piece[p.at:])
	p.left -= int64(n)
	p.at = (p.at + n) % len(p.piece)
	return n, nil
}

// 200 MB both ways, 40 MB over TLS, by the hash of what arrives.
func TestVeryLargeBodies(t *testing.T) {
	bothWays(t, func(t *testing.T, secure bool) {
		size := int64(200_000_000)
		if secure {
			size /= 5
		}
		if raceDetector {
			size /= 10
		}
		h := sha256.New()
		_, _ = io.Copy(h, newRepeated(size))
		sum := h.Sum(nil)
		node := rawNode(t, "a", func(c net.Conn, r *bufio.Reader) {
			for readHead(r) {
				got := sha256.New()
				if _, err := io.CopyN(got, r, size); err != nil || !bytes.Equal(got.Sum(nil), sum) {
					return
				}
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
				_, _ = io.Copy(c, newRepeated(size))
			}
		})
		r := startRig(t, secure, node)
		defer r.settle()
		c := r.dial("")
		for range 2 {
			go func() {
				fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
				_, _ = io.Copy(c.Conn, newRepeated(size))
			}()
			res, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := sha256.New()
			if n, err := io.Copy(got, res.Body); n != size || err != nil || !bytes.Equal(got.Sum(nil), sum) {
				t.Fatalf("%d bytes, %v: other ones", n, err)
			}
		}
	})
}
