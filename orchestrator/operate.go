package orchestrator

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// maxLaunchFailures is how many nodes of a fleet may fail before its launch is given up.
const maxLaunchFailures = 3

// operate moves every operation one phase on, if its time has come.
func (r *round) operate() {
	for _, op := range r.s.Operations {
		for range 8 { // several phases may pass in one round
			if !op.Ended.IsZero() {
				break
			}
			before := op.Phase
			r.step(op)
			if op.Phase == before {
				break
			}
		}
	}
	r.s.Operations = slices.DeleteFunc(r.s.Operations, func(op *Operation) bool {
		if op.Ended.IsZero() {
			return false
		}
		r.ended = append(r.ended, op)
		return true
	})
}

func (r *round) step(op *Operation) {
	switch op.Kind {
	case KindScale:
		r.stepScale(op)
		return
	case KindReplace:
		r.stepReplace(op)
		return
	case KindDestroy:
		r.stepDestroy(op)
		return
	}
	switch op.Phase {
	case PhasePrepare:
		r.stepPrepare(op)
	case PhaseBoot:
		r.stepBoot(op)
	case PhaseShift:
		r.stepShift(op)
	case PhaseHold:
		r.stepHold(op)
	case PhaseAborting:
		r.stepAbort(op)
	}
}

func (r *round) phase(op *Operation, p Phase, format string, args ...any) {
	op.Phase, op.Waits, op.WaitsSince = p, "", time.Time{}
	r.sayOp("phase", op, format, args...)
}

func (r *round) sayOp(what string, op *Operation, format string, args ...any) {
	r.say(Event{Type: string(op.Kind) + "." + what, Operation: op.ID, Release: op.Release, Fleet: op.Fleet,
		Percent: op.Percent}, format, args...)
}

// wait records what an operation waits for and returns for how long it has.
func (r *round) wait(op *Operation, format string, args ...any) time.Duration {
	text := fmt.Sprintf(format, args...)
	if op.Waits == "" {
		op.WaitsSince = r.f.Now
	}
	op.Waits = text
	return r.f.Now.Sub(op.WaitsSince)
}

func (r *round) stepPrepare(op *Operation) {
	fl := r.s.fleet(op.Fleet)
	if fl.Prepared {
		r.phase(op, PhaseBoot, "booting %d nodes of %s", r.s.size(fl), op.Release)
		return
	}
	if !r.trusted(op, fl, "boot") {
		return
	}
	a := Action{Kind: ActPrepare, Fleet: fl.ID}
	res := r.f.Results[a.Key()]
	switch {
	case res.Done:
		fl.Prepared = true
		r.sayFleet("prepared", fl, "the image of %s is in place", op.Release)
	case res.Final:
		r.abort(op, &Failure{Code: fault.RolledBack, Message: fmt.Sprintf("prepare image of %s: %v", op.Release, res.Err),
			Hint: hintOf(res.Err)})
	case res.Tries >= prepareTries && !errors.Is(res.Err, fleet.ErrUnavailable):
		r.abort(op, &Failure{Code: fault.RolledBack, Hint: hintOf(res.Err),
			Message: fmt.Sprintf("prepare image of %s: tried %d times: %v", op.Release, res.Tries, res.Err)})
	default:
		r.act(a)
		why := ""
		if res.Err != nil {
			why = fmt.Sprintf(", which failed and is tried again: %v", res.Err)
		}
		if r.wait(op, "the image of %s to be in place%s", op.Release, why) > prepareWithin {
			r.abort(op, &Failure{Code: fault.RolledBack,
				Message: fmt.Sprintf("prepare image of %s: not done within %s: %v", op.Release, prepareWithin, res.Err)})
		}
	}
}

const (
	// prepareWithin bounds the transfer of an image to its hosts.
	prepareWithin = 15 * time.Minute
	// prepareTries is how often it may fail though the driver is there: about 15 s.
	prepareTries = 8
)

func (r *round) stepBoot(op *Operation) {
	fl := r.s.fleet(op.Fleet)
	size := r.s.size(fl)
	switch {
	case r.gaveUp(fl):
		if !r.tailsComplete(fl) {
			return
		}
		r.abort(op, r.launchFailure(op, fl))
	case fl.healthy() >= size:
		if fl.State != FleetReady {
			fl.Reason = ""
			r.setFleet(fl, FleetReady, "%s is ready: %d of %d nodes are healthy", fl.ID.Release, size, size)
		}
		if op.Kind == KindLaunch {
			r.stepPreview(op)
			return
		}
		r.phase(op, PhaseShift, "shifting traffic to %s", op.Release)
	default:
		health := r.s.configOf(fl).Health
		within := 2*health.StartWithin.Std() + bootWithin
		if r.wait(op, "%d of %d nodes of %s to be healthy", size-fl.healthy(), size, op.Release) > within {
			fl.Reason = orText(fl.Reason, "its nodes could not be booted within "+within.String())
			r.abort(op, r.launchFailure(op, fl))
		}
	}
}

