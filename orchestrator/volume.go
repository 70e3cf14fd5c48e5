package orchestrator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// A volume outlives the nodes and fleets that have it. One that is for one writer is leased: its record names the node that has
// it, from before that node boots until nothing of the node is on record any more, which is when its driver has said that it is
// gone. The record also names the fleet whose turn it is. No other fleet has nodes (State.size), so a handover is that one word:
// the old fleet lets its node go, and the new one boots its own when the lease is free.

// Volume is the record of a volume of an app in an environment.
type Volume struct {
	Role   string    `json:"role"`
	Name   string    `json:"name"`
	Driver string    `json:"driver"`
	Scope  string    `json:"scope,omitempty"` // of the driver; see Fleet
	One    bool      `json:"one,omitempty"`   // for one writer
	Fleet  string    `json:"fleet,omitempty"` // one writer: the fleet whose node may have it
	Node   string    `json:"node,omitempty"`  // one writer: the node that has it, or may have
	Since  time.Time `json:"since,omitzero"`  // Node: since when
}

// name is a volume's among those of its app.
func (v *Volume) name() string { return v.Role + "/" + v.Name }

// Writer is who may write to it, as in a configuration.
func (v *Volume) Writer() string {
	if v.One {
		return config.WriterOne
	}
	return config.WriterMany
}

// id is its name for drivers.
func (v *Volume) id(key Key) fleet.VolumeID {
	return fleet.VolumeID{App: key.App, Env: key.Env, Role: v.Role, Name: v.Name}
}

func (s *State) volume(name string) *Volume {
	for _, v := range s.Volumes {
		if v.name() == name {
			return v
		}
	}
	return nil
}

// oneWriter says whether nodes of a fleet have a volume that is for one at a time.
func (s *State) oneWriter(fl *Fleet) bool { return s.configOf(fl).Fleet.OneWriter() }

// alone says whether there cannot be two nodes of a fleet's role at a time.
func (s *State) alone(fl *Fleet) bool { return fl.Accessory || s.oneWriter(fl) }

// leases are the records of a fleet's volumes that are for one writer.
func (s *State) leases(fl *Fleet) []*Volume {
	var list []*Volume
	for _, c := range s.configOf(fl).Fleet.Volumes {
		if v := s.volume(fl.ID.Role + "/" + c.Name); v != nil && c.Writer == config.WriterOne {
			list = append(list, v)
		}
	}
	return list
}

// entitled says whether a fleet may have nodes. Accessories take turns by themselves: see accessory.go.
func (s *State) entitled(fl *Fleet) bool {
	return fl.Accessory || !slices.ContainsFunc(s.leases(fl), func(v *Volume) bool { return v.Fleet != fl.ID.String() })
}

// awaitsVolume says whether a fleet has its nodes only when a volume is handed over to it.
func (s *State) awaitsVolume(fl *Fleet) bool { return s.oneWriter(fl) && !s.entitled(fl) }

// mounts are the volumes of a fleet's nodes. A task has only those that are for many: the others are somebody's.
func (s *State) mounts(fl *Fleet, task bool) []fleet.VolumeMount {
	var list []fleet.VolumeMount
	for _, c := range s.configOf(fl).Fleet.Volumes {
		one := c.Writer == config.WriterOne
		if one && task {
			continue
		}
		id := fleet.VolumeID{App: fl.ID.App, Env: fl.ID.Env, Role: fl.ID.Role, Name: c.Name}
		list = append(list, fleet.VolumeMount{Volume: id, Path: c.Path, OneWriter: one, Size: int64(c.Size)})
	}
	return list
}

// recordVolumes writes a new fleet's volumes down. One that is nobody's turn is the fleet's.
func (r *round) recordVolumes(fl *Fleet) {
	for _, c := range r.s.configOf(fl).Fleet.Volumes {
		v := r.s.volume(fl.ID.Role + "/" + c.Name)
		if v == nil {
			v = &Volume{Role: fl.ID.Role, Name: c.Name, Driver: fl.Driver, Scope: fl.Scope, One: c.Writer == config.WriterOne}
			r.s.Volumes = append(r.s.Volumes, v)
			r.sayVolume("kept", v, "the volume %s is kept from now on", v.name())
		}
		if turn := r.s.fleet(v.Fleet); v.One && (turn == nil || turn.State == FleetShooting) {
			v.Fleet = fl.ID.String()
		}
	}
}

