package orchestrator

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
)

// clone copies a state so deeply that changing the copy leaves the original alone. Configurations are shared: they are
// never changed in place.
func (s *State) clone() *State {
	c := *s
	if s.Lost != nil {
		c.Lost = new(Lost)
		*c.Lost = *s.Lost // its route is never changed in place
	}
	c.Releases = clonePointers(s.Releases)
	c.Fleets = clonePointers(s.Fleets)
	for _, fl := range c.Fleets {
		fl.Nodes = clonePointers(fl.Nodes)
		fl.Tails = slices.Clone(fl.Tails)
		fl.Hooks = fl.Hooks.clone()
		fl.Drifted = slices.Clone(fl.Drifted)
	}
	c.Volumes = clonePointers(s.Volumes)
	c.Repairs = slices.Clone(s.Repairs)
	c.Database = s.Database.clone()
	c.Tasks, c.Jobs = cloneTasks(s.Tasks), clonePointers(s.Jobs)
	c.Sizes, c.Addresses = maps.Clone(s.Sizes), maps.Clone(s.Addresses)
	c.Operations = clonePointers(s.Operations)
	for _, op := range c.Operations {
		op.Steps = slices.Clone(op.Steps)
		op.Nodes = slices.Clone(op.Nodes)
		op.Before, op.Handed = maps.Clone(op.Before), maps.Clone(op.Handed)
		op.Baseline = maps.Clone(op.Baseline)
		op.Hooks = op.Hooks.clone()
		op.Verdicts = slices.Clone(op.Verdicts)
		op.Checks = slices.Clone(op.Checks)
		op.Evidence = maps.Clone(op.Evidence)
	}
	return &c
}

// cloneTasks copies what a round may change in place: the tasks, each with its node.
func cloneTasks(in []*Task) []*Task {
	out := clonePointers(in)
	for _, t := range out {
		if t.Fleet != nil {
			fl := *t.Fleet
			fl.Nodes = clonePointers(fl.Nodes)
			t.Fleet = &fl
		}
	}
	return out
}

func clonePointers[T any](in []*T) []*T {
	out := make([]*T, len(in))
	for i, p := range in {
		c := *p
		out[i] = &c
	}
	return out
}

// exclusive is the operation that holds the lock, or nil.
func (s *State) exclusive() *Operation {
	for _, op := range s.Operations {
		if op.Kind.Exclusive() && op.Ended.IsZero() {
			return op
		}
	}
	return nil
}

func (s *State) release(id string) *Release {
	for _, rel := range s.Releases {
		if rel.ID == id {
			return rel
		}
	}
	return nil
}

// fleet is the living fleet of that id, or what holds a task's node; nil for none.
func (s *State) fleet(id string) *Fleet {
	for _, fl := range s.holders() {
		if fl.ID.String() == id {
			return fl
		}
	}
	return nil
}

// holders are all that have nodes at a driver: the fleets, and the tasks under way.
func (s *State) holders() []*Fleet {
	all := slices.Clone(s.Fleets)
	for _, t := range s.Tasks {
		if t.Fleet != nil {
			all = append(all, t.Fleet)
		}
	}
	return all
}

// fleetWith is the fleet that a node of this state is of.
func (s *State) fleetWith(n *Node) *Fleet {
	for _, fl := range s.Fleets {
		if slices.Contains(fl.Nodes, n) {
			return fl
		}
	}
	return nil
}

// fleetOf is the newest living fleet of a release, that of the role that leads, or nil.
func (s *State) fleetOf(release string) *Fleet {
	rel := s.release(release)
	if rel == nil {
		return nil
	}
	if members := s.members(rel); len(members) > 0 {
		return s.lead(members)
	}
	return nil
}

// serving is the fleet with the largest share, that of the role that leads, or nil. Fleets whose volume is handed over with the
// last step say nothing before.
func (s *State) serving() *Fleet {
	if best := s.heaviest(func(fl *Fleet) bool { return s.oneWriter(fl) }); best != nil {
		return best
	}
	return s.heaviest(func(*Fleet) bool { return false })
}

