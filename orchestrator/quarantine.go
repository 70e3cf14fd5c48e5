package orchestrator

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// A node in quarantine is out of the route and no longer counted in its fleet, but runs on as it is, to be looked at: its
// processes, files, output and network stay. It never comes back, since nobody knows what was done in it. Its time counts
// while an agent sees the serving fleet whole, and the end of it permits shooting the node. A fleet that is shot leaves its
// nodes in quarantine behind, and goes with the last of them.

// Quarantine is why a node is kept out of its fleet, and for how long. The zero value is none. On a node that still lives
// in its fleet it says that the node goes into quarantine as soon as another one is healthy in its place.
type Quarantine struct {
	By   string        `json:"by"`            // who asked; byItself for what quarantine_on_failure keeps
	Why  string        `json:"why,omitempty"` // what was wrong with it, if that is known
	Left time.Duration `json:"left"`          // until it may be shot
}

// defaultQuarantine is how many nodes of an app may be in quarantine when nothing else is said.
const defaultQuarantine = 2

// InQuarantine says whether the node is in quarantine, or about to be.
func (n *Node) InQuarantine() bool {
	return n.Quarantine.By != "" && (n.State == NodeQuarantined || n.live())
}

// quarantined are the nodes of an app in quarantine.
func (s *State) quarantined() []*Node {
	var nodes []*Node
	for _, fl := range s.Fleets {
		for _, n := range fl.Nodes {
			if n.InQuarantine() {
				nodes = append(nodes, n)
			}
		}
	}
	return nodes
}

// members are a fleet's nodes but for those in quarantine.
func (fl *Fleet) members() []*Node {
	return slices.DeleteFunc(slices.Clone(fl.Nodes), func(n *Node) bool { return n.State == NodeQuarantined })
}

// beginQuarantine takes nodes out of their fleets, or with End lets them go.
func (r *round) beginQuarantine(req asked) (*Operation, error) {
	if req.End {
		return r.beginLetGo(req)
	}
	var chosen, fresh []*Node
	for _, name := range req.Nodes {
		n, err := r.s.node(name)
		if err == nil {
			err = r.mayQuarantine(n)
		}
		if err != nil {
			return nil, err
		}
		if !n.InQuarantine() && !slices.Contains(fresh, n) {
			fresh = append(fresh, n)
		}
		chosen = append(chosen, n)
	}
	if err := r.quarantineRoom(fresh); err != nil {
		return nil, err
	}
	op := r.operation(req, PhaseBoot)
	for _, n := range chosen {
		op.Nodes = append(op.Nodes, n.Name)
	}
	r.sayOp("begin", op, "quarantine of %s by %s", strings.Join(op.Nodes, ", "), req.By)
	for _, n := range chosen {
		fl := r.s.fleetWith(n)
		left := cmp.Or(req.For, r.s.configOf(fl).Fleet.QuarantineFor.Std())
		n.Quarantine = Quarantine{By: req.By, Why: cmp.Or(n.Quarantine.Why, n.Reason), Left: left}
		// Users are better off with a node that somebody doubts than with none.
		if n.live() && (n.State != NodeHealthy || fl.Weight == 0 || fl.healthy() > 1) {
			r.quarantine(fl, n)
		}
	}
	return op, nil
}

// mayQuarantine says why a node cannot go into quarantine: it is going already.
func (r *round) mayQuarantine(n *Node) error {
	if fl := r.s.fleetWith(n); r.s.oneWriter(fl) {
		return fault.New(fault.Denied, "quarantine %s: it has a volume with one writer, and nobody could take its place while it keeps that", n.Name).
			WithHint("look at it where it is: release exec, cp, logs · replace it: release replace %s", n.Name)
	}
	if n.InQuarantine() || n.live() && r.s.fleetWith(n).State != FleetShooting {
		return nil
	}
	return fault.New(fault.Failed, "quarantine %s: the node is %s and will be gone in a moment", n.Name, cmp.Or(string(n.State), "leaving")).
		WithHint("what it printed last is kept: release logs --previous")
}

// quarantineRoom says why there is no room for more nodes in quarantine.
func (r *round) quarantineRoom(fresh []*Node) error {
	held := r.s.quarantined()
	if len(held)+len(fresh) <= r.f.Quarantine || len(fresh) == 0 {
		return nil
	}
	var names []string
	for _, n := range held {
		names = append(names, n.Name)
	}
	return fault.New(fault.Denied, "quarantine %s: %s in quarantine (%s), and %d may be (limits.quarantine in agent.yaml)",
		fresh[0].Name, human.Are(len(held), "node"), orText(strings.Join(names, ", "), "none"), r.f.Quarantine).
		WithHint("let one go early: release quarantine NODE --end")
}

// beginLetGo ends the quarantine of nodes: they are shot, since none ever goes back into its fleet.
func (r *round) beginLetGo(req asked) (*Operation, error) {
	var chosen []*Node
	for _, name := range req.Nodes {
		n, err := r.s.node(name)
		if err != nil {
			return nil, err
		}
		if n.State != NodeQuarantined {
			return nil, fault.New(fault.Failed, "end the quarantine of %s: the node is %s", n.Name, n.State).
				WithHint("release quarantine lists those that are in quarantine")
		}
		chosen = append(chosen, n)
	}
	op := r.operation(req, PhaseShoot)
	for _, n := range chosen {
		op.Nodes = append(op.Nodes, n.Name)
		r.letGo(r.s.fleetWith(n), n, "ended by "+req.By)
	}
	r.sayOp("begin", op, "end of the quarantine of %s by %s", strings.Join(op.Nodes, ", "), req.By)
	return op, nil
}

