package embedded

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// nodeKey is what makes a node the same one in two tables.
type nodeKey struct{ fleet, name, address string }

// node is one address with its connections and counters. It lives from the first table that names it until it has
// left the table and is empty.
type node struct {
	nodeKey
	inFlight atomic.Int64
	stats    nodeStats
	joined   int64     // when a table first named it, an instant
	empty    time.Time // since when it could be forgotten; guarded by engine.mu
	h2c      *http.Transport

	// Passive ejection. skipUntil is an instant, 0 for a node in order; failures are connects that failed in a row,
	// bad other failures in a row.
	failures, bad atomic.Int32
	skipUntil     atomic.Int64
	ejected       atomic.Bool // skipped because of bad answers, not for lack of connections

	failed atomic.Int32 // a failure: why it left the table

	// hastyUntil: the node closes connections right after use without saying so, so requests that may not be repeated
	// get new ones until then, an instant.
	hastyUntil atomic.Int64

	mu      sync.Mutex
	idle    []*nodeConn       // the one used last at the end
	gone    bool              // it left: connections are not kept
	long    map[longConn]bool // true: it is being ended
	closeBy int64             // when its long connections are to have ended, an instant; 0: they may stay
}

const (
	dialTimeout    = time.Second
	repeatableIdle = 30 * time.Second
	carefulIdle    = 200 * time.Millisecond // far below any server's own idle limit, which would close it under us
	maxIdleConns   = 512
	firstSkip      = time.Second
	longestSkip    = 5 * time.Second
	ejectTime      = 10 * time.Second
	hastyMemory    = time.Minute
)

func newNode(k nodeKey, joined int64) *node {
	return &node{nodeKey: k, joined: joined, long: map[longConn]bool{}}
}

// connect takes an idle connection that is fit for the request, or makes one.
func (n *node) connect(ctx context.Context, e *engine, oldest time.Duration, now time.Time) (*nodeConn, error) {
	n.mu.Lock()
	for k := len(n.idle); k > 0 && oldest > 0; k = len(n.idle) {
		c := n.idle[k-1]
		if now.Sub(c.idle) > oldest {
			break
		}
		n.idle[k-1] = nil
		n.idle = n.idle[:k-1]
		n.mu.Unlock()
		if c.quiet() {
			return c, nil
		}
		if now.Sub(c.idle) < hastyIdle {
			n.hastyUntil.Store(instant(now) + int64(hastyMemory))
		}
		c.close(e)
		n.mu.Lock()
	}
	n.mu.Unlock()
	return n.dial(ctx, e)
}

// keep takes a connection back that can carry another request.
func (n *node) keep(e *engine, c *nodeConn, now time.Time) {
	c.used, c.idle = true, now
	c.in.drop()
	n.mu.Lock()
	if n.gone || len(n.idle) >= maxIdleConns {
		n.mu.Unlock()
		c.close(e)
		return
	}
	n.idle = append(n.idle, c)
	n.mu.Unlock()
}

// tidy closes connections that were idle for too long.
func (n *node) tidy(e *engine, now time.Time) {
	n.mu.Lock()
	k := 0
	for k < len(n.idle) && (n.gone || now.Sub(n.idle[k].idle) > repeatableIdle) {
		k++
	}
	old := append([]*nodeConn(nil), n.idle[:k]...)
	n.idle = append(n.idle[:0], n.idle[k:]...)
	n.mu.Unlock()
	for _, c := range old {
		c.close(e)
	}
}

// leave drops the idle connections of a node that is in no table; enter takes it back.
func (n *node) leave(e *engine) {
	n.mu.Lock()
	n.gone = true
	h2c := n.h2c
	n.mu.Unlock()
	n.tidy(e, e.now())
	if h2c != nil {
		h2c.CloseIdleConnections()
	}
}

func (n *node) enter() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone, n.closeBy = false, 0
}

// enterFlight counts one more request, unless the node has as many as it may. It never counts one too many, not even for an
// instant in which another request would take the node for full.
func (n *node) enterFlight(most int64) bool {
	if most == 0 {
		n.inFlight.Add(1)
		return true
	}
	for {
		now := n.inFlight.Load()
		if now >= most {
			return false
		}
		if n.inFlight.CompareAndSwap(now, now+1) {
			return true
		}
	}
}

// ready says whether the node may be picked: it is in order, or its turn to be tried again has come.
func (n *node) ready(now int64) bool {
	s := n.skipUntil.Load()
	return s == 0 || s <= now
}

// claim is called for a node that ready accepted. Of all requests that find a skipped node's time over, one wins and
// tries it; the others go elsewhere for another while.
func (n *node) claim(now int64) bool {
	s := n.skipUntil.Load()
	return s == 0 || s <= now && n.skipUntil.CompareAndSwap(s, now+int64(firstSkip))
}

// unreachable skips the node for 1 s, doubling up to 5 s while it goes on.
func (n *node) unreachable(now int64) {
	skip := firstSkip << min(n.failures.Add(1)-1, 4)
	n.skipUntil.Store(now + int64(min(skip, longestSkip)))
}

// reached ends the skipping for lack of connections: one was made.
func (n *node) reached() {
	if n.skipUntil.Load() != 0 && !n.ejected.Load() {
		n.skipUntil.Store(0)
		n.failures.Store(0)
	}
}

// well and ill count how the node answers. After so many failures in a row the node is skipped for a while, then tried
// with one request.
func (n *node) well() {
	if n.bad.Load() != 0 {
		n.bad.Store(0)
	}
	if n.ejected.Load() {
		n.ejected.Store(false)
		n.skipUntil.Store(0)
	}
}

func (n *node) ill(t *target, after int, now int64) {
	if after == 0 || int(n.bad.Add(1)) < after || !n.ejected.Load() && !t.eject(n) {
		return
	}
	n.skipUntil.Store(now + int64(ejectTime))
}

// eject takes a node out unless less than half of the fleet would be left. Nodes that become ill at the same moment are looked at one
// after the other: the first node's lock is the fleet's here.
func (t *target) eject(n *node) bool {
	t.nodes[0].mu.Lock()
	defer t.nodes[0].mu.Unlock()
	out := 1
	for _, other := range t.nodes {
		if other.ejected.Load() {
			out++
		}
	}
	if 2*out > len(t.nodes) {
		return false
	}
	n.ejected.Store(true)
	return true
}

// ramp is the node's part of its share, above 0 to 1, while it starts slowly.
func (n *node) ramp(slow time.Duration, now int64) float64 {
	age := now - n.joined
	if slow == 0 || age >= int64(slow) {
		return 1
	}
	return max(0.1, float64(age)/float64(slow))
}
