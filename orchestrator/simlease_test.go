package orchestrator

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bootandshoot/release/store"
)

// simLease is the right to lead. One machine alone has it as a lock of a file, which ends with its process. Of several each
// renews it: the store ends the right of one that it does not hear of after some time, and the holder gives up by itself before,
// unless it is late.
type simLease struct {
	mu    sync.Mutex
	right *simRight
	epoch uint64
	freed chan struct{} // closed and made anew when the right is free
}

// simRight is one holding of it.
type simRight struct {
	p       *process
	epoch   uint64
	lost    chan struct{}
	gone    bool // lost is closed
	expired bool // at the store
	timers  []*time.Timer
}

const (
	holderGivesUp = leaseTTL * 9 / 10
	storeWaits    = leaseTTL // at least, twice that at most
)

func (l *simLease) acquire(ctx context.Context, p *process) (store.Lease, error) {
	for {
		l.mu.Lock()
		freed := l.freed
		if l.right == nil && !p.w.isCut(p) {
			l.epoch++
			l.right = &simRight{p: p, epoch: l.epoch, lost: make(chan struct{})}
			right := l.right
			l.mu.Unlock()
			p.w.note(p.String(), "leads, epoch %d", right.epoch)
			return heldLease{l, right}, nil
		}
		l.mu.Unlock()
		wait, cancel := context.WithTimeout(ctx, 2*time.Second) // a machine that was cut off asks again
		select {
		case <-freed:
		case <-wait.Done():
		}
		cancel()
		if !sleep(ctx, p.w.delay("ask for the lease "+p.agent.name, 300*time.Millisecond)) {
			return nil, fmt.Errorf("acquire: %w", ctx.Err())
		}
	}
}

type heldLease struct {
	l     *simLease
	right *simRight
}

func (h heldLease) Epoch() uint64         { return h.right.epoch }
func (h heldLease) Lost() <-chan struct{} { return h.right.lost }

// Release gives the right up, if the process still can.
func (h heldLease) Release(context.Context) error {
	p := h.right.p
	p.w.mu.Lock()
	dead, cut := p.dead, p.agent.cut && p.w.schedule.shared
	p.w.mu.Unlock()
	switch {
	case dead:
	case cut: // it ends by itself, however soon the machine is back
		h.l.later(h.right, storeWaits+p.w.delay("lease given up in vain", storeWaits), h.l.free)
	default:
		h.l.free(h.right)
	}
	return nil
}

// free lets the next one have the right.
func (l *simLease) free(r *simRight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.expired = true; l.right == r {
		l.right = nil
		close(l.freed)
		l.freed = make(chan struct{})
	}
}

// lose tells the holder.
func (l *simLease) lose(r *simRight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !r.gone {
		r.gone = true
		close(r.lost)
	}
}

func (l *simLease) held(p *process) *simRight {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.right != nil && l.right.p == p {
		return l.right
	}
	return nil
}

func (l *simLease) holderDied(p *process) {
	r := l.held(p)
	switch {
	case r == nil:
	case !p.w.schedule.shared:
		l.free(r)
	default:
		l.later(r, storeWaits+p.w.delay("lease of the dead", storeWaits), l.free)
	}
}

func (l *simLease) holderCut(p *process, late time.Duration) {
	if r := l.held(p); r != nil && p.w.schedule.shared {
		l.later(r, storeWaits+p.w.delay("lease of one cut off", storeWaits), l.free)
		l.later(r, holderGivesUp+late, l.lose)
	}
}

// holderBack goes on renewing, if it is not too late. One that missed the end of its right learns it soon.
func (l *simLease) holderBack(p *process) {
	p.w.mu.Lock()
	dead := p.dead || isClosed(p.o.over)
	p.w.mu.Unlock()
	r := l.held(p)
	if r == nil || dead {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range r.timers {
		if !r.gone {
			t.Stop()
		}
	}
}

func (l *simLease) later(r *simRight, d time.Duration, do func(*simRight)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.timers = append(r.timers, time.AfterFunc(d, func() { do(r) }))
}
