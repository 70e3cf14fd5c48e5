package embedded

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/bootandshoot/release/router/embedded/http1"
)

// errCut ends a stream whose node leaves.
var errCut = errors.New("ended because its node leaves")

// spliceFrom is the size from which a body is moved within the kernel.
const spliceFrom = 64 << 10

// write sends to the client, within the time that a client may take to read.
func (c *h1conn) write(b []byte) error {
	c.writes.arm(c.e.now(), c.e.patience.stall)
	_, err := c.source.write(b)
	c.writes.disarm()
	if err != nil {
		return errors.Join(errClient, err)
	}
	return nil
}

// inform is front's.
func (c *h1conn) inform(h *http1.Head) error {
	if c.head.Minor == 0 {
		return nil // HTTP/1.0 knows no interim answers
	}
	room := c.e.bufs.get()
	defer c.e.bufs.put(room)
	out := http1.AppendStatusLine(room[:0], 1, h.Status, h.Reason)
	for i := range h.Fields {
		if !h.Hop(i) {
			out = http1.AppendField(out, h.Fields[i].Name, h.Fields[i].Value)
		}
	}
	return c.write(http1.AppendHeadEnd(out))
}

// reply is front's.
func (c *h1conn) reply(x *exchange, status int, text string, fields ...http1.Field) {
	x.status = status
	x.aborted = x.aborted || !x.body.used() // nobody will read the rest of it
	out := http1.AppendStatusLine(make([]byte, 0, 512), 1, status, http.StatusText(status))
	for _, f := range fields {
		out = http1.AppendField(out, f.Name, f.Value)
	}
	out = http1.AppendField(out, "Date", x.e.now().UTC().Format(http.TimeFormat))
	out = http1.AppendField(out, "Content-Type", "text/plain; charset=utf-8")
	out = http1.AppendIntField(out, "Content-Length", int64(len(text)+1))
	out = x.appendOwn(out)
	out = c.appendConnection(out, x)
	out = http1.AppendHeadEnd(out)
	if string(x.req.Method) != "HEAD" {
		out = append(append(out, text...), '\n')
	}
	_ = c.write(out) // a client that is gone needs no answer
}

// appendConnection says whether another request may follow.
func (c *h1conn) appendConnection(out []byte, x *exchange) []byte {
	switch {
	case x.req.Close || x.aborted || (c.e.draining.Load() || c.ending.Load()) && !c.goesOver() && c.mayEnd() || !x.body.soonUsed():
		x.closed = true
		return http1.AppendField(out, "Connection", "close")
	case c.head.Minor == 0:
		return http1.AppendField(out, "Connection", "keep-alive")
	}
	return out
}

// goesOver says whether the connection goes to the next process when it is idle.
func (c *h1conn) goesOver() bool { return c.plain && c.e.successor.Load() != nil }

// mayEnd says that no request waits behind the present one, as far as can be known: an answer that says "Connection:
// close" would drop those. A client that sends requests ahead gets its connection closed only when it is idle.
func (c *h1conn) mayEnd() bool {
	return !c.ahead && len(c.in.bytes()) == 0 && (!c.plain || c.x.body.streamed() || waiting(c.raw) == 0)
}

// pass is front's.
func (c *h1conn) pass(x *exchange, a *answer) error {
	room := c.e.bufs.get()
	defer c.e.bufs.put(room)
	how := framedByLength
	if a.head.Length < 0 {
		how = framedByChunks
		if c.head.Minor == 0 {
			how = framedByClose
			x.aborted = true
		}
	}
	if a.long {
		return c.passLong(x, a, room, how)
	}
	return c.passBody(x, a, room, how)
}

// passBody sends head and body. What of the body is here goes out together with the head.
func (c *h1conn) passBody(x *exchange, a *answer, room *[roomSize]byte, how framing) error {
	out := x.appendAnswer(room[:0], &a.head, how, c.head.Minor)
	out = c.appendConnection(out, x)
	out = http1.AppendHeadEnd(out)
	c.replied = true
	for {
		b, err := a.ready(max(0, roomSize-len(out)-24))
		if err != nil {
			_ = c.write(out)
			return c.breakOff(x, how, err)
		}
		if len(b) == 0 && !a.over {
			break
		}
		x.bytes += int64(len(b))
		out = appendPiece(out, b, how)
		if a.over && len(a.rest) == 0 {
			return c.write(c.appendEnd(out, a, how))
		}
		if roomSize-len(out) < 1<<10 {
			break
		}
	}
	if err := c.write(out); err != nil {
		return err
	}
	return c.passRest(x, a, room, how)
}

