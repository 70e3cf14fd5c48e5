package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// abort ends an operation that went wrong by itself. As long as all can be undone it routes back. After something that cannot
// (Operation.OneWay) the old release may not work any more: the operation is held at its present split, and a person decides.
func (r *round) abort(op *Operation, f *Failure) {
	if op.OneWay == "" || op.Kind == KindContract { // no traffic was moved for a contract
		r.routeBack(op, f)
		return
	}
	f.Code = fault.NeedsPerson
	f.Message = fmt.Sprintf("%s; held at %d %%, since %s", f.Message, op.Percent, op.OneWay)
	f.Hint = "look first: release status · go on all the same: release resume · route back all the same: release abort --force"
	op.Failure, op.Paused = f, true
	r.sayOp("stuck", op, "%s", f.Message)
	r.stayStuck(op)
}

// stayStuck calls a person, by the hooks that an abort has, and waits for one.
func (r *round) stayStuck(op *Operation) {
	if r.passes(op, config.OnAbort, op.Percent) {
		r.wait(op, "a person: release resume, or release abort --force")
	}
}

// stuck says whether an operation failed and is held, since it cannot be undone.
func (op *Operation) stuck() bool { return op.Paused && op.Failure != nil }

// unstick goes on with an operation that is held because it failed: what was seen so far is not held against it any more.
func (r *round) unstick(op *Operation) {
	op.Failure, op.Evidence, op.Baseline = nil, nil, r.f.Traffic
	op.forgetAnswers()
	op.Hooks.again(config.OnAbort)
	for _, fl := range r.s.fleetsOf(op) {
		if fl.State == FleetLaunching && r.gaveUp(fl) {
			r.tryAgain(fl)
		}
	}
}

// tryAgain lets a fleet that was given up boot once more.
func (r *round) tryAgain(fl *Fleet) {
	fl.better()
	for _, n := range fl.Nodes {
		if n.State == NodeUnhealthy && !n.WasServed {
			r.leave(fl, n, "it is tried again")
		}
	}
}

// routeBack begins the way back. What is asked of the fleet that failed is decided when the way back is confirmed.
func (r *round) routeBack(op *Operation, f *Failure) {
	op.Failure, op.ShiftedAt = f, time.Time{}
	op.Paused, op.Held = false, ""
	r.sayOp("abort", op, "%s", orText(f.brief, f.Message))
	if op.Kind == KindContract {
		r.phase(op, PhaseAborting, "stopping")
		return // no traffic was moved for it
	}
	r.phase(op, PhaseAborting, "routing back")
	r.handBack(op)
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
	if !r.confirmed() && r.f.Refused.Err == nil {
		r.awaitEdges(op, "the way back")
		return
	}
	if op.ShiftedAt.IsZero() {
		op.ShiftedAt = r.f.Confirmed
	}
	if !r.counted(op.ShiftedAt) {
		return
	}
	if !r.passes(op, config.OnAbort, 0) || !r.handedBack(op) {
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
	if op.KeepFailed && !r.s.oneWriter(fl) { // it would keep what the other fleet needs
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

// abortBy aborts an operation because a person said so. What cannot be undone any more needs their force (fault.NeedsPerson); then the
// journal says what may come of it.
func (r *round) abortBy(op *Operation, by string, force bool) error {
	past := op.OneWay != "" && op.Kind != KindContract // no traffic was moved for a contract
	switch {
	case op.Phase == PhaseAborting:
		return nil
	case past && !force:
		return fault.New(fault.NeedsPerson, "route back from %s: %s; %s", op.Release, op.OneWay, op.risk()).
			WithHint("go on: release resume · route back all the same: release abort --force")
	}
	op.AbortedBy = by
	op.Hooks.again(config.OnAbort)
	f := &Failure{Code: fault.RolledBack, Message: fmt.Sprintf("%s of %s: aborted by %s", op.Kind, op.Release, by)}
	if past {
		f.Message += fmt.Sprintf(", by force: %s; %s", op.OneWay, op.risk())
	}
	if op.Kind == KindContract && op.OneWay != "" {
		f.Code = fault.NeedsPerson
		f.Message += "; " + op.OneWay + ", and nothing undoes it"
		f.Hint = "look at what its commands did; release run --contract runs every command again"
	}
	r.routeBack(op, f)
	return nil
}

// risk is what routing back past something that cannot be undone may cost.
func (op *Operation) risk() string {
	return fmt.Sprintf("%s may not work with what %s has done since", orText(op.From, "the release before"), op.Release)
}
