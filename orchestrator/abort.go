package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// abort begins the way back. What is asked of the fleet that failed is decided when the way back is confirmed.
func (r *round) abort(op *Operation, f *Failure) {
	op.Failure, op.ShiftedAt = f, time.Time{}
	r.sayOp("abort", op, "%s", f.Message)
	if op.Kind == KindContract {
		r.phase(op, PhaseAborting, "stopping")
		return // no traffic was moved for it
	}
	r.phase(op, PhaseAborting, "routing back")
	fleets := r.s.fleetsOf(op)
	if slices.ContainsFunc(fleets, func(fl *Fleet) bool { return fl.Weight > 0 && !fl.Accessory }) {
		r.setWeights(op.way(fleets[0]), false)
	}
	if rel := r.s.release(op.Followed); rel != nil {
		r.s.follow(rel)
	}
}

// way is the split to go back to when a fleet failed: what all fleets but those of the operation had before, made up to 100 in
// each role. With no other fleet it is empty: nobody was served before.
func (op *Operation) way(failed *Fleet) map[string]int {
	weights := map[string]int{}
	for id, w := range op.Before {
		if id != failed.ID.String() && !slices.Contains(op.fleets(), id) && w > 0 {
			weights[id] = w
		}
	}
	return scaleRoles(weights, 100)
}

func (r *round) stepAbort(op *Operation) {
	if r.stopMigration(op) {
		r.wait(op, "the migration's command to end")
		return
	}
	if !r.confirmed() && r.f.Refused == nil {
		r.awaitEdges(op, "the way back")
		return
	}
	if op.ShiftedAt.IsZero() {
		op.ShiftedAt = r.f.Confirmed
	}
	if !r.counted(op.ShiftedAt) {
		return
	}
	if !r.passes(op, config.OnAbort, 0) {
		return
	}
	if rel := r.s.release(op.Release); rel != nil && rel.State == ReleaseNew {
		rel.State = ReleaseAborted
	}
	for _, fl := range r.s.fleetsOf(op) {
		if fl.Weight == 0 && fl.State != FleetShooting {
			r.dispose(op, fl)
		}
	}
	r.settle(op)
	op.Phase = PhaseDone
	r.sayEnd("aborted", op, "users are on %s", orText(op.From, "no release"))
}

// dispose ends a fleet whose launch or cutover was aborted: shot, or with --keep-failed left as it is, unrouted.
func (r *round) dispose(op *Operation, fl *Fleet) {
	if fl.Accessory {
		r.putBack(fl)
		return
	}
	fl.Standby = false
	if op.KeepFailed {
		fl.Kept = true
		fl.Reason = "kept after its launch failed; shot by the next launch"
		r.sayFleet("kept", fl, "%s is kept to be looked at", r.s.nameOf(fl))
		return
	}
	failing := r.failing(op, fl)
	r.condemn(fl, "aborted")
	r.keepFailing(op, fl, failing)
}

// condemn takes a fleet out of the table; it is destroyed when it is empty.
func (r *round) condemn(fl *Fleet, why string) {
	fl.Weight, fl.Standby, fl.Kept, fl.Reason = 0, false, false, why
	fl.SessionsBy = time.Time{}
	r.drainFrom(fl, r.f.Now)
	r.setFleet(fl, FleetShooting, "%s is being shot: %s%s", r.s.nameOf(fl), why, r.staying(fl))
}

// abortBy aborts an operation because a person said so.
func (r *round) abortBy(op *Operation, by string) {
	if op.Phase == PhaseAborting {
		return
	}
	op.AbortedBy = by
	f := &Failure{Code: fault.RolledBack, Message: fmt.Sprintf("%s of %s: aborted by %s", op.Kind, op.Release, by)}
	if op.OneWay != "" {
		f.Code = fault.NeedsPerson
		f.Message += "; " + op.OneWay + ", and nothing undoes it"
		f.Hint = "look at what its commands did; release run --contract runs every command again"
	}
	r.abort(op, f)
}

// steer pauses, resumes or aborts the exclusive operation. resume is also said to fleets in which replacing is held.
func (r *round) steer(verb, by string) error {
	op := r.s.exclusive()
	if verb == "resume" && r.resumeFleets(by) && (op == nil || !op.Paused) {
		return nil
	}
	if op == nil {
		return fault.New(fault.NotFound, "%s %s: nothing is under way", verb, r.s.Key).WithHint("release status shows what runs")
	}
	if op.Kind == KindDestroy {
		return fault.New(fault.Busy, "%s %s: a destroy cannot be steered", verb, r.s.Key)
	}
	switch verb {
	case "pause":
		op.Paused = true
	case "resume":
		op.Paused, op.Waits = false, ""
	case "abort":
		r.abortBy(op, by)
		return nil
	default:
		return fault.New(fault.Invalid, "steer %s: unknown verb %q", r.s.Key, verb)
	}
	r.sayOp(verb, op, "%s by %s", verb, by)
	return nil
}
