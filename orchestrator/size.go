package orchestrator

import (
	"slices"
)

// keepSize boots nodes that are missing and lets those go that are too many or have been replaced.
func (r *round) keepSize() {
	for _, fl := range r.s.Fleets {
		if fl.Kept || fl.State == FleetLaunching && (r.gaveUp(fl) || r.s.awaitsExpand(fl)) {
			continue
		}
		if fl.kept() && fl.Prepared {
			r.refill(fl)
			r.thin(fl)
		}
		if fl.State != FleetShooting {
			r.boot(fl)
		}
	}
}

// census counts a fleet's nodes by what they are good for.
type census struct {
	good    int     // starting or healthy, not to be replaced
	healthy int     // of good
	doomed  []*Node // running, but to be replaced
	coming  int     // starting ones that replace a doomed one
}

func (r *round) count(fl *Fleet) census {
	var c census
	doomed := map[string]bool{}
	for _, n := range fl.Nodes {
		if r.doomed(fl, n) {
			c.doomed = append(c.doomed, n)
			doomed[n.Name] = true
		}
	}
	for _, n := range fl.Nodes {
		if doomed[n.Name] || !n.live() {
			continue
		}
		c.good++
		if n.State == NodeHealthy {
			c.healthy++
		} else if doomed[n.Replaces] {
			c.coming++
		}
	}
	return c
}

// doomed says whether a running node is to be replaced: a person asked, it differs from its image, or it has been unhealthy for
// too long.
func (r *round) doomed(fl *Fleet, n *Node) bool {
	if !n.live() {
		return false
	}
	if n.Asked || n.Stray {
		return true
	}
	if n.State != NodeUnhealthy {
		return false
	}
	return !n.WasServed || r.f.Now.Sub(n.Since) >= r.s.configOf(fl).Health.ReplaceAfter.Std()
}

// refill mints the nodes that are missing. Nodes that are gone are all made up for at once. Running ones are replaced a
// quarter of the fleet at a time: when all are unhealthy together the cause is rarely the nodes.
func (r *round) refill(fl *Fleet) {
	if r.f.Now.Before(fl.NotBefore) {
		return
	}
	c := r.count(fl)
	size := r.s.size(fl)
	missing := size - c.good
	if missing <= 0 {
		return
	}
	absent := size - c.good - len(c.doomed)
	replace := min(missing-max(absent, 0), max(1, size/4)-c.coming)
	for i := range max(absent, 0) + max(replace, 0) {
		replaces := ""
		if i < max(replace, 0) {
			replaces = r.unreplaced(fl, c.doomed)
		}
		for _, n := range c.doomed {
			if n.Name == replaces && !n.Asked {
				r.repair(fl, n, n.why())
			}
		}
		r.mint(fl, replaces)
	}
}

func (r *round) unreplaced(fl *Fleet, doomed []*Node) string {
	for _, n := range doomed {
		if !slices.ContainsFunc(fl.Nodes, func(m *Node) bool { return m.Replaces == n.Name && m.live() }) {
			return n.Name
		}
	}
	return ""
}

func (r *round) mint(fl *Fleet, replaces string) {
	suffix, slot := r.f.Mint()
	n := &Node{
		Name: nodeName(fl.ID, suffix), Slot: slot, State: NodeStarting, Replaces: replaces,
		Since: r.f.Now, MintedAt: r.f.Now, ForDrift: fl.drifts(replaces),
	}
	fl.Nodes = append(fl.Nodes, n)
	if replaces != "" {
		r.sayNode("booting", fl, n, "%s boots in the place of %s", n.Name, replaces)
		return
	}
	r.sayNode("booting", fl, n, "%s boots", n.Name)
}

// thin lets nodes go that are not needed: replaced ones, and surplus ones after the size was lowered. A node goes only
// when as many healthy ones as asked for stay.
func (r *round) thin(fl *Fleet) {
	c := r.count(fl)
	size := r.s.size(fl)
	spare := c.healthy - size
	for _, n := range c.doomed {
		hopeless := !n.WasServed // it never served, so nobody loses it
		if c.healthy >= size || hopeless {
			r.leave(fl, n, "replaced: "+orText(n.why(), "asked for"))
		}
	}
	for i := len(fl.Nodes) - 1; i >= 0 && c.good > size; i-- {
		n := fl.Nodes[i]
		if !n.live() || r.doomed(fl, n) || n.State == NodeHealthy && spare <= 0 {
			continue
		}
		if n.State == NodeHealthy {
			spare--
		}
		c.good--
		r.leave(fl, n, "no longer needed")
	}
}

// leave takes a node out of the route; it is shot when it is empty or the drain deadline is over.
func (r *round) leave(fl *Fleet, n *Node, why string) {
	r.setNode(n, NodeDraining, why)
	d := r.s.configOf(fl).Cutover.Drain
	n.LeavesAt, n.LongBy = r.f.Now.Add(d.Timeout.Std()), r.f.Now.Add(d.LongConnections.Std())
	l := r.left(n)
	n.told(l, r.f.Now)
	r.sayNode("draining", fl, n, "%s leaves the route (%s)%s", n.Name, why, l.staying(d.LongConnections.Std()))
}

// boot asks for every node that the driver has not confirmed yet.
func (r *round) boot(fl *Fleet) {
	for _, n := range fl.Nodes {
		if n.State == NodeStarting && !n.Booted {
			r.act(Action{Kind: ActBoot, Fleet: fl.ID, Node: n.Name})
		}
	}
}
