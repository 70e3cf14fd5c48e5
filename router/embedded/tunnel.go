package embedded

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/router/embedded/http1"
	"github.com/bootandshoot/release/router/embedded/websocket"
)

// tunnel is a client's connection joined with a node's after an upgrade.
type tunnel struct {
	c       *h1conn
	node    *nodeConn
	e       *engine
	ws      bool
	frames  websocket.Tracker // of what the node sends
	replies websocket.Tracker // of what the client sends
	closing atomic.Bool
	parted  atomic.Bool // the client has sent its close frame

	mu               sync.Mutex // over what follows, and firing the guards
	upOver, downOver bool       // the client has closed its sending side, the node
	over             bool       // nothing is moved any more
}

// tunnel is front's.
func (c *h1conn) tunnel(x *exchange, a *answer) error {
	t := &tunnel{c: c, node: a.conn, e: c.e, ws: hasPrefixFold(view(a.head.Upgrade), "websocket")}
	t.replies.Masked = true
	room := c.e.bufs.get()
	out := x.appendAnswer(room[:0], &a.head, framedByLength, c.head.Minor)
	out = http1.AppendField(out, "Connection", "Upgrade")
	out = http1.AppendField(out, "Upgrade", a.head.Upgrade)
	err := c.write(http1.AppendHeadEnd(out))
	c.e.bufs.put(room)
	x.aborted = true // another protocol is spoken now
	if err != nil {
		return err
	}
	c.since.Store(0) // both ends are read: neither has to be looked after
	c.watch(nil)
	c.reads.disarm() // the request's body may have ended with it
	x.node.beginLong(c.e, t)
	defer x.node.endLong(t)
	c.tunneled.Store(t)
	defer c.tunneled.Store(nil)
	return t.run(x)
}

// run moves bytes both ways until both ends have closed.
func (t *tunnel) run(x *exchange) error {
	up := make(chan error, 1)
	go func() { up <- t.toNode() }()
	n, err := t.toClient()
	x.bytes += n
	if err == nil {
		closeWrite(t.c.conn)
		t.ended(&t.downOver)
		switch {
		case t.closing.Load() && t.parted.Load():
			t.c.reads.fire() // both have said goodbye
		case t.closing.Load():
			t.c.reads.arm(t.e.now(), t.e.patience.close)
		}
	} else {
		t.c.reads.fire()
	}
	upErr := <-up
	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
	if t.closing.Load() {
		return errCut
	}
	if err = errors.Join(err, upErr); err != nil {
		return errors.Join(errClient, err) // whose fault an end is cannot be told, and it costs no request
	}
	return nil
}

// toNode moves what the client sends.
func (t *tunnel) toNode() error {
	in := &t.c.source
	for {
		if b := in.in.bytes(); len(b) > 0 {
			t.node.writes.arm(t.e.now(), t.e.patience.stall)
			_, err := t.node.Write(b)
			t.node.writes.disarm()
			if t.ws {
				t.replies.Feed(b)
			}
			in.in.use(len(b))
			if err != nil {
				t.node.reads.fire()
				return err
			}
			if t.ws && t.replies.Closed() {
				t.parted.Store(true)
				if t.closing.Load() {
					return t.node.CloseWrite() // a client waits for the server to end the connection [RFC 6455, 7.1.1]
				}
			}
		}
		in.in.drop()
		if err := in.fill(); err != nil {
			if err == io.EOF {
				t.ended(&t.upOver)
				return t.node.CloseWrite()
			}
			t.node.reads.fire()
			return err
		}
	}
}

// toClient moves what the node sends. When it is to end and what is spoken is WebSocket, it tells the client so between two
// frames.
func (t *tunnel) toClient() (moved int64, err error) {
	in := &t.node.source.in
	for {
		if b := in.bytes(); len(b) > 0 {
			cut := len(b)
			if t.ws && t.closing.Load() {
				if border := t.frames.Cut(b); border >= 0 {
					cut = border
				}
			}
			if t.ws {
				t.frames.Feed(b[:cut])
			}
			if err := t.c.write(b[:cut]); err != nil {
				return moved, err
			}
			moved += int64(cut)
			in.use(cut)
		}
		if t.closing.Load() && (!t.ws || t.frames.AtBorder() || t.frames.Broken()) {
			if t.ws && !t.frames.Broken() { // else there is no place for a frame
				return moved, t.c.write(websocket.AppendClose(nil, websocket.GoingAway, nil))
			}
			return moved, nil
		}
		if len(in.bytes()) > 0 {
			continue
		}
		in.drop()
		if err := t.node.source.fill(); err != nil {
			if t.closing.Load() && t.node.reads.expired() {
				t.node.reads.arm(t.e.now(), t.e.patience.close) // to the end of a frame that has begun
				if t.frames.AtBorder() || !t.ws {
					continue
				}
				if err = t.node.source.fill(); err == nil {
					continue
				}
			}
			if err == io.EOF {
				return moved, nil
			}
			return moved, err
		}
	}
}

// end is longConn's.
func (t *tunnel) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	t.closing.Store(true)
	t.node.reads.fire()
	if t.downOver {
		t.c.reads.arm(t.e.now(), t.e.patience.close) // nobody reads from the node any more
	}
}

// ended notes that one end has closed its sending side. The other may take its time, for as long as both are there.
func (t *tunnel) ended(which *bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*which = true
}

// sweep looks whether an end that had closed its sending side is gone altogether. Nobody reads from it any more, so that
// nothing else would tell; what comes from the other end is for nobody.
func (t *tunnel) sweep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.over || t.upOver == t.downOver:
	case t.upOver && hungUp(t.c.tcp):
		t.node.reads.fire()
	case t.downOver && hungUp(t.node.TCPConn):
		t.c.reads.fire()
	}
}

// hungUp says whether a connection has ended both ways.
func hungUp(c *net.TCPConn) bool { return ended(c, unix.POLLHUP|unix.POLLERR) }

// ended says whether any of these has happened to a connection.
func ended(c *net.TCPConn, events int16) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	var yes bool
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(p, 0)
		yes = err == nil && n > 0 && p[0].Revents&events != 0
	})
	return err != nil || yes
}

// closeWrite says that no more will come, where the connection can.
func closeWrite(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