func (r *round) sayVolume(what string, v *Volume, format string, args ...any) {
	r.say(Event{Type: "volume." + what, Fleet: v.Fleet, Node: v.Node}, format, args...)
}

// freeVolumes ends the leases of nodes of which nothing is left.
func (r *round) freeVolumes() {
	for _, v := range r.s.Volumes {
		onRecord := slices.ContainsFunc(r.s.Fleets, func(fl *Fleet) bool {
			return slices.ContainsFunc(fl.Nodes, func(n *Node) bool { return n.Name == v.Node })
		})
		if v.Node != "" && !onRecord {
			r.sayVolume("free", v, "the volume %s is free: %s is gone", v.name(), v.Node)
			v.Node, v.Since = "", time.Time{}
		}
	}
}

// volumesFree says whether a fleet's next node could have its volumes.
func (r *round) volumesFree(fl *Fleet) bool {
	return !slices.ContainsFunc(r.s.leases(fl), func(v *Volume) bool { return v.Node != "" })
}

// lease gives a node that was just named its volumes.
func (r *round) lease(fl *Fleet, n *Node) {
	for _, v := range r.s.leases(fl) {
		v.Fleet, v.Node, v.Since = fl.ID.String(), n.Name, r.f.Now
		r.sayVolume("leased", v, "%s has the volume %s", n.Name, v.name())
	}
}

// leaveVolumes lets the nodes of a fleet go whose volumes are another's. Long connections are not waited for.
func (r *round) leaveVolumes(fl *Fleet) {
	if fl.State == FleetShooting || !r.s.awaitsVolume(fl) {
		return
	}
	for _, n := range fl.Nodes {
		if n.live() {
			r.leave(fl, n, "its volume goes to another fleet")
			n.LongBy = r.f.Now
		}
	}
}

// booting says whether a node's boot is under way: it may come to be after it was removed. What has a lease waits for that.
func (r *round) booting(fl *Fleet, n *Node) bool {
	return r.f.Nodes[n.Name].Booting && r.s.oneWriter(fl)
}

// handed are the fleets of an operation whose volumes are still another's, and must be theirs before they get any share. What a
// rollback boots again of a role without a route comes after the traffic.
func (r *round) handed(op *Operation, fleets []*Fleet) []*Fleet {
	return slices.DeleteFunc(slices.Clone(fleets), func(fl *Fleet) bool {
		return !r.s.oneWriter(fl) || r.workerOfRollback(op, fl) || r.s.entitled(fl) && fl.State != FleetLaunching
	})
}

func (r *round) workerOfRollback(op *Operation, fl *Fleet) bool {
	return op.Kind == KindRollback && !r.s.routed(fl) && fl.State == FleetLaunching
}

// handOver gives fleets their volumes, and says whether they have healthy nodes. It is the only part of an operation in which
// nobody does their role's work, so all else comes before.
func (r *round) handOver(op *Operation, fleets []*Fleet) bool {
	for _, fl := range fleets {
		if r.s.awaitsVolume(fl) {
			r.turn(op, fl)
		}
	}
	for _, fl := range fleets {
		switch {
		case r.gaveUp(fl):
			if r.tailsComplete(fl) {
				r.abort(op, r.launchFailure(op, fl))
			}
			return false
		case fl.healthy() < r.s.size(fl):
			within := r.bootsWithin(fl) + r.emptiesWithin(fl)
			if r.wait(op, "%s, which gets its volume%s, to be healthy", r.s.nameOf(fl), r.heldBy(fl)) > within {
				fl.Reason = orText(fl.Reason, "its node could not be booted within the time that it has")
				r.abort(op, r.launchFailure(op, fl))
			}
			return false
		case fl.State == FleetLaunching:
			r.ready(fl)
		}
	}
	return true
}

