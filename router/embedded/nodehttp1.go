package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootandshoot/release/router/embedded/http1"
)

const maxAnswerHead = 256 << 10

// untilSent is no limit: the wait for an answer while the request's body goes on. It has one all the same, so that the wait can be ended.
const untilSent = 365 * 24 * time.Hour

// tryHTTP1 sends the request over HTTP/1.1 and waits for the head of the answer.
func (x *exchange) tryHTTP1() (*answer, error) {
	now := x.e.now()
	c, err := x.node.connect(x.ctx, x.e, x.oldest(now), now)
	if err != nil {
		return nil, err
	}
	x.conn = c
	a := &x.answer
	a.start(c)
	c.begin()
	x.front.watch(&c.reads)
	c.waiting.begin(x.req.Method)
	err = x.sendHead(c, a, now)
	if err == nil || c.readable() {
		err = x.awaitHead(c, a)
	} else {
		err = c.unsent(err)
	}
	c.waiting.end()
	if err != nil {
		if errors.Is(err, errFailed) {
			_ = c.SetLinger(0) // what it has not acknowledged must not reach it when it is back
		}
		a.drop(x)
		return nil, err
	}
	return a, nil
}

// oldest is how long the connection that the request goes out on may have been idle.
func (x *exchange) oldest(now time.Time) time.Duration {
	switch {
	case x.fresh || x.req.Upgrade != nil:
		return 0
	case idempotent(x.req.Method):
		return repeatableIdle
	case x.node.hastyUntil.Load() > instant(now):
		return 0
	}
	return carefulIdle
}

// sendHead writes the request's head, and its body when that is here already; else the body begins to follow.
func (x *exchange) sendHead(c *nodeConn, a *answer, now time.Time) error {
	b := x.body
	length := int64(noBody)
	switch {
	case b != nil:
		length = b.length
	case x.req.Get(http1.ContentLength) != nil:
		length = 0
	}
	room := x.e.bufs.get()
	defer x.e.bufs.put(room)
	out := x.appendRequest(room[:0], length, b.streamed() && b.expect)
	if b != nil && len(b.whole) > 0 && len(out)+len(b.whole) <= len(room) {
		out = append(out, b.whole...)
	}
	c.writes.arm(now, x.e.patience.stall)
	_, err := c.Write(out)
	if err == nil && b != nil && len(b.whole) > 0 && len(out)+len(b.whole) > len(room) {
		_, err = c.Write(b.whole)
	}
	c.writes.disarm()
	if err != nil || !b.streamed() {
		c.reads.arm(x.e.now(), x.timeout())
		return err
	}
	if !b.expect {
		return x.startPump(c, a)
	}
	c.reads.arm(x.e.now(), x.e.patience.goOn)
	return nil
}

func (x *exchange) timeout() time.Duration {
	if t := x.route.limits.timeout; t > 0 {
		return t
	}
	return x.e.cfg.NodeTimeout
}

// awaitHead reads the head of the answer. Interim answers are passed on.
func (x *exchange) awaitHead(c *nodeConn, a *answer) error {
	for {
		n, err := http1.ParseResponse(c.in.bytes(), x.req.Method, &a.head)
		if errors.Is(err, http1.ErrMore) {
			if err := c.fill(x.e.now); err != nil {
				if err = x.recalled(c, err); err == nil {
					continue
				}
				if err = x.continueAnyway(c, a, err); err != nil {
					return err
				}
				continue
			}
			x.begun = true
			c.last = x.e.now()
			continue
		}
		if err != nil {
			return fmt.Errorf("the node's answer is malformed: %v", err) // not wrapped: it is not the client's fault
		}
		c.in.use(n)
		switch {
		case a.head.Status == 101 && (!x.asks() || a.head.Upgrade == nil):
			return errUnasked
		case a.head.Status >= 200 || a.head.Status == 101:
			a.pump.answered()
			c.reads.disarm()
			a.frame()
			return nil
		}
		if err := x.interim(c, a); err != nil {
			return err
		}
	}
}

