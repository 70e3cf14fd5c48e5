package orchestrator

import (
	"fmt"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// abort begins the way back. What is asked of the fleet that failed is decided when the way back is confirmed.
func (r *round) abort(op *Operation, f *Failure) {
	op.Failure, op.ShiftedAt = f, time.Time{}
	r.sayOp("abort", op, "%s", f.Message)
	r.phase(op, PhaseAborting, "routing back")
	if fl := r.s.fleet(op.Fleet); fl != nil && fl.Weight > 0 {
		r.setWeights(op.way(fl), false)
	}
	if rel := r.s.release(op.Followed); rel != nil {
		r.s.follow(rel)
	}
}

// way is the split to go back to: what the other fleets had before, made up to 100. With no other fleet it is empty:
// nobody was served before.
func (op *Operation) way(failed *Fleet) map[string]int {
	weights := map[string]int{}
	for id, w := range op.Before {
		if id != failed.ID.String() && w > 0 {
			weights[id] = w
		}
	}
	return scaleTo(weights, 100)
}

func (r *round) stepAbort(op *Operation) {
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
	fl := r.s.fleet(op.Fleet)
	if rel := r.s.release(op.Release); rel != nil && rel.State == ReleaseNew {
		rel.State = ReleaseAborted
	}
	if fl != nil && fl.Weight == 0 && fl.State != FleetShooting {
		r.dispose(op, fl)
	}
	r.settle(op)
	op.Phase = PhaseDone
	r.sayEnd("aborted", op, "users are on %s", orText(op.From, "no release"))
}

// dispose ends a fleet whose launch or cutover was aborted: shot, or with --keep-failed left as it is, unrouted.
func (r *round) dispose(op *Operation, fl *Fleet) {
	fl.Standby = false
	if op.KeepFailed {
		fl.Kept = true
		fl.Reason = "kept after its launch failed; shot by the next launch"
		r.sayFleet("kept", fl, "%s is kept to be looked at", fl.ID.Release)
		return
	}
	r.condemn(fl, "aborted")
}

// condemn takes a fleet out of the table; it is destroyed when it is empty.
func (r *round) condemn(fl *Fleet, why string) {
	fl.Weight, fl.Standby, fl.Kept, fl.Reason = 0, false, false, why
	fl.SessionsBy = time.Time{}
	r.drainFrom(fl, r.f.Now)
	r.setFleet(fl, FleetShooting, "%s is being shot: %s%s", fl.ID.Release, why, r.staying(fl))
}

// abortBy aborts an operation because a person said so.
func (r *round) abortBy(op *Operation, by string) {
	if op.Phase == PhaseAborting {
		return
	}
	r.abort(op, &Failure{Code: fault.RolledBack, Message: fmt.Sprintf("%s of %s: aborted by %s", op.Kind, op.Release, by)})
}
