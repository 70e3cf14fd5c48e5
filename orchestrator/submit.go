package orchestrator

import (
	"context"

	"github.com/bootandshoot/release/internal/fault"
)

// Submit begins an operation, or attaches to the same one under way. Errors: fault.Busy when another is under way,
// fault.NotFound for releases and nodes that are not there, what the driver or the image says. A request that waits is only refused
// by what does not go over.
func (o *Orchestrator) Submit(ctx context.Context, req Request) (Operation, error) {
	if err := o.waitReady(ctx); err != nil {
		return Operation{}, err
	}
	if req.Wait {
		return o.inTurn(ctx, req)
	}
	return o.submit(ctx, req)
}

func (o *Orchestrator) submit(ctx context.Context, req Request) (Operation, error) {
	ask, err := o.ask(ctx, req)
	if err != nil {
		return Operation{}, err
	}
	var op Operation
	var failed error
	err = o.call(ctx, func() {
		if failed = ctx.Err(); failed != nil {
			return // who asked has gone
		}
		a := o.app(req.Key)
		if failed = o.askHosts(ctx, a, ask); failed != nil {
			return
		}
		s, begun, events, err := begin(a.state, o.facts(a.state, o.opts.Now()), ask)
		if err == nil {
			op = *begun
		}
		if err == nil && op.ID != "" {
			_, err = o.commit(ctx, a, s, events, records{})
		}
		failed = err
	})
	if err != nil {
		return Operation{}, err // it may still run: what it writes must not be read
	}
	return op, failed
}

func (o *Orchestrator) waitReady(ctx context.Context) error {
	select {
	case <-o.over:
		return errStopped()
	default:
	}
	select {
	case <-o.ready:
		return nil
	case <-o.over:
		return errStopped()
	case <-ctx.Done():
		return fault.New(fault.Unavailable, "the agent is still starting: %w", ctx.Err())
	}
}

// app is the app of that key. One that is new is known only once something of it is published. For the loop only.
func (o *Orchestrator) app(key Key) *app {
	if a := o.apps[key]; a != nil {
		return a
	}
	return &app{state: &State{Schema: schema, Key: key}}
}

// Steer does what a word to an app says, and gives what the journal got of it. Errors: fault.NotFound when there is nothing to
// steer, fault.Denied when the caller may not approve, fault.NeedsPerson when an abort without Force would undo what cannot be
// undone, fault.Busy for a destroy, fault.Invalid for no such word.
func (o *Orchestrator) Steer(ctx context.Context, key Key, w Word) ([]string, error) {
	var done []string
	err := o.change(ctx, key, w.DryRun, func(r *round) error {
		err := r.steer(w)
		for _, e := range r.events {
			done = append(done, e.Message)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// change does something to an app's state in the loop, and commits it unless it is only tried.
func (o *Orchestrator) change(ctx context.Context, key Key, try bool, f func(*round) error) error {
	if err := o.waitReady(ctx); err != nil {
		return err
	}
	var failed error
	err := o.call(ctx, func() {
		a := o.app(key)
		r := &round{s: a.state.clone(), f: o.facts(a.state, o.opts.Now())}
		if failed = f(r); failed == nil && !try {
			_, failed = o.commit(ctx, a, r.s, r.events, r.records)
		}
	})
	if err != nil {
		return err // it may still run: what it writes must not be read
	}
	return failed
}
