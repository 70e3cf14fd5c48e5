package embedded

import (
	"context"
	"errors"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/bootandshoot/release/router/embedded/http1"
)

var (
	// errRefused: the node did not process the request at all, and says so: it may be sent again, whatever it is. [RFC 9113, 8.7]
	errRefused = errors.New("the node gave the request back")
	// errUnreached: there was no connection that the request could have been sent on.
	errUnreached = errors.New("the node could not be reached")
	// errTooLargeForNode is the client's: the node says how large a head it takes.
	errTooLargeForNode = &http1.Error{Status: 431, Reason: "head too large for the node"}
)

// h2cError sorts an error of net/http, which has no types for what matters here. Its words are held by tests, and others than these
// are taken for a request that the node may have processed.
func h2cError(err error) error {
	const again = "http2: Transport: cannot retry err ["
	text := err.Error()
	cause, may := strings.CutPrefix(text, again)
	switch {
	case text == "http2: request header list larger than peer's advertised limit":
		return errTooLargeForNode
	case may && strings.HasPrefix(cause, "stream error: ") && strings.Contains(cause, "; REFUSED_STREAM; "),
		may && strings.HasPrefix(cause, "http2: Transport received Server's graceful shutdown GOAWAY"),
		strings.HasPrefix(text, "http2: Transport received GOAWAY from server ErrCode:"):
		return errRefused
	case text == "http2: client conn could not be established": // it ended before the request could be sent
		return errors.Join(errUnreached, err)
	}
	return err
}

// h2cOnce ends a request without a body when net/http is about to send it a second time, to the same node and with ever longer pauses:
// another node may take it. net/http does so only with what the node has not processed, or may get twice.
type h2cOnce struct {
	cancel      context.CancelFunc
	sent, again atomic.Bool
}

func (o *h2cOnce) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { o.sent.Store(true) },
		GotConn: func(httptrace.GotConnInfo) {
			if o.sent.Load() {
				o.again.Store(true)
				o.cancel()
			}
		},
	})
}

// h2cSending is an attempt that net/http reads.
type h2cSending struct {
	*attempt
	front front

	mu      sync.Mutex
	reading bool
	closed  bool // nothing more is wanted, or another one reads the connection
}

// Read is io.Reader's.
func (s *h2cSending) Read(p []byte) (int, error) {
	if !s.begin() {
		return 0, errStopped
	}
	defer s.end()
	return s.attempt.Read(p)
}

func (s *h2cSending) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = !s.closed
	return s.reading
}

func (s *h2cSending) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
}

// Close is io.Closer's: the node wants no more of the body. A read that waits for the client ends, for net/http waits for it before
// it says what became of the request.
func (s *h2cSending) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.reading { // until end, so that no other read of the connection is ended
		s.body.interrupt(s.front.stopReading)
	}
	return nil
}

// over is called when the sending was taken back. net/http may close it later, in a goroutine of its own: that must not end another
// read of the connection, as the one for the next request. nil is none.
func (s *h2cSending) over() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.reading = true, false
}