// turn makes a fleet the one whose node may have its volumes.
func (r *round) turn(op *Operation, fl *Fleet) {
	if op.Handed == nil {
		op.Handed = map[string]string{}
	}
	var names []string
	from := ""
	for _, v := range r.s.leases(fl) {
		if v.Fleet != fl.ID.String() {
			op.Handed[v.name()], from = v.Fleet, v.Fleet
			v.Fleet = fl.ID.String()
		}
		names = append(names, v.name())
	}
	what := "the volume " + strings.Join(names, ", ")
	if old := r.s.fleet(from); old != nil {
		r.sayFleet("handover", fl, "%s goes from %s to %s: its node is stopped, then the new one boots; nobody does the work of %s meanwhile", what,
			r.s.nameOf(old), r.s.nameOf(fl), fl.ID.Role)
	}
	if fl.State == FleetReady {
		r.setFleet(fl, FleetLaunching, "%s boots its node", r.s.nameOf(fl))
	}
}

// handBack makes it the turn of those again who had the volumes before an operation.
func (r *round) handBack(op *Operation) {
	for _, v := range r.s.Volumes {
		if old := r.s.fleet(op.Handed[v.name()]); old != nil && old.State != FleetShooting {
			v.Fleet = old.ID.String()
			r.sayVolume("back", v, "the volume %s goes back to %s, whose node is booted again", v.name(), r.s.nameOf(old))
		}
	}
}

// handedBack waits until those who had the volumes are healthy again. When they do not come up a person is told.
func (r *round) handedBack(op *Operation) bool {
	for _, v := range r.s.Volumes {
		old := r.s.fleet(op.Handed[v.name()])
		if old == nil || old.State == FleetShooting || old.healthy() >= r.s.size(old) {
			continue
		}
		within := r.bootsWithin(old) + r.emptiesWithin(old)
		if r.wait(op, "%s, which has its volume back%s, to be healthy", r.s.nameOf(old), r.heldBy(old)) <= within {
			return false
		}
		op.Failure = &Failure{Code: fault.NeedsPerson, Logs: op.Failure.Logs,
			Message: fmt.Sprintf("%s; and %s, which has its volume back, is not healthy: %s", op.Failure.Message, r.s.nameOf(old), orText(old.Reason, "it could not be booted")),
			Hint:    "its node is booted again and again; see release status and release logs"}
		return true
	}
	return true
}

// heldBy names the node that a fleet waits for, as a part of a sentence.
func (r *round) heldBy(fl *Fleet) string {
	for _, v := range r.s.leases(fl) {
		if v.Node != "" && !slices.ContainsFunc(fl.Nodes, func(n *Node) bool { return n.Name == v.Node }) {
			return " when " + v.Node + " is gone"
		}
	}
	return ""
}

// emptiesWithin bounds how long the node of another fleet may take to be gone.
func (r *round) emptiesWithin(fl *Fleet) time.Duration {
	c := r.s.configOf(fl)
	return c.Cutover.Drain.Timeout.Std() + c.Cutover.Drain.CloseWithin.Std() + closeSlack + c.Fleet.Stop.Grace.Std() + bootWithin
}

// mostVolumes is how many volumes an app and environment may have on record: they stay there, with their data, when no release has
// them any more.
const mostVolumes = 100

