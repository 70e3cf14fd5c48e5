package orchestrator

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bootandshoot/release/internal/fault"
)

// beginRollback routes back. While a launch or cutover is under way it steers that one: it is its abort.
func (r *round) beginRollback(req asked) (*Operation, error) {
	if under := r.s.exclusive(); under != nil {
		if under.Kind == KindRollback && (req.Release == "" || req.Release == under.Release) {
			return under, nil
		}
		if under.Kind == KindRollback || under.Kind == KindDestroy || under.Kind == KindContract {
			return nil, busy(r.s.Key, under)
		}
		return under, r.abortBy(under, req.By, req.Force)
	}
	rel, err := r.previous(req.Release)
	if err != nil {
		return nil, err
	}
	if fl := r.s.fleetOf(rel.ID); fl != nil && fl.Weight == 100 {
		return r.already(req, rel.ID, 100), nil
	}
	if err := r.fits("roll back", rel.ID, rel.Config.Schema, r.s.version()); err != nil {
		return nil, err
	}
	lacking := r.s.lacking(rel)
	if err := cmp.Or(r.ungated(rel), r.placeable(req, &rel.Config, lacking), req.drivable(rel, lacking)); err != nil {
		return nil, err
	}
	phase := PhaseShift
	if r.mustBoot(rel) {
		phase = PhasePrepare
	}
	op := r.operation(req, phase)
	op.Release = rel.ID
	r.s.moves(op, r.again(rel, req))
	op.Percent = r.s.fleet(op.Fleet).Weight
	op.Steps = []Step{{Percent: 100}}
	r.sayOp("begin", op, "rollback from %s to %s by %s", orText(op.From, "nothing"), rel.ID, req.By)
	return op, nil
}

// drivable says why a rollback could not boot these roles: without hosts they need a driver here.
func (a asked) drivable(rel *Release, roles []string) error {
	for _, role := range roles {
		if err := a.of(role).lacks; err != nil && len(rel.Config.Role(role).Fleet.Hosts) == 0 {
			return fmt.Errorf("roll %s back to %s, role %s: %w", a.Key, rel.ID, role, err)
		}
	}
	return nil
}

// mustBoot says whether a rollback cannot route back at once: a role that is routed has no fleet. Of a role without a route
// the old nodes are ended when a release completes; they are booted after the traffic is back.
func (r *round) mustBoot(rel *Release) bool {
	lacking := r.s.lacking(rel)
	needed := func(role string) bool { return rel.Config.Role(role).Routed() || rel.Config.Role(role).Accessory }
	return slices.ContainsFunc(lacking, needed) || len(lacking) > 0 && len(routedRoles(&rel.Config)) == 0
}

// again is the fleets of an earlier release, those that are gone minted anew.
func (r *round) again(rel *Release, req asked) []*Fleet {
	lacking := r.s.lacking(rel)
	if len(lacking) > 0 {
		rel.Incarnations++
	}
	var fleets []*Fleet
	for _, role := range rel.Config.RoleNames() {
		switch fl := r.s.fleetIn(rel.ID, role); {
		case slices.Contains(lacking, role):
			fleets = append(fleets, r.incarnate(rel, role, req.of(role)))
		case fl != nil && !fl.Accessory:
			fleets = append(fleets, fl)
		}
	}
	return fleets
}

// previous is the release to roll back to: the one named, else the last that completed before the serving one and was
// neither aborted nor rolled back.
func (r *round) previous(id string) (*Release, error) {
	if id != "" {
		if rel := r.s.release(id); rel != nil {
			return rel, nil
		}
		return nil, r.s.noRelease(id)
	}
	except := ""
	if serving := r.s.serving(); serving != nil && serving.Weight == 100 {
		except = serving.ID.Release
	}
	rel := r.s.lastCompleted(except)
	if rel == nil {
		return nil, fault.New(fault.NotFound, "roll %s back: there is no earlier release that was complete", r.s.Key).
			WithHint("release history lists what there was; name one with --to")
	}
	return rel, nil
}
