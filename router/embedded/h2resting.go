package embedded

import (
	"context"
	"crypto/tls"
	"io"
	"maps"
	"net"
	"net/http"
	"time"
)

// resting is an h2 connection without a request.
type resting struct {
	since  int64 // an instant
	ending bool  // its client was told to open another one
}

// h2State notes since when an h2 connection has no request, and when it has ended.
func (l *listener) h2State(c net.Conn, s http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.resting, c)
	switch s {
	case http.StateIdle:
		l.resting[c] = &resting{since: instant(l.e.now())}
	case http.StateClosed:
		l.e.conns.Add(-1)
	}
}

// goAway is the frame that says that no more requests may come, and none is lost that is on its way (RFC 9113, 6.8). net/http sends
// it on all connections of a server or on none.
const goAway = "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x00"

// goAwayGrace is how long what is on its way may take.
const goAwayGrace = time.Second

// endResting ends an h2 connection, if it still has no request when its client has been told.
func (l *listener) endResting(c net.Conn, r *resting) {
	l.mu.Lock()
	tell := l.resting[c] == r && !r.ending
	r.ending = true
	l.mu.Unlock()
	if !tell {
		return
	}
	_, _ = io.WriteString(c, goAway) // nothing else is being written, and there is room for so little
	time.AfterFunc(goAwayGrace, func() {
		l.mu.Lock()
		rests := l.resting[c] == r
		l.mu.Unlock()
		if !rests {
			return
		}
		if t, secure := c.(*tls.Conn); secure {
			c = t.NetConn() // the end of TLS need not be said, which could wait for a client that does not read
		}
		_ = c.Close()
	})
}

// finishResting ends the connections without a request, which net/http would close without a word.
func (l *listener) finishResting(ctx context.Context) {
	l.mu.Lock()
	list := maps.Clone(l.resting)
	l.mu.Unlock()
	if len(list) == 0 || ctx.Err() != nil {
		return
	}
	for c, r := range list {
		go l.endResting(c, r)
	}
	select {
	case <-ctx.Done():
	case <-time.After(goAwayGrace):
	}
}
