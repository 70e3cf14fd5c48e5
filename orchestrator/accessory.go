package orchestrator

import (
	"slices"

	"github.com/bootandshoot/release/config"
)

// An accessory is a database or a broker: what it keeps is not for two at a time. Its fleet goes on over releases; one that
// changes it stops the old fleet before the new one boots, ahead of the cutover, and it is away meanwhile. Abort and
// rollback leave it as it is, but for one that never became healthy: then the one before is booted again.

// accessory is the fleet of an accessory's role that is in use, or nil.
func (s *State) accessory(role string) *Fleet {
	for _, fl := range s.Fleets {
		if fl.Accessory && fl.ID.Role == role && fl.State != FleetShooting {
			return fl
		}
	}
	return nil
}

// sameAccessory says whether an accessory would be the same in a release that is about to be launched.
func (s *State) sameAccessory(fl *Fleet, cfg *config.App, image string) bool {
	return fl.Image == image && sameJSON(s.roleOf(fl), cfg.Role(fl.ID.Role))
}

// stopBefore makes room for an accessory once all images of its release are in place, and says whether there is any: the fleet that
// had its role is gone. What it has open is not waited for.
func (r *round) stopBefore(fl *Fleet) bool {
	room := true
	for _, old := range r.s.Fleets {
		if old == fl || old.ID.Role != fl.ID.Role || !old.Accessory {
			continue
		}
		room = false
		if fl.State == FleetLaunching && fl.Prepared && !r.preparing(fl) && old.State != FleetShooting {
			fl.Before, fl.BeforeDriver, fl.BeforeScope = old.ID.Release, old.Driver, old.Scope
			r.sayFleet("handover", fl, "%s is changed: its old nodes are stopped, then the new ones boot; nobody does the work of %s meanwhile",
				r.s.nameOf(fl), fl.ID.Role)
			r.condemn(old, fl.ID.Release+" changes it; it is away until the new one is healthy")
			old.DrainBy, old.LongBy = r.f.Now, r.f.Now
		}
	}
	return room
}

// preparing says whether an operation with a fleet has yet to bring images, which may fail.
func (r *round) preparing(fl *Fleet) bool {
	op := r.s.exclusive()
	return op != nil && op.Phase == PhasePrepare && slices.Contains(op.fleets(), fl.ID.String())
}

// putBack ends an accessory that never became healthy and boots the one before again.
func (r *round) putBack(fl *Fleet) {
	r.condemn(fl, "it never became healthy")
	fl.DrainBy, fl.LongBy = r.f.Now, r.f.Now
	rel := r.s.release(fl.Before)
	if rel == nil {
		return
	}
	rel.Incarnations++
	old := r.incarnate(rel, fl.ID.Role, fl.before())
	old.Weight, old.HadWeight = 100, true
	r.setFleet(old, FleetServing, "%s is booted again", r.s.nameOf(old))
}

// before is what the one before ran on. It is not said by an agent that came before this one.
func (fl *Fleet) before() askedRole {
	if fl.BeforeDriver == "" {
		return askedRole{driver: fl.Driver, scope: fl.Scope}
	}
	return askedRole{driver: fl.BeforeDriver, scope: fl.BeforeScope}
}

// endAccessories shoots those that the release which has all the traffic now does not have any more.
func (r *round) endAccessories(rel *Release) {
	for _, fl := range r.s.Fleets {
		if fl.Accessory && fl.State != FleetShooting && !rel.Config.Role(fl.ID.Role).Accessory {
			r.condemn(fl, rel.ID+" has no such accessory")
		}
	}
}
