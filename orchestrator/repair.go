package orchestrator

import (
	"slices"

	"github.com/bootandshoot/release/internal/human"
)

// byItself is who replaces nodes that failed.
const byItself = "agent"

// repair begins the record of an automatic replacement, or adds a node to the one under way in its fleet: what nodes that
// fail cost the users is told like the cost of anything else. A launch has a record of its own.
func (r *round) repair(fl *Fleet, n *Node, why string) {
	if !fl.routable() {
		return
	}
	for _, op := range r.s.Operations {
		if op.Auto && op.Ended.IsZero() && op.Fleet == fl.ID.String() {
			if !slices.Contains(op.Nodes, n.Name) {
				op.Nodes = append(op.Nodes, n.Name)
			}
			return
		}
	}
	op := r.operation(asked{Request: Request{Kind: KindReplace, By: byItself}}, PhaseBoot)
	op.Auto, op.Release, op.Fleet, op.Nodes, op.Before = true, fl.ID.Release, fl.ID.String(), []string{n.Name}, nil
	r.sayOp("begin", op, "%s is replaced: %s", n.Name, orText(why, "it failed"))
}

// stepRepair ends an automatic replacement when its nodes are gone or well again and the fleet is whole.
func (r *round) stepRepair(op *Operation) {
	fl := r.s.fleet(op.Fleet)
	if fl == nil || !fl.routable() {
		r.finish(op, "the fleet of %s is given up", op.Release)
		return
	}
	for _, n := range fl.Nodes {
		if slices.Contains(op.Nodes, n.Name) && (n.State != NodeHealthy || r.doomed(fl, n)) {
			r.wait(op, "%s to be replaced%s%s", n.Name, r.waitsFor(n), fl.Storm.waits())
			return
		}
	}
	if size := r.s.size(fl); fl.healthy() < size {
		r.wait(op, "%d of %d nodes of %s to be healthy%s", size-fl.healthy(), size, op.Release, fl.Storm.waits())
		return
	}
	r.finish(op, "replaced %s of %s", human.Count(len(op.Nodes), "node"), op.Release)
}
