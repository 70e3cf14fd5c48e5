package orchestrator

import "slices"

// keepSize boots nodes that are missing and lets those go that are too many or have been replaced.
func (r *round) keepSize() {
	for _, fl := range r.s.Fleets {
		r.leaveVolumes(fl)
		if fl.Kept || fl.State == FleetLaunching && (r.gaveUp(fl) || r.s.awaitsExpand(fl)) {
			continue
		}
		if fl.kept() && !fl.Prepared && fl.State != FleetLaunching {
			r.bring(fl)
		}
		if len(fl.Nodes) == 0 && fl.kept() && !r.itsTurn(fl) {
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

// itsTurn says whether it is a new fleet's turn: what its role needs is well and can be reached, and the accessories are in
// place, or its predecessor is gone if it is one of them.
func (r *round) itsTurn(fl *Fleet) bool {
	role := r.s.roleOf(fl)
	for _, need := range role.Needs {
		if !r.well(fl, need) {
			return false
		}
	}
	if fl.Accessory {
		return r.stopBefore(fl)
	}
	if fl.State != FleetLaunching {
		return true
	}
	coming := slices.ContainsFunc(r.s.Fleets, func(other *Fleet) bool { return other.Accessory && other.State == FleetLaunching })
	return !coming && (len(role.Needs) == 0 || r.confirmed())
}

// well says whether a role that a fleet needs has been healthy at the launch. It is not waited for later.
func (r *round) well(fl *Fleet, need string) bool {
	if fl.State != FleetLaunching {
		return true
	}
	needed := r.s.accessory(need)
	if needed == nil {
		needed = r.s.fleetIn(fl.ID.Release, need)
	}
	return needed == nil || needed.State != FleetLaunching
}

// bring puts the image of a fleet in place that is in use already though it has no nodes yet: of a role without a route
// that a rollback boots again, or an accessory that is put back.
func (r *round) bring(fl *Fleet) {
	if len(r.s.configOf(fl).Require.SignedBy) > 0 {
		check := Action{Kind: ActVerify, Fleet: fl.ID, Point: "boot"}
		res := r.f.Results[check.Key()]
		if !res.Done {
			r.act(check)
			r.unready(fl, res)
			return
		}
	}
	a := Action{Kind: ActPrepare, Fleet: fl.ID}
	res := r.f.Results[a.Key()]
	if fl.Prepared = res.Done; !res.Done {
		r.act(a)
		r.unready(fl, res)
	}
}

func (r *round) unready(fl *Fleet, res Result) {
	if res.Err != nil {
		fl.Reason, fl.Hint = res.Err.Error(), hintOf(res.Err)
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
	if n.wanted() || n.Stray {
		return true
	}
	if n.State != NodeUnhealthy || r.away(n) {
		return false
	}
	return !n.WasServed || r.f.Now.Sub(n.Since) >= r.s.configOf(fl).Health.ReplaceAfter.Std()
}

// refill mints the nodes that are missing. Nodes that are gone are made up for at once, in steps when they are many. Running
// ones are replaced a few at a time, and hardly at all when that does not help.
func (r *round) refill(fl *Fleet) {
	r.sense(fl)
	if r.f.Now.Before(fl.NotBefore) {
		return
	}
	fl.housed()
	c := r.count(fl)
	missing := r.s.size(fl) - c.good
	absent := max(missing-len(r.unreplaced(fl, c.doomed)), 0) // those that are replaced already are no node to come
	if r.s.alone(fl) {
		absent = max(r.s.size(fl)-len(fl.Nodes), 0) // what it keeps is not for two at a time
	}
	for range min(absent, r.mayBoot(fl)) {
		if r.volumesFree(fl) && !r.mint(fl, "") {
			return
		}
	}
	if r.s.alone(fl) {
		return // thin lets the old one go first
	}
	for range min(missing-absent, r.mayReplace(fl, c)) {
		next := r.unreplaced(fl, c.doomed)
		if len(next) == 0 || !next[0].wanted() && !r.spend(fl) {
			return
		}
		n := next[0]
		if !r.mint(fl, n.Name) {
			return
		}
		if !n.wanted() || n.Moves != "" {
			r.repair(fl, n, n.why())
		}
	}
}

// unreplaced are those nodes that nothing replaces yet; those that a person wants replaced come first.
func (r *round) unreplaced(fl *Fleet, doomed []*Node) []*Node {
	if len(doomed) == 0 {
		return nil
	}
	replaced := map[string]bool{}
	for _, n := range fl.Nodes {
		if n.live() {
			replaced[n.Replaces] = true
		}
	}
	var wanted, others []*Node
	for _, n := range doomed {
		switch {
		case replaced[n.Name]:
		case n.wanted():
			wanted = append(wanted, n)
		default:
			others = append(others, n)
		}
	}
	return append(wanted, others...)
}

// mint adds a node, unless there is no host for it.
func (r *round) mint(fl *Fleet, replaces string) bool {
	host, ok := r.place(fl)
	if !ok {
		r.homeless(fl)
		return false
	}
	suffix, slot := r.f.Mint()
	n := &Node{
		Name: nodeName(fl.ID, suffix), Slot: slot, Host: host, State: NodeStarting, Replaces: replaces,
		Since: r.f.Now, MintedAt: r.f.Now, ForDrift: fl.drifts(replaces),
	}
	fl.Nodes = append(fl.Nodes, n)
	r.lease(fl, n)
	if replaces != "" {
		r.sayNode("booting", fl, n, "%s boots%s in the place of %s", n.Name, onHost(n), replaces)
		return true
	}
	r.sayNode("booting", fl, n, "%s boots%s", n.Name, onHost(n))
	return true
}

// onHost says where a node is that was given a host.
func onHost(n *Node) string {
	if n.Host == "" {
		return ""
	}
	return " on " + n.Host
}

// thin lets nodes go that are not needed: replaced ones, and surplus ones after the size was lowered. A node goes only
// when as many healthy ones as asked for stay.
func (r *round) thin(fl *Fleet) {
	c := r.count(fl)
	size := r.s.size(fl)
	spare := c.healthy - size
	for _, n := range c.doomed {
		hopeless := !n.WasServed || r.s.alone(fl) // it never served, so nobody loses it; or there cannot be two of it
		switch {
		case c.healthy < size && !hopeless:
		case n.InQuarantine():
			r.quarantine(fl, n)
		default:
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
	r.sayNode("draining", fl, n, "%s leaves the route (%s)%s", n.Name, why, r.departs(fl, n))
}

// departs sets the deadlines of a node that leaves the route, and says as the end of a sentence what it still has.
func (r *round) departs(fl *Fleet, n *Node) string {
	d := r.s.configOf(fl).Cutover.Drain
	n.LeavesAt, n.LongBy = r.f.Now.Add(d.Timeout.Std()), r.f.Now.Add(d.LongConnections.Std())
	l := r.left(n)
	n.told(l, r.f.Now)
	return l.staying(d.LongConnections.Std())
}

// boot asks for every node that the driver has not confirmed yet.
func (r *round) boot(fl *Fleet) {
	for _, n := range fl.Nodes {
		if n.State == NodeStarting && !n.Booted {
			r.act(Action{Kind: ActBoot, Fleet: fl.ID, Node: n.Name})
		}
	}
}
