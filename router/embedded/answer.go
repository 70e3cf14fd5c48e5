package embedded

import (
	"io"

	"github.com/bootandshoot/release/router/embedded/http1"
)

// answer is a node's answer on its way to the client.
type answer struct {
	head   http1.Head
	conn   *nodeConn // HTTP/1.1
	stream *stream   // h2c, else nil
	left   int64     // of a body with a length
	chunks http1.ChunkReader
	over   bool   // the body has ended
	long   bool   // it has no end of its own
	rest   []byte // of a chunk that was larger than what was asked for
	pump   *pump
}

// start makes the answer ready for one on a connection.
func (a *answer) start(c *nodeConn) {
	a.head.Reset()
	a.chunks.Reset()
	a.conn, a.stream, a.left, a.over, a.long, a.rest, a.pump = c, nil, 0, false, false, nil, nil
}

// frame looks at the head for where the body ends.
func (a *answer) frame() {
	a.left = a.head.Length
	a.over = a.left == 0
	a.long = !a.over && longLived(&a.head)
}

// ready is what of the body can be had without waiting, at most most bytes. The bytes hold until the next call.
func (a *answer) ready(most int) ([]byte, error) {
	if a.stream != nil {
		return nil, nil
	}
	if a.head.Length == http1.Chunked {
		return a.chunk(most)
	}
	in := &a.conn.in
	b := in.bytes()
	if a.head.Length >= 0 {
		b = b[:min(int64(len(b)), a.left)]
	}
	b = b[:min(len(b), most)]
	in.use(len(b))
	if a.left > 0 {
		a.left -= int64(len(b))
		a.over = a.left == 0
	}
	return b, nil
}

// chunk is the next piece of a chunked body that is in the buffer.
func (a *answer) chunk(most int) ([]byte, error) {
	in := &a.conn.in
	for len(a.rest) == 0 && !a.over {
		data, n, done, err := a.chunks.Next(in.bytes())
		if err == http1.ErrMore {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		in.use(n)
		a.rest, a.over = data, done
	}
	b := a.rest[:min(len(a.rest), most)]
	a.rest = a.rest[len(b):]
	return b, nil
}

// next waits for more of the body; io.EOF at its end.
func (a *answer) next(e *engine, most int) ([]byte, error) {
	if a.stream != nil {
		patience := e.patience.silent
		if a.long {
			patience = 0
		}
		return a.stream.next(most, patience)
	}
	for {
		b, err := a.ready(most)
		if len(b) > 0 || err != nil {
			return b, err
		}
		if a.over {
			return nil, io.EOF
		}
		if !a.long {
			a.conn.reads.arm(e.now(), e.patience.silent)
		}
		err = a.conn.fill(e.now)
		if !a.long {
			a.conn.reads.disarm()
		}
		if err != nil {
			if err == io.EOF && a.head.Length == http1.UntilClose && !a.conn.wasReset() {
				a.over = true
				return nil, io.EOF
			}
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		a.conn.last = e.now()
	}
}

// await waits until something of the body is here, and says how much the kernel has of it.
func (a *answer) await(e *engine) (int, error) {
	if !a.long {
		a.conn.reads.arm(e.now(), e.patience.silent)
		defer a.conn.reads.disarm()
	}
	err := a.conn.arrive()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return max(waiting(a.conn.raw), 1), err
}

// trailer is what came after the body.
func (a *answer) trailer() []http1.Field {
	if a.stream != nil {
		return a.stream.trailer()
	}
	return a.chunks.Trailer
}

// close ends the node's part; whole says that the answer was passed on to its end. The connection is kept if it can be.
func (a *answer) close(x *exchange, whole bool) {
	if a.stream != nil {
		a.stream.close()
		return
	}
	c := a.conn
	if c == nil {
		return
	}
	x.front.watch(nil)
	sent := whole && a.pump.finish(x.e.patience.pump)
	if !whole || !sent || !a.over || a.head.Close || a.head.Length == http1.UntilClose || a.head.Status == 101 || len(c.in.bytes()) > 0 || c.reads.killed() {
		a.drop(x)
		return
	}
	a.conn = nil
	c.reads.disarm()
	c.node.keep(x.e, c, x.e.now())
}

// drop ends the connection, and whatever still sends on it.
func (a *answer) drop(x *exchange) {
	x.front.watch(nil)
	c := a.conn
	a.conn = nil
	c.close(x.e)
	if a.pump != nil {
		select {
		case <-a.pump.done:
		default:
			x.body.stop()
			mayGoOn := x.front.stopReading()
			<-a.pump.done
			x.body.resume(mayGoOn)
		}
	}
}
