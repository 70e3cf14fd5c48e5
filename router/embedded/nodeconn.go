package embedded

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nodeConn is a connection to a node that can prove afterwards that the node never saw the last request on it: the node
// closed the idle connection while the request was on its way. Then any request may be sent again.
//
// The proof: the node's end of stream arrived (or, writing, the reset that follows one), and its kernel acknowledged no
// byte of the request. Had the bytes come before the node closed, the end of stream would acknowledge them; had
// the node left them unread, there would be a reset and no end of stream. [RFC 9293, 3.10.4; RFC 1122, 4.2.2.13]
type nodeConn struct {
	*net.TCPConn
	written atomic.Int64 // bytes
	mark    atomic.Int64 // written when the last request began
	acked   atomic.Int64 // acknowledged when the node's end came, or -1
	last    atomic.Int64 // Unix nanoseconds when something last came from the node
	hasty   func()       // called when the node closes within hastyIdle of that
}

// hastyIdle: no server whose keep-alive is meant to be used closes sooner.
const hastyIdle = time.Second

func newNodeConn(c *net.TCPConn, hasty func()) *nodeConn {
	n := &nodeConn{TCPConn: c, hasty: hasty}
	n.acked.Store(-1)
	return n
}

// begin marks the start of a request.
func (c *nodeConn) begin() { c.mark.Store(c.written.Load()) }

// unseen says that the node proved to have closed without seeing any of the last request. Bytes acknowledged count the
// opening as one.
func (c *nodeConn) unseen() bool {
	acked := c.acked.Load()
	return acked >= 0 && acked <= c.mark.Load()+1
}

func (c *nodeConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if n > 0 {
		c.last.Store(time.Now().UnixNano())
	} else if err == io.EOF {
		c.ended()
		if time.Now().UnixNano()-c.last.Load() < int64(hastyIdle) {
			c.hasty()
		}
	}
	return n, err
}

func (c *nodeConn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.written.Add(int64(n))
	if errors.Is(err, syscall.EPIPE) {
		c.ended()
	}
	return n, err
}

// ReadFrom keeps the count when bodies are spliced.
func (c *nodeConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	c.written.Add(n)
	return n, err
}

func (c *nodeConn) ended() {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			c.acked.Store(int64(info.Bytes_acked))
		}
	})
}

func dialNode(d *net.Dialer, hasty func()) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return newNodeConn(c.(*net.TCPConn), hasty), nil
	}
}
