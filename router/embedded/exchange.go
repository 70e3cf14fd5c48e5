package embedded

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

const (
	maxConnectTries = 8 // a refused connection costs next to nothing
	maxTries        = 3 // for requests that a node may have seen
)

var (
	errNoNode  = errors.New("no node can take the request")
	errClient  = errors.New("the client's part of the request broke")
	errNoRoute = errors.New("no route for the request")
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

// RoundTrip sends the request to one node after another until one begins to answer, as far as repeating is allowed.
func (x *exchange) RoundTrip(out *http.Request) (*http.Response, error) {
	var body *replay
	if out.Body != nil && out.Body != http.NoBody {
		body = newReplay(out.Body)
	}
	var last error
	for {
		if err := x.acquire(); err != nil {
			if last == nil {
				return nil, err
			}
			if !x.secondChance() {
				return nil, last
			}
			continue
		}
		res, err := x.try(out, body)
		if err == nil {
			return x.accept(out, res), nil
		}
		if last, err = x.settle(out, body, err); err != nil {
			return nil, err
		}
	}
}

// settle counts a failed try and gives the node up. The second error ends the exchange; the first one is for when there
// turns out to be no other node.
func (x *exchange) settle(out *http.Request, body *replay, failed error) (last, final error) {
	why := x.classify(out.Context(), body, failed)
	if why == causeReset && x.stale(body) {
		x.node.stats.requests.Add(^uint64(0)) // it never got there
		x.release()
		return failed, nil
	}
	x.countFailure(why)
	if why == causeClient {
		return nil, errors.Join(errClient, failed)
	}
	if !x.mayRepeat(out, body, why) {
		return nil, failed
	}
	x.lastCause = why
	x.choice.tried = append(x.choice.tried, x.node)
	x.release()
	x.route.stats.retried.Add(1)
	return failed, nil
}

// stale says that the node closed an idle connection just before the request reached it: once, the request goes out again
// on a new one.
func (x *exchange) stale(body *replay) bool {
	if x.fresh || x.begun.Load() || x.conn == nil || !x.conn.unseen() {
		return false
	}
	if body != nil {
		if _, err := body.begin(); err != nil {
			return false
		}
	}
	x.fresh = true
	return true
}

// secondChance lets a request that may be repeated go to a node that broke off once more, when there is no other node.
func (x *exchange) secondChance() bool {
	if x.again || x.lastCause != causeReset {
		return false
	}
	x.again, x.fresh = true, true
	x.choice.tried = x.choice.tried[:0]
	return true
}

// try sends the request to the node.
func (x *exchange) try(out *http.Request, body *replay) (*http.Response, error) {
	x.tries++
	x.node.stats.requests.Add(1)
	x.conn = nil
	trace := &httptrace.ClientTrace{
		GotFirstResponseByte: func() { x.begun.Store(true) },
		GotConn: func(info httptrace.GotConnInfo) {
			if c, ok := info.Conn.(*nodeConn); ok {
				c.begin()
				x.conn = c
			}
		},
	}
	req := out.WithContext(httptrace.WithClientTrace(out.Context(), trace))
	url := *out.URL
	url.Scheme, url.Host = "http", x.node.address
	req.URL = &url
	if body != nil {
		attempt, err := body.begin()
		if err != nil {
			return nil, err
		}
		req.Body = attempt
		req.GetBody = body.begin
	}
	return x.transport(out).RoundTrip(req)
}

func (x *exchange) transport(out *http.Request) http.RoundTripper {
	switch {
	case x.fresh:
		return x.node.fresh
	case idempotent(out.Method):
		return x.node.repeatable
	case x.node.hastyUntil.Load() > x.choice.now:
		return x.node.fresh
	}
	return x.node.careful
}

// idempotent is RFC 9110, 9.2.2.
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

func (x *exchange) classify(ctx context.Context, body *replay, err error) cause {
	if ctx.Err() != nil || body != nil && body.clientFailed() {
		return causeClient
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return causeConnect
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return causeTimeout
	}
	return causeReset
}

func (x *exchange) countFailure(why cause) {
	if why == causeClient {
		return
	}
	x.node.stats.fail(why)
	x.target.stats.failed[why].Add(1)
	if why == causeConnect {
		x.connect++
		x.node.unreachable(x.e.now().UnixNano())
	}
}

// mayRepeat: a request that no node can have seen may always go to another one; one that a node may have seen only if
// it has not begun to answer, repeating does no harm, and the route's budget allows it.
func (x *exchange) mayRepeat(out *http.Request, body *replay, why cause) bool {
	if body != nil {
		if _, err := body.begin(); err != nil {
			return false
		}
	}
	switch why {
	case causeConnect:
		return x.tries < maxConnectTries
	case causeReset:
		return !x.begun.Load() && idempotent(out.Method) && x.tries-x.connect < maxTries && x.route.stats.budget.spend()
	}
	return false
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
