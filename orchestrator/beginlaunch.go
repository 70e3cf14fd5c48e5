package orchestrator

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
)

func (r *round) beginLaunch(req asked) (*Operation, error) {
	if done := r.unchanged(req); done != nil {
		return done, nil
	}
	if err := cmp.Or(r.launchFits(req), r.placeable(req, req.Config, req.Config.RoleNames())); err != nil {
		return nil, err
	}
	for _, fl := range r.s.Fleets {
		if (!fl.HadWeight || fl.Kept) && fl.State != FleetShooting {
			r.condemn(fl, "a newer release is launched")
		}
	}
	r.takeFound()
	if err := r.address(req); err != nil {
		return nil, err
	}
	rel := r.record(req)
	r.s.forgetSizes(req.Config)
	r.s.Releases = append(r.s.Releases, rel)
	if r.s.serving() == nil {
		r.s.follow(rel)
	}
	op := r.operation(req, PhasePrepare)
	op.Release = rel.ID
	r.s.moves(op, r.fresh(rel, req))
	if req.Kind == KindUp {
		op.Steps = r.steps(rel, 0, 0)
	}
	r.sayOp("begin", op, "%s of %s by %s", req.Kind, rel.ID, req.By)
	if bad := r.rejected(rel); bad != nil {
		r.sayOp("note", op, "%s has the image and configuration of %s, which was rolled back", rel.ID, bad.ID)
	}
	return op, nil
}

// rejected finds an earlier release that was the same and was rolled back: whoever deploys it again should know.
func (r *round) rejected(rel *Release) *Release {
	for _, old := range slices.Backward(r.s.Releases) {
		if old != rel && old.State == ReleaseRolledBack && old.runs(rel.Image, rel.Images) && sameConfig(&old.Config, &rel.Config) {
			return old
		}
	}
	return nil
}

// follow makes the route that of a release.
func (s *State) follow(rel *Release) {
	s.Follows, s.Config, s.PreviewHash, s.PreviewHashes = rel.ID, rel.Config, rel.PreviewHash, rel.PreviewHashes
}

// record mints a release.
func (r *round) record(req asked) *Release {
	r.s.NextRelease++
	lead := req.of(config.DefaultRole)
	rel := &Release{
		ID: fmt.Sprintf("r%d", r.s.NextRelease), Image: req.Image, Port: lead.port, Config: *req.Config, By: req.By,
		At: r.f.Now, BakedAt: lead.bakedAt, State: ReleaseNew, PreviewHash: lead.previewHash, Images: req.images(), Files: req.Files,
	}
	if len(req.Config.Roles) == 0 {
		return rel
	}
	rel.Ports, rel.PreviewHashes = map[string]int{}, map[string]string{}
	for role, part := range req.roles {
		rel.Ports[role] = part.port
		if part.previewHash != "" {
			rel.PreviewHashes[role] = part.previewHash
		}
	}
	return rel
}

// fresh mints the fleets of a new release: one for each role, but for accessories that stay as they are.
func (r *round) fresh(rel *Release, req asked) []*Fleet {
	rel.Incarnations++
	var fleets []*Fleet
	for _, role := range rel.Config.RoleNames() {
		part := req.of(role)
		if old := r.s.accessory(role); old != nil && rel.Config.Role(role).Accessory && r.s.sameAccessory(old, &rel.Config, part.image) {
			continue
		}
		fleets = append(fleets, r.incarnate(rel, role, part))
	}
	return fleets
}

// unchanged finds the release that a launch or up would only repeat: serving everything, or ready and waiting, or on its way.
func (r *round) unchanged(req asked) *Operation {
	for _, fl := range r.s.Fleets {
		rel := r.s.release(fl.ID.Release)
		if rel == nil || fl.Accessory || !rel.same(req) {
			continue
		}
		if fl.Weight == 100 {
			return r.already(req, rel.ID, 100)
		}
		if req.Kind == KindLaunch && (fl.State == FleetReady || fl.Weight > 0 && rel.State == ReleaseNew) {
			return r.already(req, rel.ID, fl.Weight)
		}
	}
	return nil
}

// incarnate mints a new fleet for a role of a release, with the number that the caller has minted.
func (r *round) incarnate(rel *Release, role string, on askedRole) *Fleet {
	r.s.Destroyed = false
	fl := &Fleet{
		ID:     fleet.FleetID{App: r.s.Key.App, Env: r.s.Key.Env, Role: role, Release: rel.ID, Incarnation: rel.Incarnations},
		Driver: on.driver, Scope: on.scope, Image: rel.imageOf(role), Port: rel.portOf(role), State: FleetLaunching, Since: r.f.Now,
		Accessory: rel.Config.Role(role).Accessory,
	}
	if len(rel.Config.Role(role).Fleet.Hosts) > 0 { // a rollback is asked with what the newest fleet runs on
		fl.Driver, fl.Scope = config.HostsDriver, ""
	}
	r.s.Fleets = append(r.s.Fleets, fl)
	r.recordVolumes(fl)
	return fl
}
