package embedded

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/router/embedded/http1"
)

// lingerBytes bounds what is still read from a client that sends more than its answer needed, so that the answer is not
// lost in a reset.
const lingerBytes = 256 << 10

// h1conn is a client's connection that speaks HTTP/1.1.
type h1conn struct {
	source
	l       *listener
	e       *engine
	tcp     *net.TCPConn
	socket  syscall.RawConn // of tcp
	plain   bool
	reads   guard
	writes  guard
	ctx     context.Context
	cancel  context.CancelFunc
	x       exchange
	head    http1.Head
	own     []byte       // copy of a head whose body is read into the same buffer
	whole   body         // of the request, when it came with its head
	idle    atomic.Bool  // waits for a request, and nothing of one has come
	ending  atomic.Bool  // is to end when it is idle
	taken   bool         // another process or protocol has the connection now
	ahead   bool         // the client sends requests before their turn
	replied bool         // something of an answer was sent
	since   atomic.Int64 // when the request under way began to wait, an instant; 0: none
	sending atomic.Bool  // its body is being read, and has not ended

	tunneled atomic.Pointer[tunnel]

	mu      sync.Mutex // over partner
	partner *guard     // what waits for the node
}

// newH1 serves HTTP/1.1 on conn, which is tcp itself or TLS over it.
func newH1(l *listener, conn net.Conn, tcp *net.TCPConn, peer netip.AddrPort, begun []byte) (*h1conn, error) {
	c := &h1conn{l: l, e: l.e, tcp: tcp, plain: conn == net.Conn(tcp)}
	plain := tcp
	if !c.plain {
		plain = nil
	}
	if err := c.source.init(conn, plain, l.e.bufs); err != nil {
		return nil, err
	}
	var err error
	if c.socket, err = tcp.SyscallConn(); err != nil {
		return nil, err
	}
	c.reads.set, c.writes.set = conn.SetReadDeadline, conn.SetWriteDeadline
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.x = exchange{e: l.e, front: c, address: l.address, secure: !c.plain, peer: peer, ctx: c.ctx}
	if len(begun) > 0 {
		c.in.w = copy(c.in.space(), begun)
	}
	return c, nil
}

// serve answers requests until the connection ends.
func (c *h1conn) serve() {
	defer c.close()
	c.l.add(c)
	defer c.l.remove(c)
	for !c.taken && c.next() {
		if !c.answer() {
			c.linger()
			return
		}
	}
}

func (c *h1conn) close() {
	c.cancel()
	c.in.r = c.in.w
	c.in.drop()
	if !c.taken {
		_ = c.conn.Close()
	}
}

// next reads the head of a request. Without one the connection ends.
func (c *h1conn) next() bool {
	c.head.Reset()
	if c.ahead = c.ahead || len(c.in.bytes()) > 0 && c.replied; len(c.in.bytes()) == 0 && !c.await() {
		return false
	}
	for armed := false; ; {
		n, err := http1.ParseRequest(c.in.bytes(), &c.head)
		switch {
		case err == nil:
			c.prepare(n)
			return true
		case errors.Is(err, http1.ErrMore):
			if !armed { // for the whole head, not for each piece
				armed = true
				c.reads.arm(c.e.now(), c.e.patience.head)
				defer c.reads.disarm()
			}
			if err := c.source.fill(); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					c.refuse(&http1.Error{Status: 408, Reason: "the head of the request took too long"})
				}
				return false
			}
		case errors.Is(err, http1.ErrH2Preface):
			c.toH2()
			return false
		default:
			var refused *http1.Error
			if errors.As(err, &refused) {
				c.refuse(refused)
			}
			return false
		}
	}
}

// await waits for the first byte of a request.
func (c *h1conn) await() bool {
	c.in.drop()
	for {
		c.reads.arm(c.e.now(), c.e.cfg.IdleTimeout)
		c.idle.Store(true)
		if c.ending.Load() && c.leave() {
			return false
		}
		err := c.source.fill()
		c.idle.Store(false)
		c.reads.disarm()
		if err == nil {
			return true
		}
		if !c.ending.Load() || !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
	}
}

// finishIdle ends the connection when it is idle, else after its answer. It may be called from any goroutine.
func (c *h1conn) finishIdle() {
	c.ending.Store(true)
	due := c.reads.due.Load() // of the wait for a request; a request that comes now has another one
	if c.idle.Load() {
		c.reads.fireIf(due)
	}
}

// leave gives an idle connection to the next process if there is one, else it ends. false keeps it: a request has come, or
// the next process does not take it.
func (c *h1conn) leave() bool {
	if c.plain && c.e.successor.Load() != nil {
		if c.taken = c.e.giveAway(c); !c.taken {
			c.ending.Store(false) // it is told with its next answer
		}
		return c.taken
	}
	return waiting(c.socket) == 0
}

// refuse answers what is no request that any node should see.
func (c *h1conn) refuse(refused *http1.Error) {
	c.e.rejected(refused.Reason)
	c.x.begin(&http1.Head{Method: []byte("GET"), Close: true}, nil)
	c.x.aborted, c.x.outcome = true, refused.Reason
	c.reply(&c.x, refused.Status, refused.Reason)
	c.x.log()
	c.drain()
}

