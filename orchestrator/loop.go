package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

const (
	tick     = 100 * time.Millisecond // rounds at least so often while something is under way
	idleTick = time.Second            // and when all is at rest
	// maxRounds bounds how often one app's state may change without time passing: more is a defect, and waits a tick.
	maxRounds = 20
	// mostDrained is how much of what has come is taken in before the next round: thousands of nodes that fail at once say so
	// at once, and nobody's question is to wait for a round for every few of them.
	mostDrained = 4096
	// mostWritten is how many states are written, or tried to, before what else has come is looked at: a store needs some milliseconds
	// for each.
	mostWritten = 32
	// mostTaken is how long all of it may take before that, for a store that needs longer.
	mostTaken = 200 * time.Millisecond
)

func (o *Orchestrator) loop(ctx context.Context) error {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	for {
		if err := o.rounds(ctx); err != nil {
			return err
		}
		timer.Reset(o.pace())
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), store.ErrLeaseLost) {
				return fmt.Errorf("lead installation %s: %w", o.opts.Installation, store.ErrLeaseLost)
			}
			return nil
		case <-timer.C:
		case <-o.prober.Changes():
		case f := <-o.inbox:
			f()
		}
		o.drainInbox(ctx)
	}
}

// pace is how long the loop may sleep when nothing wakes it.
func (o *Orchestrator) pace() time.Duration {
	if o.world.postponed {
		return 0
	}
	if o.world.table.pending != nil || len(o.world.table.refused)+len(o.world.table.waiting)+len(o.world.unsure) > 0 {
		return tick
	}
	for _, a := range o.apps {
		if !a.state.atRest() {
			return tick
		}
	}
	return idleTick
}

// spell is a time in which the loop looks at nothing else that comes.
type spell struct {
	began   time.Time
	written int
}

func (o *Orchestrator) spell() spell { return spell{began: o.opts.Now(), written: o.world.written} }

// spellOver says whether it is time to look.
func (o *Orchestrator) spellOver(s spell) bool {
	return o.world.written-s.written >= mostWritten || o.opts.Now().Sub(s.began) >= mostTaken
}

// drainInbox takes what else has come meanwhile, so that one round sees it all, unless that takes long.
func (o *Orchestrator) drainInbox(ctx context.Context) {
	spell := o.spell()
	for range mostDrained {
		if ctx.Err() != nil || o.spellOver(spell) {
			return
		}
		select {
		case f := <-o.inbox:
			f()
		default:
			return
		}
	}
}

// post hands the loop a function; it is dropped when the loop has ended.
func (o *Orchestrator) post(f func()) {
	select {
	case o.inbox <- f:
	case <-o.over:
	}
}

// call runs f in the loop and waits for it.
func (o *Orchestrator) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case o.inbox <- func() { f(); close(done) }:
	case <-o.over:
		return errStopped()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-o.over:
		return errStopped()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func errStopped() error {
	return fault.New(fault.Unavailable, "the agent is stopping, or does not lead any more").WithHint("ask again: release agent status")
}

// rounds decides for every app, then brings the router up to date. Only the loss of leadership is an error.
func (o *Orchestrator) rounds(ctx context.Context) error {
	o.touchJudged()
	o.makeSure(ctx)
	var due []func()
	keys, whole := o.due(o.opts.Now())
	spell := o.spell()
	for i, key := range keys {
		if i > 0 && o.spellOver(spell) {
			o.later(keys[i:])
			keys = keys[:i]
			break
		}
		if o.world.unsure[key] {
			continue
		}
		s, actions, err := o.decide(ctx, o.apps[key])
		o.setStuck(o.apps[key], err)
		if err != nil {
			if lost := conflictOnly(err); lost != nil {
				return lost
			}
			if ctx.Err() != nil {
				return nil
			}
			o.complain("decide "+key.String(), err)
		}
		for _, act := range actions {
			due = append(due, func() { o.start(ctx, s, act) })
		}
	}
	o.endHooks()
	o.syncPins(ctx) // an image is pinned before it is prepared and booted from
	for _, start := range due {
		start()
	}
	if err := o.syncTable(ctx); err != nil {
		return err
	}
	o.syncListings(ctx)
	o.syncGroups(ctx)
	o.syncTails()
	o.syncTargets()
	if whole {
		o.tidy()
	}
	o.show(keys, whole)
	return nil
}

// decide runs rounds for one app until nothing changes, and gives the state and the actions of the last.
func (o *Orchestrator) decide(ctx context.Context, a *app) (*State, []Action, error) {
	for range maxRounds {
		s, actions, events, history := o.next(a)
		changed, err := o.commit(ctx, a, s, events, history)
		if err != nil {
			return nil, nil, err
		}
		if !changed {
			return s, actions, nil
		}
	}
	return nil, nil, nil
}

func (o *Orchestrator) next(a *app) (*State, []Action, []Event, records) {
	now := o.opts.Now()
	f := o.facts(a.state, now)
	if !a.round.IsZero() {
		f.Elapsed = now.Sub(a.round)
	}
	a.round = now
	return next(a.state, f)
}

// mint draws a name's suffix and a free slot.
func (o *Orchestrator) mint() (string, int) {
	suffix, err := randomName(o.opts.Rand, 5)
	if err != nil {
		panic("orchestrator: the random source failed: " + err.Error()) // crypto/rand never does
	}
	return suffix, o.slot()
}
