package embedded

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/bootandshoot/release/router/embedded/http1"
)

var (
	errNoNode  = errors.New("no node can take the request")
	errClient  = errors.New("the client's part of the request broke")
	errNoRoute = errors.New("no route for the request")
	errFull    = errors.New("no node may take one more request")
)

// front is the client's side of an exchange: HTTP/1.1 or h2.
type front interface {
	// inform passes an interim answer on.
	inform(h *http1.Head) error
	// pass sends the node's answer. An error that is errClient is the client's, any other the node's.
	pass(x *exchange, a *answer) error
	// reply sends an answer of the router's own.
	reply(x *exchange, status int, text string, fields ...http1.Field)
	// part answers a gRPC call that is ended before its node has answered.
	part(x *exchange)
	// tunnel joins the client's connection and the node's, and returns when both have ended.
	tunnel(x *exchange, a *answer) error
	// watch says which wait ends when the client goes away; nil: none.
	watch(g *guard)
	// stopReading ends a read from the client that waits. Another one may follow, or not.
	stopReading() (mayGoOn bool)
	// unhurry lets the client be silent in the middle of its body from now on.
	unhurry()
}

// exchange is one request from arrival to the last byte of its answer, over all its tries. It is used again for the next
// request of a connection.
type exchange struct {
	e       *engine
	front   front
	address string         // the listen address
	secure  bool           // TLS
	peer    netip.AddrPort // who is connected
	proto   string         // for the log
	ctx     context.Context

	req     *http1.Head
	body    *body // nil: none
	client  netip.Addr
	host    string // as normalHost gives it
	urlPath string // decoded
	start   time.Time

	route   *path
	choice  choice
	visitor visitor
	ruled   bool // a rule names the fleet

	node      *node // the one that has the request now
	target    *target
	tries     int
	connect   int // of those, tries that made no connection
	refused   int // and tries that the node gave back unprocessed
	begun     bool
	conn      *nodeConn   // of the last try
	sending   *h2cSending // of the last try, until it is taken back; nil: none
	fresh     bool        // the next try needs a new connection
	again     bool        // the only node got a second chance
	hedge     *hedge      // whose contexts end with the request; nil: none
	lastCause cause

	status  int
	bytes   int64
	outcome string // why it failed, for the access log
	aborted bool   // the client's connection must end
	closed  bool   // the client was told that it ends
	broken  bool   // in the middle of an answer
	tried   [4]*node
	answer  answer
	span    trace.Span // nil: none
}

// begin makes the exchange ready for a request.
func (x *exchange) begin(req *http1.Head, b *body) {
	*x = exchange{e: x.e, front: x.front, address: x.address, secure: x.secure, peer: x.peer, proto: x.proto, ctx: x.ctx, answer: x.answer}
	x.req, x.body, x.start = req, b, x.e.now()
	x.host = normalHost(view(req.Host))
	x.urlPath = pathOf(req)
	x.choice.tried = x.tried[:0]
	x.choice.random = x.e.random
}

// pathOf is the decoded path; one that does not decode is taken as it stands.
func pathOf(req *http1.Head) string {
	path := view(req.Path)
	if path == "" || path[0] != '/' {
		return "/" // "OPTIONS *"
	}
	if strings.IndexByte(path, '%') < 0 {
		return path
	}
	if decoded, err := url.PathUnescape(path); err == nil {
		return decoded
	}
	return path
}

// run answers the request.
func (x *exchange) run() {
	x.e.inFlight.Add(1)
	defer x.finish()
	if string(x.req.Method) == "CONNECT" {
		x.e.rejected("CONNECT")
		x.front.reply(x, 405, "Method Not Allowed", http1.Field{Name: []byte("Allow"), Value: []byte("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")})
		return
	}
	if !x.match() {
		x.aborted = true // a route that left; nothing more will come
		x.front.reply(x, 404, "no route for this host and path")
		return
	}
	if x.redirected() {
		return
	}
	a, err := x.send()
	if err != nil {
		x.fail(err)
		return
	}
	x.accept(a)
	if x.body.streamed() {
		x.front.unhurry()
	}
	if a.head.Status == 101 {
		err = x.front.tunnel(x, a)
	} else {
		err = x.front.pass(x, a)
	}
	x.end(a, err)
}

// end settles the answer's part after it was passed on, or was not.
func (x *exchange) end(a *answer, err error) {
	switch {
	case err == nil:
	case errors.Is(err, errClient):
		x.outcome, x.aborted = err.Error(), true
	case errors.Is(err, errCut):
		x.outcome, x.aborted = err.Error(), x.proto != "HTTP/2.0"
	default:
		x.outcome, x.aborted = "cut in the middle: "+err.Error(), true
		x.countFailure(x.classify(err))
		x.route.stats.failed.Add(1)
	}
	a.close(x, err == nil)
}

// finish is called however the exchange ended.
func (x *exchange) finish() {
	x.log()
	x.endSpan()
	x.release()
	x.hedge.close()
	x.e.inFlight.Add(-1)
}

