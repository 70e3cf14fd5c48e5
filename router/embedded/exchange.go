package embedded

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// exchange is one request from arrival to the last byte of its answer, over all its tries.
type exchange struct {
	e       *engine
	address string
	host    string
	urlPath string
	start   time.Time
	client  *clientConn // nil: TLS

	route  *path
	choice choice

	node      *node // the one that has the request now
	target    *target
	tries     int
	connect   int // of those, tries that made no connection
	begun     atomic.Bool
	conn      *nodeConn // of the last try
	fresh     bool      // the next try needs a new connection
	again     bool      // the only node got a second chance
	lastCause cause

	status  int
	bytes   int64
	outcome string // why it failed, for the access log
}

func newExchange(e *engine, address string, r *http.Request) *exchange {
	path := r.URL.Path
	if path == "" || path[0] != '/' {
		path = "/" // "OPTIONS *"
	}
	return &exchange{e: e, address: address, host: normalHost(r.Host), urlPath: path, start: e.now()}
}

// match finds the route in the effective table and counts the request once.
func (x *exchange) match(r *http.Request) bool {
	c := x.e.current.Load()
	if !x.matchIn(c) {
		return false
	}
	x.route.stats.requests.Add(1)
	x.route.stats.budget.earn()
	x.choice.random = x.e.random
	if x.choice.release = x.route.preview.release(r); x.choice.release == "" {
		x.choice.position = position(x.route.stats.draws.Add(1))
	}
	return true
}

func (x *exchange) matchIn(c *compiled) bool {
	if c == nil || c.listens[x.address] == nil {
		return false
	}
	p, found := c.listens[x.address].paths.find(x.host, x.urlPath)
	if found {
		x.route = p
	}
	return found
}

// acquire picks a node by the effective table and counts the request in flight there. It looks again whether the table
// is still effective after counting: so whoever swaps the table and then sees a node empty knows that it stays empty.
func (x *exchange) acquire() error {
	for {
		c := x.e.current.Load()
		if !x.matchIn(c) {
			return errNoRoute
		}
		x.choice.now = x.e.now().UnixNano()
		t, n := x.route.pick(x.choice)
		if n == nil {
			return errNoNode
		}
		n.inFlight.Add(1)
		if x.e.current.Load() == c {
			x.target, x.node = t, n
			return nil
		}
		n.inFlight.Add(-1)
	}
}

// release ends the node's part.
func (x *exchange) release() {
	if x.node != nil {
		x.node.inFlight.Add(-1)
		x.node = nil
	}
}

// accept takes the node's answer over.
func (x *exchange) accept(out *http.Request, res *http.Response) *http.Response {
	n := x.node
	n.reached()
	x.status = res.StatusCode
	x.target.stats.codes[min(res.StatusCode/100, 5)].Add(1)
	if res.StatusCode >= 500 {
		n.stats.status5x.Add(1)
	}
	took := x.e.now().Sub(x.start)
	n.stats.latency.observe(took, x.e.bounds)
	x.target.stats.latency.observe(took, x.e.bounds)
	if conn, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols {
		res.Body = newUpgradedConn(n, conn)
	} else if res.Body != http.NoBody {
		res.Body = &answerBody{ReadCloser: res.Body, x: x, ctx: out.Context()}
	}
	return res
}

// answerBody counts an answer that breaks in the middle.
type answerBody struct {
	io.ReadCloser
	x      *exchange
	ctx    context.Context
	broken bool
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.x.bytes += int64(n)
	if err != nil && err != io.EOF && b.ctx.Err() == nil && !b.broken {
		b.broken = true
		b.x.outcome = "cut in the middle: " + err.Error()
		b.x.countFailure(causeReset)
		b.x.route.stats.failed.Add(1)
	}
	return n, err
}

// upgradedConn is the node's end of a WebSocket or the like.
type upgradedConn struct {
	io.ReadWriteCloser
	node *node
}

func newUpgradedConn(n *node, conn io.ReadWriteCloser) *upgradedConn {
	c := &upgradedConn{conn, n}
	n.mu.Lock()
	n.upgraded[c] = struct{}{}
	n.mu.Unlock()
	return c
}

func (c *upgradedConn) Close() error {
	c.node.mu.Lock()
	delete(c.node.upgraded, c)
	c.node.mu.Unlock()
	return c.ReadWriteCloser.Close()
}

// CloseWrite passes on the end of one direction, where the connection can.
func (c *upgradedConn) CloseWrite() error {
	if w, ok := c.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