// volumesFit refuses a release whose volumes are there already and are otherwise, or would be too many.
func (r *round) volumesFit(req asked) error {
	more := 0
	for _, role := range req.Config.RoleNames() {
		part, on := req.Config.Role(role), req.of(role)
		for _, c := range part.Fleet.Volumes {
			v := r.s.volume(role + "/" + c.Name)
			switch {
			case v == nil:
				more++
			case v.Writer() != c.Writer:
				return fault.New(fault.Denied, "%s %s: the volume %s is there, and cannot become one with writer: %s", req.Kind, r.s.Key, v.name(), c.Writer).
					WithHint("give it another name, or remove it with its data: release destroy --volumes")
			case v.Driver != on.driver || v.Scope != on.scope:
				return fault.New(fault.Denied, "%s %s: the volume %s is kept by %s (%s), and this release would have an empty one with %s", req.Kind, r.s.Key,
					v.name(), v.Driver, orText(v.Scope, "everywhere"), on.driver).
					WithHint("keep the driver of the role, give the volume another name, or remove it with its data: release destroy --volumes").
					WithHint("when the machine that it is on is gone for good: release host forget HOST")
			case v.One && r.turnsAccessory(role, part):
				return fault.New(fault.Denied, "%s %s: %s has the volume %s, and begins or ceases to be an accessory", req.Kind, r.s.Key, role, v.name()).
					WithHint("end it first, which keeps its volumes: release destroy")
			}
		}
	}
	if more > 0 && len(r.s.Volumes)+more > mostVolumes {
		return fault.New(fault.Denied, "%s %s: with %d new volumes there would be %d, and there may be %d, with those that earlier releases had", req.Kind, r.s.Key,
			more, len(r.s.Volumes)+more, mostVolumes).
			WithHint("keep to the names of volumes that are there (release status), or remove them all with their data: release destroy --volumes")
	}
	return nil
}

func (r *round) turnsAccessory(role string, part config.Role) bool {
	return slices.ContainsFunc(r.s.Fleets, func(fl *Fleet) bool { return fl.ID.Role == role && fl.Accessory != part.Accessory })
}

// lose takes it that volumes are gone with a machine: there will be new ones in the scopes given, by name. It returns the ids.
func (r *round) lose(volumes map[string]string, host, by string) (ids []string) {
	for _, v := range r.s.Volumes {
		if scope, lost := volumes[v.name()]; lost {
			v.Scope = scope
			ids = append(ids, v.id(r.s.Key).String())
			r.sayVolume("lost", v, "the volume %s was on %s, which is gone for good, as %s says: so is its data, and nodes get a new one", v.name(), host, by)
		}
	}
	return ids
}

// removeTries is how often the removal of a volume may fail though the driver is there, about 40 s long: what is wrong then does
// not mend itself.
const removeTries = 12

// removeVolumes removes all volumes when nothing runs any more, and says whether none is left, or no more can be done without a
// person. What could not be removed stays on record.
func (r *round) removeVolumes(op *Operation) bool {
	r.s.Volumes = slices.DeleteFunc(r.s.Volumes, func(v *Volume) bool {
		id := v.id(r.s.Key)
		a := Action{Kind: ActVolume, Fleet: fleet.FleetID{App: id.App, Env: id.Env}, Point: op.ID, Volume: &id, Driver: v.Driver, Scope: v.Scope}
		res := r.f.Results[a.Key()]
		switch {
		case res.Done:
			r.sayVolume("removed", v, "the volume %s is removed with all that was in it", v.name())
		case res.Err != nil && res.Tries >= removeTries && !errors.Is(res.Err, fleet.ErrUnavailable):
			op.Failure = &Failure{Code: fault.NeedsPerson, Message: fmt.Sprintf("destroy %s: the volume %s is not removed: %v", r.s.Key, v.name(), res.Err),
				Hint: "mend that, then the same command goes on: release destroy --volumes"}
		case res.Err != nil:
			r.act(a)
			r.wait(op, "the volume %s to be removed, which failed and is tried again: %v", v.name(), res.Err)
		default:
			r.act(a)
			r.wait(op, "the volume %s to be removed", v.name())
		}
		return res.Done
	})
	return len(r.s.Volumes) == 0 || op.Failure != nil
}

// volumesLeft says of what a destroy keeps, as the end of a sentence.
func (s *State) volumesLeft() string {
	var names []string
	for _, v := range s.Volumes {
		names = append(names, v.name())
	}
	if len(names) == 0 {
		return ""
	}
	return "; kept with their data are the volumes " + strings.Join(names, ", ") + " (release destroy --volumes removes them)"
}