// stepPreview ends a launch once every edge knows the fleet, so that its preview answers.
func (r *round) stepPreview(op *Operation) {
	if !r.confirmed() {
		r.awaitRouter(op, 0)
		return
	}
	r.finish(op, "%s is launched and ready for cutover", op.Release)
}

// bootWithin bounds, beside twice start_within, how long a fleet may take from its first boot to being healthy.
const bootWithin = time.Minute

// gaveUp says whether a launching fleet has failed its gate: a node did not become healthy within start_within, or too
// many ended.
func (r *round) gaveUp(fl *Fleet) bool {
	if fl.Failures >= maxLaunchFailures {
		return true
	}
	return slices.ContainsFunc(fl.Nodes, func(n *Node) bool { return n.State == NodeUnhealthy && !n.WasServed })
}

// tailsComplete asks for the last lines of the nodes that failed, and says whether they were read.
func (r *round) tailsComplete(fl *Fleet) bool {
	complete := true
	for _, n := range fl.Nodes {
		if n.State == NodeDead || n.State == NodeUnhealthy && !n.WasServed {
			complete = !r.wantsTail(fl, n) && complete
		}
	}
	return complete
}

func (r *round) launchFailure(op *Operation, fl *Fleet) *Failure {
	return &Failure{
		Code:    fault.RolledBack,
		Message: fmt.Sprintf("launch %s: the fleet never became healthy: %s", op.Release, fl.Reason),
		Hint:    orText(fl.Hint, "look at the last lines of the nodes, mend the release, and launch again; --keep-failed keeps the nodes to look at"),
		Logs:    slices.Clone(fl.Tails),
	}
}

// stepShift gives the fleet the share of the first step, and waits until every edge confirms it.
func (r *round) stepShift(op *Operation) {
	fl := r.s.fleet(op.Fleet)
	if op.Paused {
		r.wait(op, "release resume")
		return
	}
	want := op.Steps[0].Percent
	if need := ceilShare(r.s.size(fl), want); fl.healthy() < need && !op.Force && fl.Weight < want {
		waited := r.wait(op, "%d more healthy nodes of %s for %d %%", need-fl.healthy(), op.Release, want)
		if waited > r.s.configOf(fl).Health.StartWithin.Std() {
			r.abort(op, &Failure{Code: fault.RolledBack, Message: fmt.Sprintf(
				"cut over to %s: %d of %d nodes are healthy, %d are needed for %d %%", op.Release, fl.healthy(), r.s.size(fl), need, want),
				Hint: "see release status; --force shifts all the same"})
		}
		return
	}
	if fl.Weight < want && (op.Kind != KindRollback || !fl.HadWeight) && !r.trusted(op, fl, fmt.Sprintf("%d%%", want)) {
		return // a warm fleet that is rolled back to served before: nothing may stand in the way back
	}
	if op.Percent != want || fl.Weight != want {
		op.Percent = want
		r.reweigh(fl, want)
		r.sayOp("step", op, "%s gets %d %%", op.Release, want)
	}
	if rel := r.s.release(op.Release); want == 100 && r.s.Follows != rel.ID {
		r.s.follow(rel) // before the end is reached: if the router refuses this route, the way back is open
	}
	if !r.confirmed() {
		r.awaitRouter(op, want)
		return
	}
	op.HoldLeft = op.Steps[0].Hold
	op.Baseline = r.f.Traffic
	r.phase(op, PhaseHold, "%s has %d %%", op.Release, want)
}

// awaitRouter waits for the edges, and gives up when the router refuses the table for as long as a retry may help.
func (r *round) awaitRouter(op *Operation, want int) {
	if r.f.Refused == nil {
		r.wait(op, "the router to confirm %d %%", want)
		return
	}
	if r.wait(op, "the router, which refuses the route: %v", r.f.Refused) > refusedFor {
		r.abort(op, &Failure{Code: fault.RolledBack, Hint: hintOf(r.f.Refused),
			Message: fmt.Sprintf("route %s: %v", op.Release, r.f.Refused)})
	}
}

// refusedFor is how long the router may refuse a table before the operation is given up: a port may just be let go of.
const refusedFor = 3 * time.Second

// ceilShare is how many of size nodes a share of percent needs: at least one.
func ceilShare(size, percent int) int { return max(1, (size*percent+99)/100) }

// reweigh gives target its share and the rest to the others, in proportion to what they have.
func (r *round) reweigh(target *Fleet, percent int) {
	weights := map[string]int{}
	for _, fl := range r.s.Fleets {
		if fl != target && fl.Weight > 0 {
			weights[fl.ID.String()] = fl.Weight
		}
	}
	weights = scaleTo(weights, 100-percent)
	weights[target.ID.String()] = percent
	r.setWeights(weights)
}

