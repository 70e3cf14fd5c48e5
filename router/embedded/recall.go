package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootandshoot/release/router"
)

// What becomes of requests whose node left the table because it failed (router.Failed). The sweep wakes whoever waits for an
// answer of such a node; who waits decides, since only it knows whether something of an answer has come.

// How a node left the table, from the least to the worst.
const (
	inOrder int32 = iota // it has not, or it drains
	unwell               // it failed its probes
	away                 // it is dead, or nobody sees its host
)

var (
	errFailed = errors.New("the node failed before it answered")
	// errTakenBack: the request goes to another node, which the budget has been asked for.
	errTakenBack = fmt.Errorf("%w: the request is taken back", errFailed)
)

// fail notes which nodes left the table because they failed.
func (m *memory) fail(c *compiled) {
	if len(c.table.Failed) == 0 {
		return
	}
	failed := map[fleetNode]router.Failed{}
	for _, f := range c.table.Failed {
		failed[fleetNode{f.Fleet, f.Node}] = f
	}
	for k, n := range m.nodes {
		f, is := failed[fleetNode{k.fleet, k.name}]
		switch {
		case !is || c.nodes[k] != nil:
		case f.Gone:
			n.failed.Store(away)
		default:
			n.failed.CompareAndSwap(inOrder, unwell)
		}
	}
}

// forgive takes back that nodes failed which a table has again, before any request can reach one of them.
func (c *compiled) forgive() {
	for _, n := range c.nodes {
		n.failed.Store(inOrder)
	}
}

// safe is RFC 9110, 9.2.1.
func safe(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// recallable is a request that waits for the head of its answer.
type recallable struct {
	from atomic.Int32 // the least failure of its node from which on it is to be woken; 0: nobody waits
	due  atomic.Int64 // the limit of the reading that was woken, an instant; 0: none was
}

func (r *recallable) begin(method []byte) {
	r.due.Store(0)
	if safe(method) {
		r.from.Store(unwell)
		return
	}
	r.from.Store(away)
}

func (r *recallable) end() { r.from.Store(0) }

// recall wakes who waits for the answer of a node that failed. It is the sweep's.
func (c *nodeConn) recall() {
	failed := c.node.failed.Load()
	if failed == inOrder {
		return
	}
	due := c.reads.due.Load() // before it is looked whether anybody waits: who stops waiting changes it afterwards
	from := c.waiting.from.Load()
	switch {
	case from == 0 || failed < from:
	case due > 0:
		c.waiting.due.Store(due)
		if !c.reads.fireIf(due) {
			c.waiting.due.Store(0) // another limit by now: the next sweep looks again
		}
	case due == 0 && failed == away: // the head of the request is still being written
		if due := c.writes.due.Load(); due > 0 {
			c.writes.fireIf(due)
		}
	}
}

// unsent is why a request could not be written.
func (c *nodeConn) unsent(err error) error {
	if c.node.failed.Load() == away && errors.Is(err, os.ErrDeadlineExceeded) {
		return errFailed
	}
	return err
}

// recalled decides about a request whose node failed while it waited. err is why the waiting ended; it comes back when that was
// not the reason. Nil: the waiting goes on.
func (x *exchange) recalled(c *nodeConn, err error) error {
	due := c.waiting.due.Swap(0)
	if due == 0 || !errors.Is(err, os.ErrDeadlineExceeded) || c.reads.killed() {
		return err
	}
	switch failed := c.node.failed.Load(); {
	case c.readable(): // it has answered in the same moment
		c.waiting.from.Store(away)
	case failed < c.waiting.from.Load(): // it is back in the table
	case failed == away:
		return errFailed
	case x.takesBack():
		return errTakenBack
	default:
		c.waiting.from.Store(away)
	}
	c.reads.resume(due)
	return nil
}

// takesBack says whether a safe request leaves a node that may still work on it, and asks the budget for it: a fleet that is slow
// under load must not get all its requests twice.
func (x *exchange) takesBack() bool {
	return !x.begun && !x.body.streamed() && x.seen() < maxTries && x.elsewhere() && x.route.stats.budget.spend()
}

// elsewhere says whether the effective table has another node that could take the request now.
func (x *exchange) elsewhere() bool {
	route, ruled, had := x.route, x.ruled, x.choice
	defer func() { x.route, x.ruled, x.choice = route, ruled, had }()
	if !x.matchIn(x.e.current.Load()) {
		return false
	}
	x.decide()
	now, most := instant(x.e.now()), x.route.limits.maxInFlight
	_, n := x.route.each(&x.choice, func(t *target) *node {
		for _, n := range t.nodes {
			if n != x.node && n.ready(now) && !contains(x.choice.tried, n) && (most == 0 || n.inFlight.Load() < most) {
				return n
			}
		}
		return nil
	})
	return n != nil
}

// h2cWait is recallable for a request over h2c, whose waiting ends with its context.
type h2cWait struct {
	x      *exchange // who waits does nothing meanwhile
	cancel context.CancelFunc

	mu   sync.Mutex
	from int32
	err  error // why the request was woken
}

func (x *exchange) waitH2C(cancel context.CancelFunc) *h2cWait {
	w := &h2cWait{x: x, cancel: cancel, from: away}
	if safe(x.req.Method) {
		w.from = unwell
	}
	x.e.sweeper.add(w)
	return w
}

// end is called when the waiting is over, and says whether the node failed meanwhile.
func (w *h2cWait) end() error {
	w.x.e.sweeper.remove(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.from = 0
	return w.err
}

// sweep is watched's.
func (w *h2cWait) sweep(time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.from == 0 || w.err != nil {
		return
	}
	switch failed := w.x.node.failed.Load(); {
	case failed < w.from:
	case failed == away:
		w.err = errFailed
	case w.x.takesBack():
		w.err = errTakenBack
	default:
		w.from = away
	}
	if w.err != nil {
		w.cancel()
	}
}
