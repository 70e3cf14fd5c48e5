package embedded

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"sync"

	"golang.org/x/sys/unix"
)

// clientConn is a plain connection from a client that knows whether more requests wait on it (pipelining), which
// net/http does not tell. An answer that says "Connection: close" would drop those.
//
// It counts ends of request headers in what is read. That is exact as long as no request on the connection has a body;
// after one that does it claims nothing.
type clientConn struct {
	*net.TCPConn

	mu        sync.Mutex
	heads     int    // ends of headers that were read
	tail      []byte // the last three bytes at most, of an end that may be split over two reads
	rest      int    // bytes read after the last end
	served    int    // requests that reached the handler
	bodies    bool   // a request had a body
	pipelines bool   // more than one request waited at some time
}

var headEnd = []byte("\r\n\r\n")

func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if n > 0 {
		c.saw(p[:n])
	}
	return n, err
}

func (c *clientConn) saw(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bodies {
		return
	}
	c.rest += len(b)
	b = append(c.tail, b...)
	for {
		i := bytes.Index(b, headEnd)
		if i < 0 {
			break
		}
		c.heads++
		b = b[i+len(headEnd):]
		c.rest = len(b)
	}
	c.tail = append(c.tail[:0], b[max(0, len(b)-len(headEnd)+1):]...)
}

// serve counts a request that reached the handler.
func (c *clientConn) serve(hasBody bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.served++
	c.bodies = c.bodies || hasBody
	if c.waits() {
		c.pipelines = true
	}
}

// waits says whether something was read beyond the requests that reached the handler.
func (c *clientConn) waits() bool { return !c.bodies && (c.heads > c.served || c.rest > 0) }

// mayClose says that no request waits behind the current one, as far as can be known. A client that sends requests
// ahead gets its connection closed only when it is idle.
func (c *clientConn) mayClose() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pipelines || c.waits() || c.unread() {
		c.pipelines = true
		return false
	}
	return true
}

// unread says whether the kernel holds bytes from the client.
func (c *clientConn) unread() bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	waiting := 0
	if err := raw.Control(func(fd uintptr) { waiting, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); err != nil {
		return false
	}
	return waiting > 0
}

type clientConnKey struct{}

// withClientConn is http.Server.ConnContext.
func withClientConn(ctx context.Context, c net.Conn) context.Context {
	if cc, ok := c.(*clientConn); ok {
		return context.WithValue(ctx, clientConnKey{}, cc)
	}
	return ctx
}

func clientConnOf(r *http.Request) *clientConn {
	c, _ := r.Context().Value(clientConnKey{}).(*clientConn)
	return c
}
