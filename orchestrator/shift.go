package orchestrator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// stepShift gives the fleets the share of the first step, all in one table, and waits until every edge confirms it.
func (r *round) stepShift(op *Operation) {
	if op.Paused && op.Handed == nil { // nobody waits while a role is away
		r.wait(op, forPerson)
		return
	}
	want, fleets := op.Steps[0].Percent, r.s.fleetsOf(op)
	fleets = slices.DeleteFunc(fleets, func(fl *Fleet) bool { return fl.Accessory || want < 100 && r.s.awaitsVolume(fl) })
	handed := r.handed(op, fleets)
	for _, fl := range fleets {
		if slices.Contains(handed, fl) && r.s.entitled(fl) {
			continue // it may, and its node comes
		}
		if !r.mayGet(op, fl, want) {
			return
		}
	}
	if slices.ContainsFunc(fleets, func(fl *Fleet) bool { return fl.Weight != want }) || op.Percent != want {
		if !r.passes(op, config.BeforeCutover, 0) || !r.passes(op, config.BeforeStep, want) {
			return
		}
		if !r.handOver(op, handed) {
			return
		}
		op.Waits = "" // what is waited for next counts from now
		op.OneWay = cmp.Or(op.OneWay, r.oneWay(op, want))
		op.Percent = want
		if op.FirstAt.IsZero() {
			op.FirstAt = r.f.Now
		}
		r.reweigh(fleets, want, op.Kind != KindRollback) // nobody is to stay on a release that is rolled back
		r.sayOp("step", op, "%s gets %d %%", op.Release, want)
		for _, fl := range fleets {
			if r.s.awaitsVolume(fl) {
				r.turn(op, fl) // it boots now that the traffic is back
			}
		}
	}
	if rel := r.s.release(op.Release); want == 100 && r.s.Follows != rel.ID {
		r.s.follow(rel) // before the end is reached: if the router refuses this route, the way back is open
	}
	if !r.confirmed() {
		r.awaitRouter(op, want)
		return
	}
	for _, fl := range fleets {
		if r.s.roleOf(fl).Start == config.StartShare && op.Kind != KindRollback && !r.hasNodesFor(op, fl, 100) {
			return
		}
	}
	op.HoldLeft = op.Steps[0].Hold
	op.Baseline, op.ShiftedAt = r.f.Traffic, r.f.Confirmed
	r.beginWeighing(op)
	r.beginChecks(op, r.s.fleet(op.Fleet))
	if r.f.Unserved != "" {
		r.sayOp("unserved", op, "%s has %d %% of the route, but %s", op.Release, want, r.f.Unserved)
	}
	r.phase(op, PhaseHold, "%s has %d %%", op.Release, want)
}

// oneWay says which step a share reaches from which there is no way back by itself; "" for none. A share that was asked for by itself
// is past the steps below it, too.
func (r *round) oneWay(op *Operation, share int) string {
	rel := r.s.release(op.Release)
	if op.Kind == KindRollback || len(op.Before) == 0 {
		return ""
	}
	for _, st := range rel.Config.Cutover.Steps {
		if st.OneWay && st.Percent <= share {
			return fmt.Sprintf("the step of %d %% is one-way", st.Percent)
		}
	}
	return ""
}

// mayGet says whether a fleet may get a share: it has the nodes for it and its image is trusted. What a rollback boots again
// of a role without a route comes after the traffic.
func (r *round) mayGet(op *Operation, fl *Fleet, want int) bool {
	if fl.Weight >= want || op.Kind == KindRollback && !r.s.routed(fl) && fl.State == FleetLaunching {
		return true
	}
	if !r.hasNodesFor(op, fl, want) {
		return false
	}
	// A warm fleet that is rolled back to served before: nothing may stand in the way back.
	return op.Kind == KindRollback && fl.HadWeight || r.trusted(op, fl, fmt.Sprintf("%d%%", want))
}

// hasNodesFor waits for enough healthy nodes for a share of the fleet's work, and aborts when they do not come.
func (r *round) hasNodesFor(op *Operation, fl *Fleet, share int) bool {
	size := r.s.size(fl)
	need := ceilShare(size, share)
	if size == 0 || fl.healthy() >= need || op.Force {
		return true
	}
	if r.wait(op, "%d more healthy nodes of %s for %d %%", need-fl.healthy(), r.s.nameOf(fl), op.Steps[0].Percent) > r.s.configOf(fl).Health.StartWithin.Std() {
		r.abort(op, &Failure{Code: fault.RolledBack, Message: fmt.Sprintf(
			"cut over to %s: %d of %d nodes are healthy, %d are needed for %d %%", r.s.nameOf(fl), fl.healthy(), size, need, op.Steps[0].Percent),
			Hint: "see release status; --force shifts all the same"})
	}
	return false
}

// awaitRouter waits for the edges, and gives up when the router refuses the table for as long as a retry may help.
func (r *round) awaitRouter(op *Operation, want int) {
	no := r.f.Refused
	if no.Err == nil {
		r.awaitEdges(op, fmt.Sprintf("%d %%", want))
		return
	}
	// An agent that was kept waiting itself has not tried for all that time.
	if waited := r.wait(op, "the router, which refuses the route: %v", no.Err); min(waited, no.Span) >= refusedFor {
		r.abort(op, &Failure{Code: fault.RolledBack, Hint: hintOf(no.Err), Message: fmt.Sprintf("route %s: %v", op.Release, no.Err)})
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

// reweigh gives each of the targets its share of its role and the rest to the role's others, in proportion to what they
// have. With sessions those that lose keep the clients that they had.
func (r *round) reweigh(targets []*Fleet, percent int, sessions bool) {
	weights := map[string]int{}
	for _, fl := range r.s.Fleets {
		if !slices.Contains(targets, fl) && fl.Weight > 0 && !fl.Accessory {
			weights[fl.ID.String()] = fl.Weight
		}
	}
	weights = scaleRoles(weights, 100-percent)
	for _, fl := range r.s.Fleets {
		if _, among := weights[fl.ID.String()]; among && percent < 100 && r.s.oneWriter(fl) && !hasRole(targets, fl.ID.Role) {
			weights[fl.ID.String()] = fl.Weight // its volume is handed over with the last step
		}
	}
	for _, target := range targets {
		weights[target.ID.String()] = percent
	}
	r.setWeights(weights, sessions)
}

func hasRole(fleets []*Fleet, role string) bool {
	return slices.ContainsFunc(fleets, func(fl *Fleet) bool { return fl.ID.Role == role })
}

// scaleRoles is scaleTo for the fleets of each role by themselves.
func scaleRoles(weights map[string]int, total int) map[string]int {
	roles := map[string]map[string]int{}
	for id, w := range weights {
		role := roleIn(id)
		if roles[role] == nil {
			roles[role] = map[string]int{}
		}
		roles[role][id] = w
	}
	scaled := map[string]int{}
	for _, of := range roles {
		maps.Copy(scaled, scaleTo(of, total))
	}
	return scaled
}

// roleIn is the role in a fleet's id.
func roleIn(id string) string {
	parsed, err := fleet.ParseFleetID(id)
	if err != nil {
		return ""
	}
	return parsed.Role
}

// setWeights sets the shares of all fleets. Accessories have all of their role's work, always.
func (r *round) setWeights(weights map[string]int, sessions bool) {
	for _, fl := range r.s.Fleets {
		if fl.Accessory {
			continue
		}
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
				r.setFleet(fl, FleetServing, "%s serves", r.s.nameOf(fl))
			}
		}
	}
}
