package embedded

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errQueueFull = errors.New("all nodes have as many requests as they may, and too many wait already")
	errQueueWait = errors.New("all nodes have as many requests as they may, and none became free in time")
	errMoved     = errors.New("the request is another route's by now")
)

// gate is where a route's requests wait, in order, for a node that may take one more. Whoever makes room looks for those whom
// it serves: waiters sleep, and their requests are tried for them.
type gate struct {
	waiting atomic.Int32
	mu      sync.Mutex
	queue   []*waiter   // the first has waited longest
	full    []*exchange // serve's memory: those that found no room
}

// waiter is a request in the queue. Until over is closed its exchange is whoever's that holds the gate's mu.
type waiter struct {
	x    *exchange
	over chan struct{}
	err  error // take's, or errMoved; once over
}

// free is called when there may be room: a node has one request less.
func (g *gate) free() {
	if g.waiting.Load() != 0 {
		g.serve(false)
	}
}

// pass takes a node for the exchange, and waits for one that has room.
func (g *gate) pass(x *exchange) error {
	if g.waiting.Load() == 0 {
		if err := x.take(); err != errFull {
			return err
		}
	}
	maxQueue, patience := x.route.limits.maxQueue, x.route.limits.queueWait // another table may change them meanwhile
	if int(g.waiting.Add(1)) > maxQueue {
		g.waiting.Add(-1)
		return errQueueFull
	}
	x.decide() // which says what it waits for
	w := &waiter{x: x, over: make(chan struct{})}
	g.enqueue(w)
	g.serve(false) // a node may have become free before this was in the queue, or have room for this one alone
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.over:
		return w.err
	case <-timer.C:
		return g.leave(w, errQueueWait)
	case <-x.ctx.Done():
		return g.leave(w, errClient)
	}
}

func (g *gate) enqueue(w *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = append(g.queue, w)
}

// leave gives the place up because of err, unless the waiter was served just now.
func (g *gate) leave(w *waiter, err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.queue, w)
	if i < 0 {
		return w.err
	}
	g.queue = slices.Delete(g.queue, i, i+1)
	g.waiting.Add(-1)
	return err
}

// serve tries those who wait, in order: one that finds no room does not hold up another one that may use other nodes. Those who
// could only find what one before them did not find are left out, unless the table is another one, in which each looks for
// itself.
func (g *gate) serve(another bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	full, kept := g.full[:0], 0
	for _, w := range g.queue {
		if another || !slices.ContainsFunc(full, w.x.narrower) {
			if w.err = w.x.take(); w.err == errFull && &w.x.route.stats.gate != g {
				w.err = errMoved
			}
			if w.err != errFull {
				g.waiting.Add(-1)
				close(w.over)
				continue
			}
			full = append(full, w.x)
		}
		g.queue[kept] = w
		kept++
	}
	clear(g.queue[kept:])
	g.queue = g.queue[:kept]
	clear(full)
	g.full = full[:0]
}

// narrower says whether the exchange may only use nodes that the other one may use too. Both are in the same route's queue.
func (x *exchange) narrower(than *exchange) bool {
	if x.choice.release != than.choice.release || x.choice.first != nil && x.choice.first != than.choice.first {
		return false
	}
	for _, n := range than.choice.tried {
		if !contains(x.choice.tried, n) {
			return false
		}
	}
	return true
}

// serveAll is called when a table has become effective, and now and then: a node that is in order again makes room that
// nobody gave back, and so does another route with the same fleet.
func (m *memory) serveAll(another bool) {
	for _, s := range m.routes {
		if s.gate.waiting.Load() != 0 {
			s.gate.serve(another)
		}
	}
}
