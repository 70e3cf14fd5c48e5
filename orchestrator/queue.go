package orchestrator

import (
	"context"
	"errors"
	"slices"
	"time"
)

// errUnderWay is why a request is refused that may wait for its turn.
var errUnderWay = errors.New("another operation is under way")

// Queued is a request that waits for its turn. The queue is the requests themselves: who goes leaves it, and after a crash of
// the agent those who still wait ask again.
type Queued struct {
	Kind    Kind
	By      string
	Since   time.Time
	Release string // that was named
	Image   string
}

// inTurn submits a request when nothing is under way that refuses it and nobody waits longer, until ctx ends.
func (o *Orchestrator) inTurn(ctx context.Context, req Request) (Operation, error) {
	w := o.enqueue(req)
	defer o.unqueue(req.Key, w)
	refusedBy := ""
	for {
		changed := o.Changed()
		under, first := o.turn(req.Key, w)
		ends := under != nil && req.Kind == KindDestroy && under.Kind != KindDestroy // it would abort what it is to wait for
		if first && !ends && (under == nil || under.ID != refusedBy) {
			op, err := o.submit(ctx, req)
			if !errors.Is(err, errUnderWay) {
				return op, err
			}
			if under != nil {
				refusedBy = under.ID
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Operation{}, ctx.Err()
		case <-o.over:
			return Operation{}, errStopped()
		}
	}
}

// turn is the operation under way, and whether nobody waits longer than w.
func (o *Orchestrator) turn(key Key, w *Queued) (under *Operation, first bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if a := o.apps[key]; a != nil {
		under = a.state.exclusive()
	}
	return under, o.queue[key][0] == w
}

func (o *Orchestrator) enqueue(req Request) *Queued {
	w := &Queued{Kind: req.Kind, By: req.By, Since: o.opts.Now(), Release: req.Release, Image: req.Image}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue[req.Key] = append(o.queue[req.Key], w)
	return w
}

// unqueue lets the next one know that its turn may have come.
func (o *Orchestrator) unqueue(key Key, w *Queued) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue[key] = slices.DeleteFunc(o.queue[key], func(x *Queued) bool { return x == w })
	if len(o.queue[key]) == 0 {
		delete(o.queue, key)
	}
	o.announce()
}

// queued lists who waits, the next one first. The caller holds the lock.
func (o *Orchestrator) queued(key Key) []Queued {
	var list []Queued
	for _, w := range o.queue[key] {
		list = append(list, *w)
	}
	return list
}