// heaviest is the fleet with the largest share among those that are not left out.
func (s *State) heaviest(without func(*Fleet) bool) *Fleet {
	var best []*Fleet
	for _, fl := range s.Fleets {
		switch {
		case fl.Weight == 0 || fl.Accessory || without(fl):
		case len(best) == 0 || fl.Weight > best[0].Weight:
			best = []*Fleet{fl}
		case fl.Weight == best[0].Weight && fl.ID.Release == best[0].ID.Release:
			best = append(best, fl)
		}
	}
	if len(best) == 0 {
		return nil
	}
	return s.lead(best)
}

// launchedWith is the configuration that a fleet was launched with.
func (s *State) launchedWith(fl *Fleet) *config.App {
	if rel := s.release(fl.ID.Release); rel != nil {
		return &rel.Config
	}
	return &s.Config
}

// configOf is the configuration that a fleet was launched with, as its role sees it.
func (s *State) configOf(fl *Fleet) *config.App { return s.launchedWith(fl).ForRole(fl.ID.Role) }

// size is how many nodes a fleet should have. It belongs to the environment: a size set by scale holds for all fleets of the
// role. A fleet whose volume is another's has none. Where nodes come with the traffic it is the fleet's share, until the release has completed.
func (s *State) size(fl *Fleet) int {
	switch {
	case s.awaitsVolume(fl):
		return 0
	case s.oneWriter(fl):
		return 1
	}
	size := cmp.Or(s.sized(fl.ID.Role), s.configOf(fl).Fleet.Size)
	rel := s.release(fl.ID.Release)
	if rel == nil || rel.State != ReleaseNew || fl.Weight == 100 || s.roleOf(fl).Start != config.StartShare {
		return size
	}
	return (size*fl.Weight + 99) / 100
}

// probed says whether there is anything to ask the fleet's nodes. A port that the image declares need not be that of a role
// without a route.
func (fl *Fleet) probed(s *State) bool {
	h := s.configOf(fl).Health
	return fl.Port != 0 && s.routed(fl) || h.HTTP != nil || h.TCP != nil || h.GRPC != nil || h.Exec != nil
}

// atRest says whether nothing but long timers can change the state by itself.
func (s *State) atRest() bool {
	if len(s.Operations) > 0 || len(s.Tasks) > 0 {
		return false
	}
	for _, fl := range s.Fleets {
		switch {
		case fl.healthy() != len(fl.members()) || fl.kept() && !fl.Prepared:
			return false
		case fl.State == FleetServing, fl.State == FleetWarm, fl.State == FleetReady:
		case fl.State == FleetDraining && !fl.SessionsBy.IsZero():
		case fl.State == FleetShooting && (!fl.Over || len(fl.members()) == 0): // each reading of the edges is a round
		default:
			return false
		}
	}
	return true
}

// kept says whether the fleet is held at its size.
func (fl *Fleet) kept() bool {
	switch fl.State {
	case FleetLaunching, FleetReady, FleetServing, FleetWarm, FleetDraining:
		return true
	}
	return false
}

// routable says whether the fleet's healthy nodes are in the table.
func (fl *Fleet) routable() bool { return fl.kept() && fl.State != FleetLaunching && !fl.Kept }

func (fl *Fleet) healthy() int {
	n := 0
	for _, node := range fl.Nodes {
		if node.State == NodeHealthy {
			n++
		}
	}
	return n
}

// wanted says whether the replacement of a node was asked for: by a person, or since its host is drained or lost.
func (n *Node) wanted() bool { return n.Asked || n.Moves != "" || n.InQuarantine() }

func (n *Node) live() bool {
	return n.State == NodeStarting || n.State == NodeHealthy || n.State == NodeUnhealthy
}

// nodeName makes a node's name from its fleet and a random suffix: unique in the installation, and fit for a host name.
func nodeName(id fleet.FleetID, suffix string) string {
	return nodePrefix(Key{App: id.App, Env: id.Env}) + id.Release + "-" + suffix
}

// nodePrefix is how the names of all nodes of an app in an environment begin.
func nodePrefix(key Key) string { return key.App + "-" + key.Env + "-" }

// releaseNumber is 8 for "r8", 0 for anything else.
func releaseNumber(id string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(id, "r"))
	if err != nil || !strings.HasPrefix(id, "r") {
		return 0
	}
	return n
}
