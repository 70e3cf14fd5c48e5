package embedded

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/bootandshoot/release/router/embedded/http1"
)

// hedge is two tries of one request at the same time (router.Balance.HedgeAfter): the first in the request's own goroutine, the second
// in the hedge's, once the first has been slow. The first of them that has an answer wins, and the other one is dropped.
// [Dean, Barroso: The Tail at Scale, CACM 56(2), 2013]
type hedge struct {
	x             *exchange
	ctx           context.Context // the request's
	choice        choice          // of the first try; the exchange's own is not the hedge's to read while that goes on
	fleet         string          // of the first try, which the second one stays in
	timer         *time.Timer
	first, second leg

	mu     sync.Mutex
	over   bool // no second try may begin any more
	winner *leg // nil: none yet

	y      *exchange     // the second try's; nil: there is none
	other  *node         // of it
	answer *answer       // of it
	err    error         // of it
	done   chan struct{} // closed when it has ended
}

// errWorse: the second try has the answer of a node that is ill.
var errWorse = errors.New("the answer of the second node is an error")

// leg is what a try has for a front while there may be two: only one of them ends when the client goes away, and speaks to it.
type leg struct {
	front
	cancel context.CancelFunc

	mu    sync.Mutex
	guard *guard // of the try's connection; nil: none
	heard bool   // by the client
	lost  bool
}

// newHedge is for the try that comes next; nil: it has none. A request gets a second one once.
func (x *exchange) newHedge() *hedge {
	after := x.route.limits.hedgeAfter
	if after == 0 || x.hedge != nil || x.body != nil || x.req.Upgrade != nil || !safe(x.req.Method) || x.seen()+2 > maxTries {
		return nil
	}
	h := &hedge{x: x, ctx: x.ctx, choice: x.choice, fleet: x.target.id}
	h.choice.tried = append(slices.Clone(x.choice.tried), x.node)
	h.first.front, h.first.heard = x.front, true
	x.front = &h.first
	x.ctx, h.first.cancel = context.WithCancel(h.ctx)
	h.timer = time.AfterFunc(after, h.begin)
	return h
}

// attempt is one try, or two at the same time.
func (x *exchange) attempt() (*answer, error) {
	h := x.newHedge()
	a, err := x.try()
	if h == nil {
		return a, err
	}
	return h.settle(a, err)
}

// begin makes the second try, if there is a node for it that has room at once and the budget allows it.
func (h *hedge) begin() {
	if !h.enter() {
		return
	}
	defer close(h.done)
	a, err := h.y.try()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer, h.err = a, err
	switch {
	case h.winner != nil: // nobody waits for it any more
	case err == nil && a.head.Status < 500:
		h.winner = &h.second
		h.first.lose()
	default:
		h.yield()
	}
}

// yield ends a second try that does not help: the first may go on for long, and do better than an error of its node.
func (h *hedge) yield() {
	if h.answer != nil {
		h.y.ill()
		h.answer.close(h.y, false)
		h.answer, h.err = nil, errWorse
	} else {
		h.y.note(h.err)
	}
	h.y.release()
}

func (h *hedge) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false
	}
	x := h.x
	y := &exchange{
		e: x.e, address: x.address, secure: x.secure, peer: x.peer, proto: x.proto, req: x.req, client: x.client, host: x.host, urlPath: x.urlPath,
		start: x.start, visitor: x.visitor, span: x.span, choice: h.choice,
	}
	if !y.takeOf(h.fleet) {
		return false
	}
	if !y.route.stats.budget.spend() {
		y.release()
		return false
	}
	y.route.stats.retried.Add(1)
	h.other, h.second.front = y.node, h.first.front
	y.front = &h.second
	y.ctx, h.second.cancel = context.WithCancel(h.ctx)
	h.y, h.done = y, make(chan struct{})
	return true
}

// takeOf takes another node of a fleet, one that is in order and has room while nobody waits for that.
func (x *exchange) takeOf(fleet string) bool {
	c := x.e.current.Load()
	if !x.matchIn(c) || x.route.stats.gate.waiting.Load() > 0 {
		return false
	}
	i := slices.IndexFunc(x.route.targets, func(t *target) bool { return t.id == fleet })
	if i < 0 {
		return false
	}
	x.choice.now = instant(x.e.now())
	t := x.route.targets[i]
	n := t.pick(x.route, &x.choice, func(n *node) bool { return n.skipUntil.Load() == 0 })
	return n != nil && x.enter(c, t, n)
}

// settle gives the answer of the request, by whichever try, when the first one has ended.
func (h *hedge) settle(a *answer, err error) (*answer, error) {
	x := h.x
	x.front, x.ctx = h.first.front, h.ctx
	h.timer.Stop()
	h.mu.Lock()
	h.over = true
	if err == nil && h.winner == nil {
		h.winner = &h.first
	}
	won, beaten := h.winner == &h.first, h.winner == &h.second
	h.mu.Unlock()
	switch {
	case h.y == nil:
	case won:
		h.drop()
	default:
		a, err = h.await(a, err, beaten)
	}
	if err != nil && h.y == nil {
		h.close()
		return nil, err
	}
	x.hedge = h
	return a, err
}

// drop ends the second try.
func (h *hedge) drop() {
	h.second.lose()
	<-h.done
	if h.answer != nil {
		h.answer.close(h.y, false)
	}
	h.y.release()
	h.x.tries += h.y.tries
}

// await gives what comes of the second try: the first one is beaten, or has failed.
func (h *hedge) await(a *answer, err error, beaten bool) (*answer, error) {
	x, y := h.x, h.y
	h.second.hear()
	<-h.done
	x.tries += y.tries
	switch {
	case h.err != nil:
		x.connect, x.refused = x.connect+y.connect, x.refused+y.refused
		x.choice.tried = append(x.choice.tried, h.other)
		return nil, err
	case a != nil: // in the same moment
		a.close(x, false)
	case beaten:
		x.ill() // no failure, but as late as one if it goes on
	default:
		x.note(err)
	}
	x.release()
	x.node, x.target, x.conn = y.node, y.target, y.conn
	return h.answer, nil
}

// close is called when the request is over.
func (h *hedge) close() {
	if h == nil {
		return
	}
	h.first.cancel()
	if h.y != nil {
		h.second.cancel()
	}
}

// lose ends a try that nobody waits for any more.
func (l *leg) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
	if l.guard != nil {
		l.guard.kill()
	}
	l.cancel()
}

// hear gives the second try what the first one had of the client.
func (l *leg) hear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = true
	l.front.watch(l.guard)
}

// watch is front's.
func (l *leg) watch(g *guard) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guard = g
	if g != nil && l.lost {
		g.kill()
	}
	if l.heard {
		l.front.watch(g)
	}
}

// inform is front's.
func (l *leg) inform(h *http1.Head) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.heard {
		return nil
	}
	return l.front.inform(h)
}
