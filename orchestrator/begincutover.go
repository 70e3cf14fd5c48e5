package orchestrator

import (
	"cmp"
	"slices"
	"strings"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// steps are the stops from the present share to another, or with 0 those of the release on to 100. One that holds and is where the
// release stands is among them: nobody has watched a share that was asked for by itself. No way leads past a gate: steps that need an
// approval and have none are stops in any case. The first release of all goes straight to 100.
func (r *round) steps(rel *Release, present, target int) []Step {
	if r.s.serving() == nil {
		return []Step{{Percent: 100}}
	}
	var steps []Step
	for _, st := range rel.Config.Cutover.Steps {
		gate := st.Approve != "" && !rel.approved(st.Approve, st.Percent) && (target == 0 || st.Percent < target && present < target)
		unwatched := st.Percent == present && present > 0 && st.Hold > 0
		if gate || target == 0 && (st.Percent > present || unwatched) {
			steps = append(steps, Step{Percent: max(st.Percent, present), Hold: st.Hold.Std(), Approve: st.Approve, OneWay: st.OneWay})
		}
	}
	last := cmp.Or(target, 100)
	if len(steps) == 0 || steps[len(steps)-1].Percent != last {
		steps = append(steps, Step{Percent: last})
	}
	return steps
}

func (r *round) beginCutover(req asked) (*Operation, error) {
	rel, fl, err := r.candidate(req.Release)
	if err != nil {
		return nil, err
	}
	percent := req.Percent
	if r.s.serving() == nil {
		percent = 100
	}
	if fl.Weight == 100 && percent > 0 && percent < 100 {
		return nil, fault.New(fault.NotFound, "cut over %s to %d %%: %s has all of the traffic, and no other release is launched", r.s.Key, percent, rel.ID).
			WithHint("launch one with: release launch; the way back is: release rollback")
	}
	if fl.Weight == 100 || percent != 0 && fl.Weight == percent {
		return r.already(req, rel.ID, fl.Weight), nil
	}
	shared := slices.ContainsFunc(r.s.members(rel), func(fl *Fleet) bool {
		role := r.s.roleOf(fl)
		return !role.Accessory && !r.s.awaitsVolume(fl) && (role.Routed() || role.Start == config.StartShare)
	})
	if percent > 0 && percent < 100 && !shared {
		return nil, fault.New(fault.Denied, "cut over %s to %d %% of %s: its volume has one writer, so it has all of the traffic or none", r.s.Key, percent, rel.ID).
			WithHint("leave --percent out")
	}
	if err := r.fits("cut over", rel.ID, rel.Config.Schema, r.s.version()); err != nil {
		return nil, err
	}
	op := r.operation(req, PhaseShift)
	op.Release, op.Percent = rel.ID, fl.Weight
	r.s.moves(op, r.s.members(rel))
	op.Steps = r.steps(rel, fl.Weight, percent)
	r.sayOp("begin", op, "cutover of %s to %d %% by %s", rel.ID, op.Steps[len(op.Steps)-1].Percent, req.By)
	return op, nil
}

// candidate finds the fleet to cut over to: of the release named, else of the newest release that is launched.
func (r *round) candidate(id string) (*Release, *Fleet, error) {
	if id != "" {
		rel := r.s.release(id)
		if rel == nil {
			return nil, nil, r.s.noRelease(id)
		}
		if fl := r.s.launched(rel); fl != nil {
			return rel, fl, nil
		}
		return nil, nil, fault.New(fault.NotFound, "cut over %s to %s: the release has no running fleet", r.s.Key, id).
			WithHint("boot it again with: release rollback --to %s", id)
	}
	for _, rel := range slices.Backward(r.s.Releases) {
		if fl := r.s.launched(rel); fl != nil && rel.State == ReleaseNew {
			return rel, fl, nil
		}
	}
	if fl := r.s.serving(); fl != nil && fl.Weight == 100 {
		return r.s.release(fl.ID.Release), fl, nil
	}
	return nil, nil, fault.New(fault.NotFound, "cut over %s: no release is launched", r.s.Key).
		WithHint("launch one with: release launch")
}

// launched is the fleet that leads a release all of whose roles are launched, or nil.
func (s *State) launched(rel *Release) *Fleet {
	members := s.members(rel)
	if len(members) == 0 || len(s.lacking(rel)) > 0 {
		return nil
	}
	if slices.ContainsFunc(members, func(fl *Fleet) bool { return fl.State == FleetLaunching }) {
		return nil
	}
	return s.lead(members)
}

func (s *State) noRelease(id string) error {
	var ids []string
	for _, rel := range slices.Backward(s.Releases) {
		if ids = append(ids, rel.ID); len(ids) == 5 {
			break
		}
	}
	return fault.New(fault.NotFound, "%s has no release %q", s.Key, id).
		WithHint("the newest are: %s", orText(strings.Join(ids, " "), "none yet"))
}