// quarantine takes a node out of the route and of its fleet. What it has to do for users it finishes like any node that leaves.
func (r *round) quarantine(fl *Fleet, n *Node) {
	q := n.Quarantine
	why := "by " + q.By
	if q.Why != "" {
		why += ": " + q.Why
	}
	r.setNode(n, NodeQuarantined, why)
	n.Asked = false
	staying := r.departs(fl, n)
	r.sayNode("quarantined", fl, n, "%s is in quarantine for %s (%s)%s; it will be shot, and never goes back", n.Name, human.Span(q.Left), why, staying)
}

// letGo shoots a node in quarantine.
func (r *round) letGo(fl *Fleet, n *Node, why string) {
	r.setNode(n, NodeDraining, "quarantine: "+why)
	r.sayNode("released", fl, n, "%s leaves its quarantine and is shot: %s", n.Name, why)
}

// keepQuarantine counts the time of nodes in quarantine down, and ends that of nodes whose time is over.
func (r *round) keepQuarantine() {
	whole := r.s.serving() == nil || r.s.whole() // only then does the time of what is kept beside it count
	for _, fl := range r.s.Fleets {
		for _, n := range fl.Nodes {
			if n.State != NodeQuarantined {
				continue
			}
			if r.f.Nodes[n.Name].Routed {
				r.late(&n.Drain, &n.LeavesAt, r.s.configOf(fl).Cutover.Drain.Timeout.Std(), n)
			} else {
				r.inTime(&n.Drain, &n.LeavesAt)
				r.drainedNode(fl, n) // its long connections end like those of any node that left
			}
			if whole {
				n.Quarantine.Left = max(n.Quarantine.Left-r.f.Elapsed, 0)
			}
			if n.Quarantine.Left == 0 {
				r.letGo(fl, n, "its time is over")
			}
		}
	}
}

func (r *round) stepQuarantine(op *Operation) {
	for _, fl := range r.s.Fleets {
		for _, n := range fl.Nodes {
			if why := r.quarantineWaits(op, fl, n); slices.Contains(op.Nodes, n.Name) && why != "" {
				r.wait(op, "%s", why)
				return
			}
		}
	}
	if op.Phase == PhaseShoot {
		r.finish(op, "%s shot", human.Are(len(op.Nodes), "node"))
		return
	}
	r.finish(op, "%s in quarantine, and made up for", human.Are(len(op.Nodes), "node"))
}

// quarantineWaits is what an operation waits for at a node that it is about; "" for nothing.
func (r *round) quarantineWaits(op *Operation, fl *Fleet, n *Node) string {
	size := r.s.size(fl)
	switch {
	case op.Phase == PhaseShoot:
		return n.Name + " to be shot" + r.waitsFor(n)
	case n.live():
		return "another healthy node: " + n.Name + " is the last one that serves" + fl.Storm.waits()
	case r.f.Nodes[n.Name].Routed:
		return "the router to confirm that " + n.Name + " is out"
	case fl.routable() && fl.healthy() < size:
		return human.Count(size-fl.healthy(), "node") + " to be healthy in the place of " + n.Name + fl.Storm.waits()
	}
	return ""
}

// failing are the nodes of an aborted release that quarantine_on_failure keeps: those that failed first. When it was not a
// node that failed but the release as a whole, by its verdict, one that runs shows what was wrong as well.
func (r *round) failing(op *Operation, fl *Fleet) []*Node {
	keep := min(r.s.configOf(fl).Fleet.QuarantineOnFailure, r.f.Quarantine-len(r.s.quarantined()))
	if keep <= 0 || r.s.oneWriter(fl) {
		return nil
	}
	nodes := slices.DeleteFunc(slices.Clone(fl.Nodes), func(n *Node) bool {
		return !n.Booted || n.State != NodeUnhealthy && n.State != NodeDead
	})
	slices.SortStableFunc(nodes, func(a, b *Node) int { return a.Since.Compare(b.Since) })
	if len(nodes) == 0 && op.AbortedBy == "" {
		nodes = slices.DeleteFunc(slices.Clone(fl.Nodes), func(n *Node) bool { return n.State != NodeHealthy })
	}
	return nodes[:min(keep, len(nodes))]
}

// evidence are nodes that ended and are left where they are while their launch lasts: if it fails, they are what people look at.
func (r *round) evidence(fl *Fleet) []*Node {
	keep := r.s.configOf(fl).Fleet.QuarantineOnFailure
	if r.s.oneWriter(fl) {
		return nil
	}
	if fl.State != FleetLaunching || keep == 0 {
		return nil
	}
	ended := slices.DeleteFunc(slices.Clone(fl.Nodes), func(n *Node) bool { return n.State != NodeDead || !n.Booted })
	return ended[:min(keep, len(ended))]
}

// keepFailing puts nodes of a release that was aborted into quarantine.
func (r *round) keepFailing(op *Operation, fl *Fleet, nodes []*Node) {
	for _, n := range nodes {
		why := orText(n.Reason, "the release was aborted")
		if op.Failure != nil && n.State == NodeHealthy {
			why = op.Failure.Message
		}
		n.Quarantine = Quarantine{By: byItself, Why: why, Left: r.s.configOf(fl).Fleet.QuarantineFor.Std()}
		r.quarantine(fl, n)
	}
}
