package orchestrator

import (
	"cmp"
	"maps"
	"slices"

	"github.com/bootandshoot/release/config"
)

// An app may have several roles, each with nodes of its own: a release has a fleet for each of them. All of them boot before the
// release is ready, all that are routed get the same share at each step, and an operation ends for all of them together.
// Fleets of roles without a route are in no table: they are booted with the others, and ended by signal once the next
// release has all the traffic. Accessories are no part of that: see accessory.go.

// roleOf is what the configuration says of a fleet's role.
func (s *State) roleOf(fl *Fleet) config.Role { return s.launchedWith(fl).Role(fl.ID.Role) }

// routed says whether a fleet's nodes get traffic from the router.
func (s *State) routed(fl *Fleet) bool { return s.roleOf(fl).Routed() }

// nameOf is a fleet for people: "r8", or "r8 worker" in an app with roles.
func (s *State) nameOf(fl *Fleet) string {
	if rel := s.release(fl.ID.Release); rel != nil && len(rel.Config.Roles) > 0 {
		return fl.ID.Release + " " + fl.ID.Role
	}
	return fl.ID.Release
}

// fleetIn is the newest living fleet of a release in a role, or nil.
func (s *State) fleetIn(release, role string) *Fleet {
	for _, fl := range slices.Backward(s.Fleets) {
		if fl.ID.Release == release && fl.ID.Role == role && fl.State != FleetShooting && !fl.Kept {
			return fl
		}
	}
	return nil
}

// members are the newest living fleets of a release in the order in which they boot, accessories left out.
func (s *State) members(rel *Release) []*Fleet {
	var list []*Fleet
	for _, role := range rel.Config.RoleNames() {
		if fl := s.fleetIn(rel.ID, role); fl != nil && !fl.Accessory {
			list = append(list, fl)
		}
	}
	return list
}

// lacking are the roles of a release that have no living fleet: those of accessories only if no release has one.
func (s *State) lacking(rel *Release) []string {
	return slices.DeleteFunc(rel.Config.RoleNames(), func(role string) bool {
		if rel.Config.Role(role).Accessory {
			return s.accessory(role) != nil
		}
		return s.fleetIn(rel.ID, role) != nil
	})
}

// fleetsOf are the fleets that an operation boots or moves to and that are there, in the order in which they boot.
func (s *State) fleetsOf(op *Operation) []*Fleet {
	var list []*Fleet
	for _, id := range op.fleets() {
		if fl := s.fleet(id); fl != nil {
			list = append(list, fl)
		}
	}
	return list
}

// fleets are the ids of the fleets that the operation boots or moves to.
func (op *Operation) fleets() []string {
	if len(op.Fleets) == 0 && op.Fleet != "" {
		return []string{op.Fleet}
	}
	return op.Fleets
}

// moves makes fleets those of an operation. The first that users reach leads: it is the one that is shown.
func (s *State) moves(op *Operation, fleets []*Fleet) {
	op.Fleets = nil
	for _, fl := range fleets {
		op.Fleets = append(op.Fleets, fl.ID.String())
	}
	op.Fleet = s.lead(fleets).ID.String()
	if len(fleets) == 1 {
		op.Fleets = nil
	}
}

// lead is the fleet that stands for a release where one must: of a role that users reach, else of one that is routed at all.
func (s *State) lead(fleets []*Fleet) *Fleet {
	best, rank := fleets[0], -1
	for _, fl := range fleets {
		mine := 2 * s.roleOf(fl).Rank()
		if s.oneWriter(fl) {
			mine-- // it moves only with the last step
		}
		if mine > rank {
			best, rank = fl, mine
		}
	}
	return best
}

// whole says whether all fleets of the release that serves have the healthy nodes that they should have.
func (s *State) whole() bool {
	serving := s.serving()
	if serving == nil {
		return false
	}
	for _, fl := range s.Fleets {
		if fl.ID.Release == serving.ID.Release && fl.Weight > 0 && !fl.Accessory && fl.healthy() < s.size(fl) {
			return false
		}
	}
	return true
}

// imageOf is the image of a role.
func (rel *Release) imageOf(role string) string {
	if image := rel.Images[role]; image != "" {
		return image
	}
	return rel.Image
}

// portOf is the first port that the image of a role declares; 0: none.
func (rel *Release) portOf(role string) int {
	if port, known := rel.Ports[role]; known {
		return port
	}
	return rel.Port
}

// runs says whether the release has these images: one for all roles, and others by role.
func (rel *Release) runs(image string, images map[string]string) bool {
	return rel.Image == image && maps.Equal(rel.Images, images)
}

// sized is the size that scale has set for a role; 0: none.
func (s *State) sized(role string) int {
	if role == config.DefaultRole && s.Size > 0 {
		return s.Size
	}
	return s.Sizes[role]
}

// setSize sets it; 0: the configuration's holds again.
func (s *State) setSize(role string, size int) {
	switch {
	case role == config.DefaultRole:
		s.Size = size
	case size == 0:
		delete(s.Sizes, role)
	default:
		if s.Sizes == nil {
			s.Sizes = map[string]int{}
		}
		s.Sizes[role] = size
	}
}

// Asked is how many nodes each fleet should have; of an app with roles those of the role that stands for it.
func (s *State) Asked() int {
	role := s.Config.MainRole()
	return cmp.Or(s.sized(role), s.Config.Role(role).Fleet.Size)
}

// forgetSizes lets the sizes of a new configuration hold where they are others than before.
func (s *State) forgetSizes(next *config.App) {
	for _, role := range next.RoleNames() {
		if !s.Config.HasRole(role) || next.Role(role).Fleet.Size != s.Config.Role(role).Fleet.Size {
			s.setSize(role, 0)
		}
	}
}

// previewHash is that of a role's preview key.
func (s *State) previewHash(role string) string {
	if hash := s.PreviewHashes[role]; hash != "" {
		return hash
	}
	if len(s.Config.Roles) > 0 {
		return ""
	}
	return s.PreviewHash
}
