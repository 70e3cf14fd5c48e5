package embedded

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/bootandshoot/release/router/embedded/http1"
)

// replayLimit is how much of a request body is kept so that it can be sent again.
const replayLimit = 32 << 10

// body is a request's body. A small one that arrived with its head is sent with the head; others are read while they are
// sent, and kept as far as they are small, so that they can be sent more than once. Only the newest attempt reads.
type body struct {
	length    int64                // or http1.Chunked
	whole     []byte               // all of it, when it is here already
	src       io.Reader            // else
	expect    bool                 // the client waits for "100 Continue"
	announced []string             // names of trailers to come, where they are no field of the head
	trailer   func() []http1.Field // after the end of src
	yield     func()               // is to be called if a sending may be ended for another one; nil: it may anyway
	first     func() error         // looks at what is here already, without using it; nil: nothing to look at

	unhurried atomic.Bool // the client may be silent for as long as it likes
	stopped   atomic.Bool // whoever sends it is to leave off

	mu     sync.Mutex
	kept   []byte
	lost   bool // more was read than is kept
	failed error
	ended  bool
	latest *attempt
}

var (
	errSuperseded = errors.New("request body is being sent on another connection")
	errConsumed   = errors.New("request body can not be sent again")
	errStopped    = errors.New("request body is not wanted any more")
)

// reset makes it ready for another request's.
func (b *body) reset(length int64) { *b = body{length: length} }

// stop makes a sending that waits for more leave off; stopReading ends its wait. The client is not at fault then.
func (b *body) stop() { b.stopped.Store(true) }

// resume is called when the sending has left off: another one can begin, or not.
func (b *body) resume(can bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped.Store(false)
	b.latest = nil
	b.lost = b.lost || !can
}

// interrupt ends a read that waits for the client. Another sending may begin, if that leaves the rest to be read.
func (b *body) interrupt(stopReading func() (mayGoOn bool)) {
	b.stop()
	mayGoOn := stopReading()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = b.lost || !mayGoOn
}

// takeBack ends the newest sending wherever it is: after it, nobody reads from the client.
func (x *exchange) takeBack() {
	b := x.body
	if !b.streamed() {
		return
	}
	defer func() {
		x.sending.over()
		x.sending = nil
	}()
	mayGoOn := true
	if b.mu.TryLock() {
		b.latest = nil
		b.mu.Unlock()
		return
	}
	b.stop() // it waits for the client
	mayGoOn = x.front.stopReading()
	b.resume(mayGoOn)
}

// check refuses a body whose beginning is malformed before any node sees the request.
func (b *body) check() error {
	if b.first == nil {
		return nil
	}
	return b.first()
}

// streamed says whether the body has to be read while it is sent.
func (b *body) streamed() bool { return b != nil && b.src != nil }

// attempt starts another sending, or says errConsumed: too much was read, or an attempt waits for the client right now.
func (b *body) attempt() (*attempt, error) {
	if !b.mu.TryLock() {
		return nil, errConsumed
	}
	defer b.mu.Unlock()
	if b.lost || b.failed != nil {
		return nil, errConsumed
	}
	b.stopped.Store(false)
	b.latest = &attempt{body: b}
	return b.latest, nil
}

// repeatable says whether all that was read so far can be sent again.
func (b *body) repeatable() bool {
	if !b.streamed() {
		return true
	}
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	return !b.lost && b.failed == nil
}

// clientFailed says whether reading from the client failed.
func (b *body) clientFailed() bool { return b.failure() != nil }

// failure is why reading from the client failed, as far as can be told without waiting for it.
func (b *body) failure() error {
	if !b.streamed() || !b.mu.TryLock() {
		return nil
	}
	defer b.mu.Unlock()
	return b.failed
}

// used says whether all of the body was read.
func (b *body) used() bool {
	if !b.streamed() {
		return true
	}
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	return b.ended
}

// soonUsed says whether, when an answer begins, the rest of the body can be expected to be read in time for another
// request on the connection: it is all here, or the node has asked for it.
func (b *body) soonUsed() bool { return !b.streamed() || !b.expect }

// attempt is one sending.
type attempt struct {
	body *body
	at   int
}

// Read is io.Reader's.
func (a *attempt) Read(p []byte) (int, error) {
	b := a.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.latest != a {
		return 0, errSuperseded
	}
	if a.at < len(b.kept) {
		n := copy(p, b.kept[a.at:])
		a.at += n
		return n, nil
	}
	if b.ended {
		return 0, io.EOF
	}
	n, err := b.src.Read(p)
	if !b.lost && len(b.kept)+n <= replayLimit {
		b.kept = append(b.kept, p[:n]...)
		a.at += n
	} else if n > 0 {
		b.lost, b.kept, a.at = true, nil, 0
	}
	b.ended = b.ended || err == io.EOF
	switch {
	case err == nil || err == io.EOF:
	case b.stopped.Load():
		err = errStopped
	default:
		b.failed = err
	}
	return n, err
}

// Close does not close the body, which is the client's connection's.
func (a *attempt) Close() error { return nil }