// interim handles an answer before the answer.
func (x *exchange) interim(c *nodeConn, a *answer) error {
	if a.head.Status == 100 {
		if x.body.streamed() && x.body.expect && a.pump == nil {
			if err := x.front.inform(&a.head); err != nil {
				return errors.Join(errClient, err)
			}
			x.body.expect = false
			c.reads.disarm()
			return x.startPump(c, a)
		}
		return nil // nobody asked
	}
	if err := x.front.inform(&a.head); err != nil {
		return errors.Join(errClient, err)
	}
	return nil
}

// continueAnyway sends the body when the node did not say in time whether it wants it: many do not know the question. err is
// why waiting for the node ended; it comes back when that was not the reason.
func (x *exchange) continueAnyway(c *nodeConn, a *answer, err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) || !x.body.streamed() || !x.body.expect || a.pump != nil || c.reads.killed() {
		return err
	}
	c.reads.disarm()
	x.body.expect = false
	if err := x.front.inform(&http1.Head{Status: 100, Reason: []byte("Continue")}); err != nil {
		return errors.Join(errClient, err)
	}
	return x.startPump(c, a)
}

var errUnasked = errors.New("the node changed the protocol unasked")

// pump is a request's body on its way to the node.
type pump struct {
	done  chan struct{}
	err   error // once done
	moved atomic.Int64

	mu     sync.Mutex // over headed, and what the end of the body does to the wait for the answer's head
	headed bool
}

// answered says that the wait for the answer's head is over.
func (p *pump) answered() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.headed = true
}

// finish lets a body that was answered already go on for as long as it moves, and says whether all of it was sent.
func (p *pump) finish(patience time.Duration) bool {
	if p == nil {
		return true
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for before := p.moved.Load(); ; {
		select {
		case <-p.done:
			return p.err == nil
		case <-timer.C:
			now := p.moved.Load()
			if now == before {
				return false
			}
			before = now
			timer.Reset(patience)
		}
	}
}

func (x *exchange) startPump(c *nodeConn, a *answer) error {
	from, err := x.body.attempt()
	if err != nil {
		return err
	}
	p := &pump{done: make(chan struct{})}
	a.pump = p
	e, b, timeout := x.e, x.body, x.timeout()
	c.reads.arm(e.now(), untilSent)
	go func() {
		defer close(p.done)
		p.err = p.send(e, c, from, b.length, b.trailer)
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case b.clientFailed():
			c.reads.kill() // nobody needs to wait for an answer
		case p.headed:
		case p.err == nil:
			c.reads.arm(e.now(), timeout)
		default:
			c.reads.arm(e.now(), e.patience.broken) // the node may have answered before it broke off
		}
	}()
	return nil
}

// send writes a body to the node.
func (p *pump) send(e *engine, c *nodeConn, from io.Reader, length int64, trailer func() []http1.Field) error {
	room := e.bufs.get()
	defer e.bufs.put(room)
	const head = 16 // room before the data for a chunk's head
	for {
		n, err := from.Read(room[head:pieceSize])
		if n > 0 {
			out := room[head : head+n]
			if length == http1.Chunked {
				out = framed(room[:], head, n)
			}
			c.writes.arm(e.now(), e.patience.stall)
			_, werr := c.Write(out)
			c.writes.disarm()
			if werr != nil {
				return werr
			}
			p.moved.Add(int64(n))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if length != http1.Chunked {
		return nil
	}
	c.writes.arm(e.now(), e.patience.stall)
	defer c.writes.disarm()
	_, err := c.Write(http1.AppendLastChunk(room[:0], trailer()))
	return err
}

// framed is room[head:head+n] as a chunk; its frame is written around it.
func framed(room []byte, head, n int) []byte {
	var size [20]byte
	h := http1.AppendChunkHeader(size[:0], n)
	start := head - len(h)
	copy(room[start:], h)
	room[head+n], room[head+n+1] = '\r', '\n'
	return room[start : head+n+2]
}