// passRest sends what of the body comes after the first write.
func (c *h1conn) passRest(x *exchange, a *answer, room *[roomSize]byte, how framing) error {
	for {
		if how == framedByLength && a.left > spliceFrom && c.plain && a.conn != nil && len(a.conn.in.bytes()) == 0 {
			if err := c.splice(x, a); err != nil || a.over {
				return c.broken(x, how, err)
			}
		}
		b, err := a.next(c.e, pieceSize)
		if err == io.EOF {
			return c.write(c.appendEnd(room[:0], a, how))
		}
		if err != nil {
			return c.breakOff(x, how, err)
		}
		x.bytes += int64(len(b))
		if how == framedByLength || how == framedByClose {
			err = c.write(b)
		} else {
			err = c.write(appendPiece(room[:0], b, how))
		}
		if err != nil {
			return err
		}
	}
}

// broken sorts the errors of splice.
func (c *h1conn) broken(x *exchange, how framing, err error) error {
	if errors.Is(err, errClient) {
		x.broken = true
	}
	if err == nil || errors.Is(err, errClient) {
		return err
	}
	return c.breakOff(x, how, err)
}

// breakOff ends the client's connection in the middle of an answer so that it can tell.
func (c *h1conn) breakOff(x *exchange, how framing, err error) error {
	x.broken = true
	if c.ctx.Err() != nil || x.body.clientFailed() {
		return errors.Join(errClient, err)
	}
	return err
}

// splice moves a part of the body within the kernel.
func (c *h1conn) splice(x *exchange, a *answer) error {
	for a.left > spliceFrom {
		here, err := a.await(c.e)
		if err != nil {
			return err
		}
		part := io.LimitedReader{R: a.conn.TCPConn, N: min(a.left, int64(here))}
		c.writes.arm(c.e.now(), c.e.patience.stall)
		n, err := c.tcp.ReadFrom(&part)
		late := c.writes.expired()
		c.writes.disarm()
		a.left -= n
		x.bytes += n
		a.over = a.left == 0
		switch {
		case err != nil && (late || c.gone()):
			return errors.Join(errClient, err)
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

func appendPiece(out, b []byte, how framing) []byte {
	if len(b) == 0 {
		return out
	}
	if how != framedByChunks {
		return append(out, b...)
	}
	out = http1.AppendChunkHeader(out, len(b))
	out = append(out, b...)
	return append(out, '\r', '\n')
}

func (c *h1conn) appendEnd(out []byte, a *answer, how framing) []byte {
	if how != framedByChunks {
		return out
	}
	return http1.AppendLastChunk(out, a.trailer())
}

// longLived says whether an answer has no end of its own.
func longLived(h *http1.Head) bool {
	t := view(h.Get(http1.ContentType))
	return hasPrefixFold(t, "text/event-stream") || hasPrefixFold(t, grpcType) || hasPrefixFold(t, "multipart/x-mixed-replace")
}

// passLong is passBody for a stream, which ends in order when its node leaves.
func (c *h1conn) passLong(x *exchange, a *answer, room *[roomSize]byte, how framing) error {
	l := newStreamEnd(x, a)
	defer l.close()
	err := c.passBody(x, a, room, how)
	if err == nil || !l.cut.Load() || errors.Is(err, errClient) {
		return err
	}
	x.broken = false
	if how == framedByChunks {
		if err := c.write(http1.AppendLastChunk(room[:0], nil)); err != nil {
			return err
		}
	}
	return errCut
}

// part is front's.
func (c *h1conn) part(x *exchange) { c.reply(x, 503, goesAway) }

// streamEnd is a longConn that ends the wait for a node's answer, or for more of it.
type streamEnd struct {
	node *node
	mu   sync.Mutex
	wait *guard // of HTTP/1.1
	stop func() // of h2c; neither: over
	cut  atomic.Bool
}

// newStreamEnd is the end of a stream whose answer has begun.
func newStreamEnd(x *exchange, a *answer) *streamEnd {
	l := &streamEnd{node: x.node}
	switch {
	case a.stream == nil:
		l.wait = &a.conn.reads
	case a.stream.long != nil:
		return a.stream.long
	default:
		l.stop = a.stream.cancel
	}
	x.node.beginLong(x.e, l)
	return l
}

// end is longConn's.
func (l *streamEnd) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stop != nil:
		l.cut.Store(true)
		l.stop()
	case l.wait != nil:
		l.cut.Store(true)
		l.wait.fire()
	}
}

// close says that the stream is over.
func (l *streamEnd) close() {
	l.node.endLong(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wait, l.stop = nil, nil
}

// over closes the stream's end where there is one, and says whether the stream was ended before.
func (l *streamEnd) over() (cut bool) {
	if l == nil {
		return false
	}
	l.close()
	return l.cut.Load()
}
