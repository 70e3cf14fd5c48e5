package embedded

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// A connection is ended whose client took back more than half of at least manyStreams requests within hastyReset of their
// begin: each costs the router and a node far more than the client. [CVE-2023-44487]
const (
	manyStreams = 500
	hastyReset  = time.Second
)

// hasty counts what the client of one h2 connection took back.
type hasty struct {
	conn        net.Conn
	begun, back atomic.Int64
	ended       atomic.Bool
}

type hastyKey struct{}

// withHasty is http.Server's ConnContext.
func withHasty(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, hastyKey{}, &hasty{conn: c})
}

// countReset is called at the end of a request.
func countReset(x *exchange) {
	c, ok := x.ctx.Value(hastyKey{}).(*hasty)
	if !ok {
		return
	}
	begun := c.begun.Add(1)
	// An answer without a body ends its stream too, but nothing went wrong then.
	if x.ctx.Err() == nil || x.outcome == "" || x.e.now().Sub(x.start) > hastyReset {
		return
	}
	if c.back.Add(1) > begun/2 && begun >= manyStreams && c.ended.CompareAndSwap(false, true) {
		x.e.rejected("rapid reset")
		_ = c.conn.Close()
	}
}
