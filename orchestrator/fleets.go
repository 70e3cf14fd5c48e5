package orchestrator

import (
	"cmp"
	"slices"
)

// keepFleets ends drains, counts warm time down and destroys what was condemned.
func (r *round) keepFleets() {
	for _, fl := range r.s.Fleets {
		switch fl.State {
		case FleetDraining:
			r.drain(fl)
		case FleetWarm:
			r.cool(fl)
		}
	}
	r.s.Fleets = slices.DeleteFunc(r.s.Fleets, r.destroy)
}

func (r *round) drain(fl *Fleet) {
	if r.busy(fl) && r.f.Now.Before(fl.DrainBy) {
		return
	}
	if fl.WarmLeft > 0 {
		r.setFleet(fl, FleetWarm, "%s is warm for %s", fl.ID.Release, fl.WarmLeft)
		return
	}
	r.condemn(fl, "replaced by a newer release")
}

// busy says whether any of the fleet's nodes has requests, or may have.
func (r *round) busy(fl *Fleet) bool {
	return slices.ContainsFunc(fl.Nodes, func(n *Node) bool { return r.f.Nodes[n.Name].InFlight != 0 })
}

// cool counts a warm fleet's time down while the serving fleet is whole, and permits shooting it at the end.
func (r *round) cool(fl *Fleet) {
	serving := r.s.serving()
	if serving == nil || serving.healthy() < r.s.size(serving) || r.s.exclusive() != nil {
		return
	}
	fl.WarmLeft -= r.f.Elapsed
	if fl.WarmLeft <= 0 {
		fl.WarmLeft = 0
		r.condemn(fl, "its time as the previous release is over")
	}
}

// destroy shoots a condemned fleet once no table names its nodes and they are empty, or the drain deadline is over, and
// says whether nothing of it is left.
func (r *round) destroy(fl *Fleet) bool {
	if fl.State != FleetShooting {
		return false
	}
	for _, n := range fl.Nodes {
		fact := r.f.Nodes[n.Name]
		if fact.Routed || n.State != NodeDead && fact.InFlight != 0 && r.f.Now.Before(fl.DrainBy) {
			return false
		}
	}
	if r.stopping(fl) {
		return false
	}
	a := Action{Kind: ActDestroy, Fleet: fl.ID}
	if !r.f.Results[a.Key()].Done {
		r.act(a)
		return false
	}
	r.sayFleet("shot", fl, "%s is shot", fl.ID)
	return true
}

// stopping gives every node of a condemned fleet its stop signal and grace, all at the same time.
func (r *round) stopping(fl *Fleet) bool {
	grace := r.s.configOf(fl).Fleet.Stop.Grace.Std()
	waiting := false
	for _, n := range fl.Nodes {
		a := Action{Kind: ActRemove, Fleet: fl.ID, Node: n.Name, Grace: grace}
		if !r.f.Results[a.Key()].Done {
			r.act(a)
			waiting = true
		}
	}
	return waiting
}

// scaleTo makes weights add up to total in the proportions they have: shares are rounded down, and what is left goes to
// the largest remainders. Without weights, or with a total of 0, all are 0.
func scaleTo(weights map[string]int, total int) map[string]int {
	type share struct {
		id        string
		remainder int
	}
	sum := 0
	for _, w := range weights {
		sum += w
	}
	out := map[string]int{}
	if sum == 0 || total == 0 {
		return out
	}
	left := total
	var shares []share
	for id, w := range weights {
		out[id] = w * total / sum
		left -= out[id]
		shares = append(shares, share{id, w * total % sum})
	}
	slices.SortFunc(shares, func(a, b share) int {
		return cmp.Or(cmp.Compare(b.remainder, a.remainder), cmp.Compare(a.id, b.id))
	})
	for i := range left {
		out[shares[i].id]++
	}
	return out
}
