package orchestrator

import (
	"context"
	"fmt"
	"time"

	"github.com/bootandshoot/release/fleet"
)

const (
	// progressEvery is how often an action's progress is looked at; what is done sooner says nothing of itself.
	progressEvery = 250 * time.Millisecond
	// progressFirst and progressNext are when the journal tells of it first, and how often then: a person who waits
	// wants to see it move, the journal should not be full of it.
	progressFirst = time.Second
	progressNext  = 2 * time.Second
)

// prepare brings an image to its hosts and keeps what is said on the way.
func (o *Orchestrator) prepare(ctx context.Context, d fleet.Driver, a Action, spec fleet.Spec) error {
	p, ok := d.(fleet.ProgressPreparer)
	if !ok {
		return d.Prepare(ctx, spec)
	}
	last := o.opts.Now()
	return p.PrepareReporting(ctx, spec, func(now fleet.Progress) {
		if at := o.opts.Now(); at.Sub(last) >= progressEvery {
			last = at
			o.post(func() { o.progressed(a, now) })
		}
	})
}

// progressed takes it into what is known, if the action still runs.
func (o *Orchestrator) progressed(a Action, p fleet.Progress) {
	if o.world.running[a.Key()] {
		o.world.progress[a.Key()] = p
		o.touch(Key{App: a.Fleet.App, Env: a.Fleet.Env})
	}
}

// progress says how far bringing an operation's image is: in what it waits for, and now and then in the journal.
func (r *round) progress(op *Operation, a Action) string {
	p, ok := r.f.Progress[a.Key()]
	if !ok || op.Waits == "" {
		return ""
	}
	if r.f.Now.Sub(op.WaitsSince) >= progressFirst && r.f.Now.Sub(op.ToldAt) >= progressNext {
		op.ToldAt = r.f.Now
		r.sayOp("progress", op, "%s the image of %s: %d %%", p.Doing, op.Release, p.Percent())
	}
	// In steps, since each change is written to the store.
	return fmt.Sprintf(": %s, %d %%", p.Doing, p.Percent()/5*5)
}
