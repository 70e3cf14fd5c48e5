package embedded

import (
	"context"
	"time"
)

// shutdown ends the process in order: see engine.shutdown.
func (p *process) shutdown(limit time.Duration) error {
	p.op.Lock() // an Apply or upgrade under way ends first; none comes after
	p.e.draining.Store(true)
	p.log.Info("router stops", "in_flight", p.e.inFlight.Load())
	ctx, cancel := context.WithTimeout(context.Background(), limit+p.e.endingTime()+showPatience) // a predecessor is told a moment later
	defer cancel()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		p.stopPredecessor(ctx)
	}()
	p.e.shutdown(limit)
	<-gone
	p.leave(!p.handedOver())
	return nil
}

// shutdown stops accepting and lets what is under way finish until the limit. Long connections that are left then end in order, each at
// a time of its own as at a cutover's deadline: their clients would all come back at once, and not know why. The rest is cut.
func (e *engine) shutdown(limit time.Duration) {
	e.draining.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		e.listeners.finish(ctx)
		_ = e.waitIdle(ctx)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-finished:
		return
	case <-timer.C:
	}
	if n := e.closeAll(e.cfg.CloseWithin); n > 0 {
		e.log.Info("long connections are closed", "connections", n, "within", e.cfg.CloseWithin.String())
	}
	if e.awaitEnds(finished) {
		return
	}
	if n := e.inFlight.Load(); n > 0 {
		e.log.Warn("requests are cut at the deadline", "in_flight", n)
	}
	e.listeners.cutAll()
	e.cutAll()
}

// endingTime is how long the ends of long connections may take.
func (e *engine) endingTime() time.Duration {
	return e.cfg.CloseWithin + e.patience.close + goAwayGrace
}

// awaitEnds waits until the long connections have ended, and then for what is still on its way to their clients, and says whether
// nothing is left.
func (e *engine) awaitEnds(finished <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(context.Background(), e.endingTime())
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for e.longCount() > 0 && ctx.Err() == nil {
		select {
		case <-finished:
			return true
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	select {
	case <-finished:
		return true
	case <-ctx.Done():
	case <-time.After(goAwayGrace):
	}
	return false
}

// closeAll ends the long connections in order, each at a random time within the given one, and counts them. Those that begin from now on
// end by the same time.
func (e *engine) closeAll(within time.Duration) (n int) {
	e.closeBy.Store(instant(e.now()) + int64(within))
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, node := range e.memory.nodes {
		n += node.cut(within)
	}
	return n
}

func (e *engine) longCount() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, node := range e.memory.nodes {
		n += node.longCount()
	}
	return n
}

// waitIdle returns when no request is in flight.
func (e *engine) waitIdle(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for e.inFlight.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
