package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

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
		r.records.ended = append(r.records.ended, op)
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
	case KindQuarantine:
		r.stepQuarantine(op)
		return
	case KindDestroy:
		r.stepDestroy(op)
		return
	}
	if op.stuck() {
		r.stayStuck(op)
		return
	}
	switch op.Phase {
	case PhasePrepare:
		r.stepPrepare(op)
	case PhaseMigrate:
		r.stepMigrate(op)
	case PhaseBoot:
		r.stepBoot(op)
	case PhaseShift:
		r.stepShift(op)
	case PhaseHold:
		r.stepHold(op)
	case PhaseWorkers:
		r.stepWorkers(op)
	case PhaseAborting:
		r.stepAbort(op)
	}
}

func (r *round) phase(op *Operation, p Phase, format string, args ...any) {
	op.Phase, op.Waits, op.WaitsSince, op.Gate = p, "", time.Time{}, ""
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

// stepHold watches the share for as long as the step asks and until it is approved, then goes on to the next.
func (r *round) stepHold(op *Operation) {
	fleets := r.s.fleetsOf(op)
	if r.f.Elapsed == 0 {
		op.Baseline = r.f.Traffic // counters seen by an earlier agent cannot be compared
	}
	lead := r.s.fleet(op.Fleet)
	compared := r.weigh(op)
	r.ask(op, lead)
	for _, fl := range fleets {
		if f := r.verdict(op, fl, compared); f != nil {
			r.abort(op, f)
			return
		}
	}
	if f := r.checksAgainst(op, lead, compared); f != nil {
		r.abort(op, f)
		return
	}
	if op.Paused {
		r.wait(op, forPerson)
		return
	}
	op.HoldLeft -= r.f.Elapsed
	if op.HoldLeft > 0 {
		r.wait(op, "the hold at %d %%", op.Percent)
		return
	}
	op.HoldLeft = 0
	if len(op.Steps) == 1 && !r.counted(op.ShiftedAt) {
		return
	}
	if !r.passed(op, lead, compared) || r.gated(op) {
		return
	}
	if !r.passes(op, config.AfterStep, op.Percent) || len(op.Steps) == 1 && op.Percent == 100 && !r.passes(op, config.AfterCutover, 100) {
		return
	}
	op.Steps = op.Steps[1:]
	switch {
	case len(op.Steps) > 0:
		r.phase(op, PhaseShift, "the step of %d %% is passed", op.Percent)
	case op.Kind == KindRollback && slices.ContainsFunc(fleets, r.unstarted):
		r.phase(op, PhaseWorkers, "%s has the traffic, its roles without a route are booted", op.Release)
	default:
		r.complete(op)
	}
}

// unstarted says whether a rollback has yet to boot a fleet, since its role gets no traffic.
func (r *round) unstarted(fl *Fleet) bool { return !r.s.routed(fl) && fl.healthy() < r.s.size(fl) }

// stepWorkers waits for the fleets of roles without a route that a rollback boots again. The traffic is back already: what is
// wrong with them does not take it away again.
func (r *round) stepWorkers(op *Operation) {
	within := time.Duration(0)
	for _, fl := range r.s.fleetsOf(op) {
		if r.s.routed(fl) {
			continue // it was healthy before it got the traffic
		}
		size := r.s.size(fl)
		within += r.bootsWithin(fl)
		if fl.healthy() >= size {
			continue
		}
		if r.wait(op, "%d of %d nodes of %s to be healthy", size-fl.healthy(), size, r.s.nameOf(fl)) <= within {
			return
		}
		op.Failure = &Failure{Code: fault.NeedsPerson, Logs: slices.Clone(fl.Tails),
			Message: fmt.Sprintf("roll back to %s: it has all the traffic, but %d of %d nodes of %s are not healthy after %s: %s", op.Release,
				size-fl.healthy(), size, r.s.nameOf(fl), human.Span(within), orText(fl.Reason, "they could not be booted")),
			Hint: "they are booted again and again; see release status and release logs"}
		break
	}
	r.complete(op)
}

// complete ends a cutover, up or rollback at its last step.
func (r *round) complete(op *Operation) {
	if op.Percent < 100 {
		r.finish(op, "%s has %d %%, held", op.Release, op.Percent)
		return
	}
	rel := r.s.release(op.Release)
	rel.State = ReleaseCompleted
	if rel.CompletedAt.IsZero() {
		rel.CompletedAt = r.f.Now
	} else {
		rel.ServedAt = r.f.Now
	}
	r.s.leaveFound()
	r.endAccessories(rel)
	left := r.s.relieved()
	for _, old := range left {
		r.retire(old, op, keptOf(left, op))
		if bad := r.s.release(old.ID.Release); op.Kind == KindRollback && bad != nil {
			bad.State = ReleaseRolledBack
		}
	}
	r.finish(op, "%s has all the traffic", op.Release)
}

// relieved are the fleets that have just lost the traffic.
func (s *State) relieved() (list []*Fleet) {
	for _, fl := range s.Fleets {
		if fl.State == FleetServing && fl.Weight == 0 {
			list = append(list, fl)
		}
	}
	return list
}

// keptOf is the release, of those that lost the traffic together, that is kept warm: the one that most users were on, else the newest.
func keptOf(left []*Fleet, op *Operation) string {
	newest := ""
	for _, fl := range left {
		if fl.ID.Release == op.From {
			return op.From
		}
		if releaseNumber(fl.ID.Release) > releaseNumber(newest) {
			newest = fl.ID.Release
		}
	}
	return newest
}

// retire lets a fleet that lost its weight finish its requests; it is warm afterwards if it is of the release that is kept, else it is
// shot. The fleets of one release are kept warm, those that lost the traffic last: earlier ones are shot.
func (r *round) retire(fl *Fleet, op *Operation, kept string) {
	fl.Retired = &Retired{Operation: op.Number, Release: op.Release, From: r.f.Ledger.Fleets[fl.ID.String()]}
	if !r.s.routed(fl) || r.s.oneWriter(fl) {
		r.condemn(fl, op.Release+" does its work") // it would go on working beside the new one, or has no node any more
		return
	}
	for _, older := range r.s.Fleets {
		switch {
		case older.ID.Release == fl.ID.Release || older.Accessory || older.State != FleetWarm && (older.State != FleetDraining || !older.Since.Before(r.f.Now)):
		case !older.SessionsBy.IsZero():
			older.WarmLeft, older.Standby, older.Reason = 0, false, "another release is kept warm instead" // shot when its sessions are over
		default:
			r.condemn(older, "another release is kept warm instead")
		}
	}
	from := r.f.Now
	if fl.SessionsBy.After(from) {
		from = fl.SessionsBy
	}
	r.drainFrom(fl, from)
	if fl.ID.Release == kept {
		fl.WarmLeft = r.s.configOf(fl).Cutover.KeepPrevious.Std()
	}
	fl.Standby = op.Kind != KindRollback && fl.WarmLeft > 0
	r.setFleet(fl, FleetDraining, "%s finishes its requests%s", r.s.nameOf(fl), r.staying(fl))
}

func (r *round) finish(op *Operation, format string, args ...any) {
	r.settle(op)
	op.Phase = PhaseDone
	r.sayEnd("done", op, format, args...)
}

func (r *round) stepScale(op *Operation) {
	for _, fl := range r.s.Fleets {
		if !fl.routable() || !op.scales(fl.ID.Role) {
			continue
		}
		if size := r.s.size(fl); fl.healthy() != size || len(fl.members()) != size {
			r.wait(op, "%s to have %s%s", r.s.nameOf(fl), human.Count(size, "healthy node"), r.waitsFor(fl.Nodes...))
			return
		}
	}
	r.finish(op, "%s healthy", human.Are(op.Size, "node"))
}

func (r *round) stepReplace(op *Operation) {
	if op.Auto {
		r.stepRepair(op)
		return
	}
	for _, fl := range r.s.Fleets {
		for _, n := range fl.Nodes {
			if slices.Contains(op.Nodes, n.Name) {
				r.wait(op, "%s to be replaced%s", n.Name, r.waitsFor(n))
				return
			}
		}
	}
	r.finish(op, "replaced %s", human.Count(len(op.Nodes), "node"))
}

func (r *round) stepDestroy(op *Operation) {
	for _, fl := range r.s.Fleets {
		if fl.State != FleetShooting {
			r.condemn(fl, "destroy")
		}
		for _, n := range fl.Nodes {
			if n.State == NodeQuarantined {
				r.letGo(fl, n, "destroy")
			}
		}
	}
	r.hurry()
	if left := len(r.s.Fleets) + r.f.Found.Fleets; left > 0 {
		r.wait(op, "%s to be shot", human.Count(left, "fleet"))
		return
	}
	if left := len(r.s.Tasks); left > 0 {
		r.wait(op, "%s to be stopped", human.Count(left, "task"))
		return
	}
	if op.Volumes && !r.removeVolumes(op) {
		return
	}
	r.s.Destroyed = true
	r.finish(op, "all fleets are shot%s", r.s.volumesLeft())
}
