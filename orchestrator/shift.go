package orchestrator

import (
	"cmp"
	"fmt"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

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
	if moves := op.Percent != want || fl.Weight != want; moves && (!r.passes(op, config.BeforeCutover, 0) || !r.passes(op, config.BeforeStep, want)) {
		return
	} else if moves {
		if op.Steps[0].OneWay && op.OneWay == "" {
			op.OneWay = fmt.Sprintf("the step of %d %% is one-way", want)
		}
		op.Percent = want
		r.reweigh(fl, want, op.Kind != KindRollback) // nobody is to stay on a release that is rolled back
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
	op.Baseline, op.ShiftedAt = r.f.Traffic, r.f.Confirmed
	r.beginWeighing(op, fl)
	if r.f.Unserved != "" {
		r.sayOp("unserved", op, "%s has %d %% of the route, but %s", op.Release, want, r.f.Unserved)
	}
	r.phase(op, PhaseHold, "%s has %d %%", op.Release, want)
}

// awaitRouter waits for the edges, and gives up when the router refuses the table for as long as a retry may help.
func (r *round) awaitRouter(op *Operation, want int) {
	if r.f.Refused == nil {
		r.awaitEdges(op, fmt.Sprintf("%d %%", want))
		return
	}
	if r.wait(op, "the router, which refuses the route: %v", r.f.Refused) > refusedFor {
		r.abort(op, &Failure{Code: fault.RolledBack, Hint: hintOf(r.f.Refused),
			Message: fmt.Sprintf("route %s: %v", op.Release, r.f.Refused)})
	}
}

// awaitEdges waits for every edge to confirm, and says what keeps them from it if that is known.
func (r *round) awaitEdges(op *Operation, what string) {
	if err := cmp.Or(r.f.Unread, r.f.Late); err != nil {
		r.wait(op, "the router to confirm %s: %v", what, err)
		return
	}
	r.wait(op, "the router to confirm %s", what)
}

// refusedFor is how long the router may refuse a table before the operation is given up: a port may just be let go of.
const refusedFor = 3 * time.Second

// ceilShare is how many of size nodes a share of percent needs: at least one.
func ceilShare(size, percent int) int { return max(1, (size*percent+99)/100) }

// reweigh gives target its share and the rest to the others, in proportion to what they have. With sessions those that
// lose keep the clients that they had.
func (r *round) reweigh(target *Fleet, percent int, sessions bool) {
	weights := map[string]int{}
	for _, fl := range r.s.Fleets {
		if fl != target && fl.Weight > 0 {
			weights[fl.ID.String()] = fl.Weight
		}
	}
	weights = scaleTo(weights, 100-percent)
	weights[target.ID.String()] = percent
	r.setWeights(weights, sessions)
}

func (r *round) setWeights(weights map[string]int, sessions bool) {
	for _, fl := range r.s.Fleets {
		before := fl.Weight
		fl.Weight = weights[fl.ID.String()]
		switch {
		case fl.Weight < before && sessions:
			r.loses(fl)
		case fl.Weight != before:
			fl.SessionsBy = time.Time{}
		}
		if fl.Weight > 0 {
			fl.HadWeight, fl.Standby, fl.WarmLeft = true, true, 0
			fl.DrainBy, fl.Drain, fl.Retired = time.Time{}, Drain{}, nil
			if fl.State != FleetServing {
				r.setFleet(fl, FleetServing, "%s serves", fl.ID.Release)
			}
		}
	}
}
