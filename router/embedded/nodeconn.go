package embedded

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

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
	source
	reads   guard
	writes  guard
	waiting recallable
	node    *node
	stall   time.Duration
	used    bool         // it has carried a request before
	idle    time.Time    // since when
	written atomic.Int64 // bytes
	mark    int64        // written when the last request began
	acked   atomic.Int64 // acknowledged when the node's end came, or -1
	last    time.Time    // when something last came from the node
	look    func(fd uintptr)
	nothing bool // look's answer

	writing sync.Mutex
	reset   bool // a write was told that the node reset the connection
}

// hastyIdle: no server whose keep-alive is meant to be used closes sooner.
const hastyIdle = time.Second

// dial connects to the node.
func (n *node) dial(ctx context.Context, e *engine) (*nodeConn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	conn, err := e.dial(ctx, &d, n.address)
	if err != nil {
		return nil, err
	}
	c := &nodeConn{TCPConn: conn, node: n, stall: e.patience.stall}
	c.acked.Store(-1)
	c.reads.set, c.writes.set = c.SetReadDeadline, c.SetWriteDeadline
	if err := c.source.init(c.TCPConn, c.TCPConn, e.bufs); err != nil {
		_ = conn.Close()
		return nil, err
	}
	c.look = func(fd uintptr) {
		var b [1]byte
		_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		c.nothing = errno == syscall.EAGAIN
	}
	e.sweeper.add(c)
	return c, nil
}

// close ends the connection.
func (c *nodeConn) close(e *engine) {
	e.sweeper.remove(c)
	_ = c.TCPConn.Close()
	c.in.r = c.in.w
	c.in.drop()
}

// sweep is watched's.
func (c *nodeConn) sweep(now time.Time) {
	c.reads.check(now)
	c.writes.checkMoving(now, c.stall, c.raw)
	c.recall()
}

// begin marks the start of a request.
func (c *nodeConn) begin() { c.mark = c.written.Load() }

// quiet says that an idle connection is as it was left: the node has neither closed it nor sent what nobody asked for,
// which would be taken for the answer to the next request.
func (c *nodeConn) quiet() bool {
	return c.raw.Control(c.look) == nil && c.nothing
}

// unseen says that the node proved to have closed without seeing any of the last request. Bytes acknowledged count the
// opening as one.
func (c *nodeConn) unseen() bool {
	acked := c.acked.Load()
	return acked >= 0 && acked <= c.mark+1
}

// fill reads more of the answer.
func (c *nodeConn) fill(now func() time.Time) error {
	err := c.source.fill()
	if err == nil {
		return nil
	}
	if err == io.EOF {
		c.ended()
		if c.used && now().Sub(c.last) < hastyIdle {
			c.node.hastyUntil.Store(instant(now()) + int64(hastyMemory))
		}
	}
	return err
}

// Write counts what the kernel took.
func (c *nodeConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	n, err := c.source.write(p)
	c.written.Add(int64(n))
	switch {
	case errors.Is(err, syscall.EPIPE):
		c.ended()
	case errors.Is(err, syscall.ECONNRESET):
		c.reset = true
	}
	return n, err
}

// wasReset says whether an end of stream that was read is none: the kernel tells of a reset once, so that a write that is told
// leaves an end of stream for the read.
func (c *nodeConn) wasReset() bool {
	const closed = 7 // TCP_CLOSE; after an end of stream alone it is another state
	state := uint8(0)
	_ = c.raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			state = info.State
		}
	})
	if state != closed {
		return false
	}
	c.writing.Lock() // nothing blocks on a closed connection
	defer c.writing.Unlock()
	return c.reset
}

func (c *nodeConn) ended() {
	c.acked.Store(acknowledged(c.raw))
}

// readable says whether the node has sent something that was not read yet.
func (c *nodeConn) readable() bool {
	if len(c.in.bytes()) > 0 {
		return true
	}
	return c.raw != nil && waiting(c.raw) > 0
}

// waiting is how many bytes the kernel holds for a connection.
func waiting(raw syscall.RawConn) int {
	n := 0
	if err := raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); err != nil {
		return 0
	}
	return n
}

// arrive waits until something can be read, and reads nothing.
func (c *nodeConn) arrive() error {
	var b [1]byte
	var n int
	var err error
	if werr := c.raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err != unix.EAGAIN && err != unix.EINTR
	}); werr != nil {
		return werr
	}
	if err == nil && n == 0 {
		return io.EOF
	}
	return err
}