func (r *round) setWeights(weights map[string]int) {
	for _, fl := range r.s.Fleets {
		fl.Weight = weights[fl.ID.String()]
		if fl.Weight > 0 {
			fl.HadWeight, fl.Standby, fl.WarmLeft = true, true, 0
			if fl.State != FleetServing {
				r.setFleet(fl, FleetServing, "%s serves", fl.ID.Release)
			}
		}
	}
}

// stepHold watches the share for as long as the step asks, then goes on to the next.
func (r *round) stepHold(op *Operation) {
	fl := r.s.fleet(op.Fleet)
	if r.f.Elapsed == 0 {
		op.Baseline = r.f.Traffic // counters seen by an earlier agent cannot be compared
	}
	if f := r.verdict(op, fl); f != nil {
		r.abort(op, f)
		return
	}
	if op.Paused {
		r.wait(op, "release resume")
		return
	}
	op.HoldLeft -= r.f.Elapsed
	if op.HoldLeft > 0 {
		r.wait(op, "the hold at %d %%", op.Percent)
		return
	}
	op.HoldLeft = 0
	op.Steps = op.Steps[1:]
	if len(op.Steps) > 0 {
		r.phase(op, PhaseShift, "the step of %d %% is passed", op.Percent)
		return
	}
	r.complete(op, fl)
}

// complete ends a cutover, up or rollback at its last step.
func (r *round) complete(op *Operation, fl *Fleet) {
	if op.Percent < 100 {
		r.finish(op, "%s has %d %%, held", op.Release, op.Percent)
		return
	}
	rel := r.s.release(op.Release)
	rel.State, rel.CompletedAt = ReleaseCompleted, r.f.Now
	for _, old := range r.s.Fleets {
		if old == fl || old.State != FleetServing || old.Weight > 0 {
			continue
		}
		r.retire(old, op)
		if bad := r.s.release(old.ID.Release); op.Kind == KindRollback && bad != nil {
			bad.State = ReleaseRolledBack
		}
	}
	r.finish(op, "%s has all the traffic", op.Release)
}

// retire lets a fleet that lost its weight finish its requests; it is warm or shot afterwards. One warm fleet is kept, the
// newest: earlier ones are shot.
func (r *round) retire(fl *Fleet, op *Operation) {
	for _, older := range r.s.Fleets {
		if older.State == FleetWarm || older.State == FleetDraining && older.Since.Before(r.f.Now) {
			r.condemn(older, "another release is kept warm instead")
		}
	}
	cfg := r.s.configOf(fl)
	fl.WarmLeft = cfg.Cutover.KeepPrevious.Std()
	fl.Standby = op.Kind != KindRollback
	fl.DrainBy = r.f.Now.Add(cfg.Cutover.Drain.Timeout.Std())
	r.setFleet(fl, FleetDraining, "%s finishes its requests", fl.ID.Release)
}

func (r *round) finish(op *Operation, format string, args ...any) {
	r.settle(op)
	op.Phase = PhaseDone
	r.sayOp("done", op, format, args...)
}

// settle closes an operation's record.
func (r *round) settle(op *Operation) {
	op.Ended, op.Waits = r.f.Now, ""
	op.Ledger = r.f.Ledger.since(op.LedgerFrom)
	op.Baseline = nil
}

// since is what was counted after the earlier ledger. Counters that began anew count from 0.
func (l Ledger) since(from Ledger) Ledger {
	sub := func(a, b uint64) uint64 {
		if a < b {
			return a
		}
		return a - b
	}
	return Ledger{
		Requests: sub(l.Requests, from.Requests), Failed: sub(l.Failed, from.Failed),
		Retried: sub(l.Retried, from.Retried), Cut: sub(l.Cut, from.Cut),
	}
}

func (r *round) stepScale(op *Operation) {
	for _, fl := range r.s.Fleets {
		if !fl.routable() {
			continue
		}
		if fl.healthy() != op.Size || len(fl.Nodes) != op.Size {
			r.wait(op, "%s to have %d healthy nodes", fl.ID.Release, op.Size)
			return
		}
	}
	r.finish(op, "%d nodes are healthy", op.Size)
}

func (r *round) stepReplace(op *Operation) {
	for _, fl := range r.s.Fleets {
		for _, n := range fl.Nodes {
			if slices.Contains(op.Nodes, n.Name) {
				r.wait(op, "%s to be replaced", n.Name)
				return
			}
		}
	}
	r.finish(op, "replaced %d nodes", len(op.Nodes))
}

func (r *round) stepDestroy(op *Operation) {
	for _, fl := range r.s.Fleets {
		if fl.State != FleetShooting {
			r.condemn(fl, "destroy")
		}
	}
	if len(r.s.Fleets) > 0 {
		r.wait(op, "%d fleets to be shot", len(r.s.Fleets))
		return
	}
	r.finish(op, "all fleets are shot")
}