// prepare makes the exchange of a head of n bytes ready. A body that is not here whole is read over the head's bytes, and so
// is what comes after an upgrade: they are copied then.
func (c *h1conn) prepare(n int) {
	length := c.head.Length
	if length != 0 && (length < 0 || int64(len(c.in.bytes())-n) < length) || c.head.Upgrade != nil {
		c.own = append(c.own[:0], c.in.bytes()[:n]...)
		c.head.Reset()
		_, _ = http1.ParseRequest(c.own, &c.head) // as before
	}
	c.in.use(n)
	c.x.proto = "HTTP/1.1"
	if c.head.Minor == 0 {
		c.x.proto = "HTTP/1.0"
	}
	if length == 0 {
		c.x.begin(&c.head, nil)
		return
	}
	c.whole.reset(length)
	b := &c.whole
	if rest := c.in.bytes(); length > 0 && int64(len(rest)) >= length {
		b.whole = rest[:length]
		c.in.use(int(length))
	} else {
		b = &body{length: length} // not one that was used: net/http may still read the one before
		r := &bodyReader{c: c, b: b, left: length}
		b.src, b.expect, b.trailer = r, c.head.Expect, r.trailer
		if length == http1.Chunked {
			b.first = r.peek
		}
	}
	c.x.begin(&c.head, b)
}

// answer serves the request whose head was read, and says whether another one may follow.
func (c *h1conn) answer() bool {
	c.replied = false
	c.since.Store(instant(c.x.start))
	c.x.run()
	c.since.Store(0)
	return !c.x.aborted && !c.head.Close && !c.taken && c.x.body.used() && !c.x.closed
}

// linger ends the connection so that the client can read its answer: not with a reset for what it still sends.
func (c *h1conn) linger() {
	if c.taken {
		return
	}
	if c.x.broken || c.ctx.Err() != nil {
		if c.x.broken {
			_ = c.tcp.SetLinger(0) // a client that reads until the end must not take this for one
			_ = c.tcp.Close()      // TLS would say goodbye
		}
		return
	}
	if c.plain && waiting(c.raw) == 0 && c.x.body.used() {
		c.in.r = c.in.w
		return // nothing is on its way, as far as can be known
	}
	c.drain()
}

// drain reads on for a while after the last answer.
func (c *h1conn) drain() {
	c.in.r = c.in.w
	if w, ok := c.conn.(interface{ CloseWrite() error }); !ok || w.CloseWrite() != nil {
		return
	}
	c.reads.arm(c.e.now(), c.e.patience.linger)
	for total := 0; total < lingerBytes && c.source.fill() == nil; {
		total += c.in.w - c.in.r
		c.in.r = c.in.w
	}
}

// watch is front's.
func (c *h1conn) watch(g *guard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partner = g
	if g != nil && c.ctx.Err() != nil {
		g.kill() // the sweep has seen it go, between two tries
	}
}

// stopReading is front's.
func (c *h1conn) stopReading() (mayGoOn bool) {
	c.reads.fire()
	return true
}

// unhurry is front's.
func (c *h1conn) unhurry() {
	c.x.body.unhurried.Store(true)
	c.reads.disarm()
}

// sweep looks for what takes too long, and for clients that are gone.
func (c *h1conn) sweep(now time.Time) {
	c.reads.check(now)
	c.writes.checkMoving(now, c.e.patience.stall, c.socket)
	if t := c.tunneled.Load(); t != nil {
		t.sweep()
	}
	since := c.since.Load()
	if since == 0 || instant(now)-since < int64(c.e.patience.gone) || c.ctx.Err() != nil || !c.gone() {
		return
	}
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.partner != nil {
		c.partner.kill()
	}
}

// gone says whether the client has closed its sending side, or more, with nothing that waits to be read. A part of the body may wait
// where nobody can look: until it has ended, who reads it is told of the client's end.
func (c *h1conn) gone() bool {
	switch {
	case !ended(c.tcp, unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR):
		return false
	case ended(c.tcp, unix.POLLHUP|unix.POLLERR):
		return true
	case c.sending.Load():
		return false
	case c.plain:
		return waiting(c.raw) == 0
	}
	return onlyGoodbye(c.socket)
}

// onlyGoodbye says whether nothing waits to be read from a TLS client but, at most, the record by which it closes its sending side
// (close_notify). Of TLS 1.3 only its length tells. [RFC 8446, 5.1, 5.2 and 6.1]
func onlyGoodbye(socket syscall.RawConn) bool {
	const alert, applicationData, sealedAlert = 21, 23, 2 + 1 + 16
	here := waiting(socket)
	if here == 0 {
		return true
	}
	var head [5]byte // type, version, length
	n := 0
	err := socket.Control(func(fd uintptr) {
		n, _, _ = unix.Recvfrom(int(fd), head[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	length := int(head[3])<<8 | int(head[4])
	return err == nil && n == len(head) && here == n+length && (head[0] == alert || head[0] == applicationData && length == sealedAlert)
}

// received is called when the request's body has ended. Only from now on the client does nothing but wait.
func (c *h1conn) received() {
	if !c.sending.CompareAndSwap(true, false) {
		return
	}
	if since := c.since.Load(); since != 0 {
		c.since.CompareAndSwap(since, instant(c.e.now()))
	}
}
