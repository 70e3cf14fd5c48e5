package orchestrator

import (
	"fmt"
	"slices"
)

// removeNodes shoots nodes that are dead, or out of every table and empty, and forgets those that are gone.
func (r *round) removeNodes() {
	for _, fl := range r.s.Fleets {
		if fl.State == FleetShooting {
			continue
		}
		evidence := r.evidence(fl)
		ended := 0 // nodes that died and are being cleared away: a few at a time, however many did together
		fl.Nodes = slices.DeleteFunc(fl.Nodes, func(n *Node) bool {
			if n.State == NodeDead {
				ended++
			}
			may := !fl.Kept || n.Quarantine.By != "" // a fleet that is kept to be looked at loses only what a person lets go
			return may && (n.State != NodeDead || ended <= clearStep) && !slices.Contains(evidence, n) && r.shoot(fl, n)
		})
	}
}

func (r *round) shoot(fl *Fleet, n *Node) (gone bool) {
	fact := r.f.Nodes[n.Name]
	if n.State != NodeDead && n.State != NodeDraining {
		return false
	}
	r.held(&n.Drain, func(what, format string, args ...any) {
		r.sayNode(what, fl, n, "%s: %s", n.Name, fmt.Sprintf(format, args...))
	}, n)
	if fact.Routed {
		r.late(&n.Drain, &n.LeavesAt, r.s.configOf(fl).Cutover.Drain.Timeout.Std(), n)
		return false
	}
	r.inTime(&n.Drain, &n.LeavesAt)
	if n.State == NodeDraining && !r.drainedNode(fl, n) {
		return false
	}
	if r.leftOn(fl, n) {
		return true
	}
	if r.wantsTail(fl, n) || r.booting(fl, n) {
		return false
	}
	a := Action{Kind: ActRemove, Fleet: fl.ID, Node: n.Name, Grace: r.s.configOf(fl).Fleet.Stop.Grace.Std()}
	res := r.f.Results[a.Key()]
	if !res.Done {
		r.act(a)
	}
	if !res.Done || !r.counted(res.At) {
		return false
	}
	r.sayNode("shot", fl, n, "%s is shot", n.Name)
	return true
}

// wantsTail asks once for the last lines of a node that failed, before it is removed.
func (r *round) wantsTail(fl *Fleet, n *Node) bool {
	if n.WasServed && n.State != NodeDead || n.Tailed {
		return false
	}
	a := Action{Kind: ActTail, Fleet: fl.ID, Node: n.Name}
	res := r.f.Results[a.Key()]
	if !res.Done && res.Err == nil {
		r.act(a)
		return true
	}
	n.Tailed = true
	fl.Tails = append(fl.Tails, NodeTail{Node: n.Name, Lines: res.Lines})
	if len(fl.Tails) > maxTails {
		fl.Tails = fl.Tails[1:]
	}
	return false
}

// clearStep is how many dead nodes of a fleet are cleared away at a time.
const clearStep = 64

// maxTails is how many nodes' last lines a fleet keeps.
const maxTails = 3