// match finds the route in the effective table and counts the request once.
func (x *exchange) match() bool {
	c := x.e.current.Load()
	if !x.matchIn(c) {
		return false
	}
	p := x.route
	p.stats.requests.Add(1)
	p.stats.budget.earn()
	x.client = p.clientOf(x.peer.Addr(), x.req)
	if x.choice.release = p.preview.release(x.req, x.client); x.choice.release == "" {
		x.choice.position = position(p.stats.draws.Add(1))
		if p.sticky != nil {
			x.visitor = p.sticky.visitor(x.req, x.client)
		}
	}
	x.span = x.e.tracer.begin(x)
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

// decide says whose turn it is in the table that the route is of.
func (x *exchange) decide() {
	p := x.route
	x.choice.first, x.ruled = nil, false
	for i := range p.rules {
		if p.rules[i].matches(x.req, x.urlPath, x.client) {
			x.choice.first, x.ruled = p.rules[i].to, true
			break
		}
	}
	if !x.visitor.known {
		x.choice.index = p.split.index(x.choice.position)
		return
	}
	x.choice.index = prefer(p.weighted, x.visitor.id)
	if x.choice.first != nil || x.visitor.fleet == 0 {
		return
	}
	for _, t := range p.targets {
		if t.sessions && t.seed == x.visitor.fleet {
			x.choice.first = t
		}
	}
}

// acquire picks a node, and waits for one where nodes may have only so many requests.
func (x *exchange) acquire() error {
	if x.route.limits.maxInFlight == 0 {
		if err := x.take(); err != errFull { // which the table that is effective by now may say
			return err
		}
	}
	for {
		if err := x.route.stats.gate.pass(x); err != errMoved {
			return err
		}
	}
}

// take picks a node by the effective table and counts the request in flight there.
func (x *exchange) take() error {
	for {
		c := x.e.current.Load()
		if !x.matchIn(c) {
			return errNoRoute
		}
		x.decide()
		x.choice.now = instant(x.e.now())
		t, n := x.route.pick(&x.choice)
		if n == nil {
			if !x.choice.full {
				return errNoNode
			}
			if x.forgive() {
				continue
			}
			return errFull
		}
		if x.enter(c, t, n) {
			return nil
		}
	}
}

// enter counts the request in flight at a node of the table, if that has room. It looks again whether the table is still effective
// after counting: so whoever swaps the table and then sees a node empty knows that it stays empty.
func (x *exchange) enter(c *compiled, t *target, n *node) bool {
	if !n.enterFlight(x.route.limits.maxInFlight) {
		return false
	}
	if x.e.current.Load() == c {
		x.target, x.node = t, n
		return true
	}
	n.inFlight.Add(-1)
	return false
}

// forgive lets the exchange try nodes again that could not be reached and have been since, and says whether there are any. While
// a request waits, nodes come back.
func (x *exchange) forgive() bool {
	if x.seen() > 0 {
		return false // one of them may have seen the request
	}
	before := len(x.choice.tried)
	x.choice.tried = slices.DeleteFunc(x.choice.tried, func(n *node) bool { return n.skipUntil.Load() == 0 })
	return len(x.choice.tried) < before
}

// release ends the node's part.
func (x *exchange) release() {
	if x.node != nil {
		x.node.inFlight.Add(-1)
		x.node = nil
		x.route.stats.gate.free()
	}
}

// accept counts the node's answer.
func (x *exchange) accept(a *answer) {
	n, now := x.node, x.e.now()
	n.reached()
	x.status = a.head.Status
	x.target.stats.codes[min(x.status/100, 5)].Add(1)
	if x.status >= 500 {
		n.stats.status5x.Add(1)
		n.ill(x.target, x.route.limits.ejectAfter, instant(now))
	} else {
		n.well()
	}
	took := now.Sub(x.start)
	n.stats.latency.observe(took, x.e.bounds)
	x.target.stats.latency.observe(took, x.e.bounds)
}

// fail answers for nodes that could not.
func (x *exchange) fail(err error) {
	stats := x.route.stats
	x.outcome = err.Error()
	var refused *http1.Error
	switch {
	case errors.As(err, &refused):
		x.aborted = true
		stats.rejected.Add(1)
		x.e.rejected(refused.Reason)
		text := "the request body is malformed"
		if refused.Status != 400 {
			text = refused.Reason
		}
		x.front.reply(x, refused.Status, text)
	case errors.Is(err, errClient):
		x.aborted = true
		x.status = 499 // nginx's code for a client that went away; only the log sees it
		switch {
		case x.ctx.Err() != nil:
		case errors.Is(x.body.failure(), os.ErrDeadlineExceeded):
			x.e.rejected("the request body stopped coming")
			x.front.reply(x, 408, "the request body stopped coming")
			x.status = 499
		default:
			x.e.rejected("the request body is incomplete")
			x.front.reply(x, 400, "the request body is incomplete")
			x.status = 499
		}
	case errors.Is(err, errCut):
		x.front.part(x)
	case errors.Is(err, errNoRoute):
		x.front.reply(x, 404, "no route for this host and path")
	case errors.Is(err, errNoNode) && x.choice.release != "":
		x.front.reply(x, 503, "no node of release "+x.choice.release)
	case errors.Is(err, errNoNode), errors.Is(err, errQueueFull), errors.Is(err, errQueueWait):
		stats.noNode.Add(1)
		stats.failed.Add(1)
		x.front.reply(x, 503, err.Error(), http1.Field{Name: []byte("Retry-After"), Value: []byte("1")})
	case x.lastCause == causeLocal:
		stats.failed.Add(1)
		x.front.reply(x, 503, "the router has too many connections", http1.Field{Name: []byte("Retry-After"), Value: []byte("1")})
	case x.lastCause == causeTimeout:
		stats.failed.Add(1)
		x.front.reply(x, 504, "the node did not answer in time")
	default:
		stats.failed.Add(1)
		x.front.reply(x, 502, "the node broke off or could not be reached")
	}
}
