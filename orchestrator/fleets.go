package orchestrator

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/human"
)

// keepFleets ends drains, counts warm time down and destroys what was condemned.
func (r *round) keepFleets() {
	for _, fl := range r.s.Fleets {
		r.endSessions(fl)
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
	if op := r.s.exclusive(); op != nil && slices.Contains(op.fleets(), fl.ID.String()) {
		return // it is about to serve again
	}
	if !fl.SessionsBy.IsZero() {
		r.coolDown(fl) // it could be rolled back to all the time
		return
	}
	if l := r.left(fl.Nodes...); (l.requests > 0 || l.unknown) && r.f.Now.Before(fl.DrainBy) {
		return
	}
	if fl.WarmLeft > 0 {
		r.setFleet(fl, FleetWarm, "%s is warm for %s%s", r.s.nameOf(fl), human.Span(fl.WarmLeft), r.warmWith(fl))
		return
	}
	r.condemn(fl, orText(fl.Reason, "replaced by a newer release"))
}

// warmWith says that long connections may stay on a warm fleet for as long as there is one.
func (r *round) warmWith(fl *Fleet) string {
	if l := r.left(fl.Nodes...); l.long > 0 {
		return ", with " + human.Count(l.long, "long connection")
	}
	return ""
}

// cool permits shooting a warm fleet at the end of its time.
func (r *round) cool(fl *Fleet) {
	if r.coolDown(fl) && fl.WarmLeft == 0 {
		r.condemn(fl, "its time as the previous release is over")
	}
}

// coolDown counts the time of a fleet that is kept down, while the serving fleet is whole, and says whether it did.
func (r *round) coolDown(fl *Fleet) bool {
	if !r.s.whole() || r.s.exclusive() != nil {
		return false
	}
	fl.WarmLeft = max(fl.WarmLeft-r.f.Elapsed, 0)
	return true
}

// destroy shoots a condemned fleet once no table names its nodes and they are empty, or the drain deadline is over, and
// says whether nothing of it is left.
func (r *round) destroy(fl *Fleet) bool {
	members := fl.members()
	if fl.State != FleetShooting || len(members) == 0 && len(fl.Nodes) > 0 {
		return false
	}
	r.held(&fl.Drain, func(what, format string, args ...any) {
		r.sayFleet(what, fl, "%s: %s", fl.ID.Release, fmt.Sprintf(format, args...))
	}, members...)
	if slices.ContainsFunc(members, func(n *Node) bool { return r.f.Nodes[n.Name].Routed }) {
		if !fl.Accessory { // what those have open is not waited for
			r.late(&fl.Drain, &fl.DrainBy, r.s.configOf(fl).Cutover.Drain.Timeout.Std(), members...)
		}
		return false
	}
	r.inTime(&fl.Drain, &fl.DrainBy)
	late := func(n *Node) bool { return n.State == NodeDraining && !r.drainedNode(fl, n) } // it left by itself, as from quarantine
	if !r.drainedFleet(fl) || slices.ContainsFunc(members, late) || !r.fleetHooks(fl, config.BeforeShoot) || r.stopping(fl, members) {
		return false
	}
	if len(members) < len(fl.Nodes) {
		r.leaveBehind(fl, members)
		return false
	}
	a := Action{Kind: ActDestroy, Fleet: fl.ID}
	res := r.f.Results[a.Key()]
	done := res.Done || r.onlyLost(fl, res.Err)
	if !done {
		r.act(a)
	}
	if !done || !r.counted(res.At) || !r.fleetHooks(fl, config.AfterShoot) {
		return false
	}
	r.sayShot(fl)
	return true
}

// leaveBehind forgets the nodes of a condemned fleet that are gone: those in quarantine stay, and the fleet with them.
func (r *round) leaveBehind(fl *Fleet, gone []*Node) {
	for _, n := range gone {
		if !r.counted(r.f.Results[actionKey(ActRemove, fl.ID, n.Name)].At) {
			return
		}
	}
	fl.Nodes = slices.DeleteFunc(fl.Nodes, func(n *Node) bool { return n.State != NodeQuarantined })
	fl.Reason = "only what is in quarantine is left"
	r.sayFleet("left", fl, "%s is shot but for %s in quarantine", fl.ID.Release, human.Count(len(fl.Nodes), "node"))
}

// stopping gives nodes of a condemned fleet their stop signal and grace, all at the same time.
func (r *round) stopping(fl *Fleet, nodes []*Node) bool {
	grace := r.s.configOf(fl).Fleet.Stop.Grace.Std()
	waiting := false
	for _, n := range nodes {
		if r.booting(fl, n) {
			waiting = true
			continue
		}
		if r.lost(fl, n.Host) && r.f.Nodes[n.Name].Presence != fleet.Present {
			continue // nobody can; it is left behind with the fleet
		}
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
