package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
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
	case KindDestroy:
		r.stepDestroy(op)
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
	if len(op.Steps) == 1 && !r.counted(op.ShiftedAt) {
		return
	}
	if !r.passes(op, config.AfterStep, op.Percent) || len(op.Steps) == 1 && op.Percent == 100 && !r.passes(op, config.AfterCutover, 100) {
		return
	}
	r.tellUnjudged(op, fl)
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
	r.s.leaveFound()
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
		switch {
		case older == fl || older.State != FleetWarm && (older.State != FleetDraining || !older.Since.Before(r.f.Now)):
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
	fl.WarmLeft = r.s.configOf(fl).Cutover.KeepPrevious.Std()
	fl.Standby = op.Kind != KindRollback
	fl.Retired = &Retired{Operation: op.Number, Release: op.Release, From: r.f.Ledger.Fleets[fl.ID.String()]}
	r.setFleet(fl, FleetDraining, "%s finishes its requests%s", fl.ID.Release, r.staying(fl))
}

func (r *round) finish(op *Operation, format string, args ...any) {
	r.settle(op)
	op.Phase = PhaseDone
	r.sayEnd("done", op, format, args...)
}

func (r *round) stepScale(op *Operation) {
	for _, fl := range r.s.Fleets {
		if !fl.routable() {
			continue
		}
		if fl.healthy() != op.Size || len(fl.Nodes) != op.Size {
			r.wait(op, "%s to have %s%s", fl.ID.Release, human.Count(op.Size, "healthy node"), r.waitsFor(fl.Nodes...))
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
	r.finish(op, "all fleets are shot")
}
