package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/healthcheck"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// next decides: from a state and the facts of the moment to the new state, the actions that should be under way, the
// journal entries that say why, and the operations that ended. It is pure; the state given is not changed. The caller commits before it acts, and
// calls again until the state stays the same.
func next(s *State, f Facts) (*State, []Action, []Event, records) {
	r := &round{s: s.clone(), f: f}
	r.observeNodes()
	r.operate()
	r.keepSize()
	r.removeNodes()
	r.keepFleets()
	return r.s, r.actions, r.events, r.records
}

// records are what a round adds to the history.
type records struct {
	ended []*Operation // settled in this round
	late  []lateCost   // what draining cost, for operations that ended before
}

// round is one call of next.
type round struct {
	s       *State
	f       Facts
	actions []Action
	events  []Event
	records records
}

func (r *round) act(a Action) { r.actions = append(r.actions, a) }

// say adds a journal entry.
func (r *round) say(e Event, format string, args ...any) {
	e.At, e.App, e.Env = r.f.Now, r.s.Key.App, r.s.Key.Env
	e.Message = fmt.Sprintf(format, args...)
	if e.Operation == "" {
		if op := r.s.exclusive(); op != nil {
			e.Operation = op.ID
		}
	}
	r.s.EventSeq++
	e.Seq = r.s.EventSeq
	r.events = append(r.events, e)
}

func (r *round) sayFleet(what string, fl *Fleet, format string, args ...any) {
	r.say(Event{Type: "fleet." + what, Fleet: fl.ID.String(), Release: fl.ID.Release}, format, args...)
}

func (r *round) sayNode(what string, fl *Fleet, n *Node, format string, args ...any) {
	r.say(Event{Type: "node." + what, Fleet: fl.ID.String(), Release: fl.ID.Release, Node: n.Name}, format, args...)
}

func (r *round) setNode(n *Node, state NodeState, reason string) {
	n.State, n.Reason, n.Since = state, reason, r.f.Now
}

func (r *round) setFleet(fl *Fleet, state FleetState, format string, args ...any) {
	fl.State, fl.Since = state, r.f.Now
	r.sayFleet(string(state), fl, format, args...)
}

// observeNodes turns what drivers and probes report into node states.
func (r *round) observeNodes() {
	for _, fl := range r.s.Fleets {
		for _, n := range fl.Nodes {
			r.observeNode(fl, n)
		}
	}
}

func (r *round) observeNode(fl *Fleet, n *Node) {
	fact := r.f.Nodes[n.Name]
	if fact.Presence == fleet.Present {
		n.Booted = true
		n.Address, n.Host, n.PID = fact.Address, fact.Host, fact.PID
	}
	if n.State == NodeDead || n.State == NodeQuarantined {
		return
	}
	if fact.Presence == fleet.Gone || n.Booted && fact.Absent {
		r.died(fl, n, exitText(fact.Exit))
		return
	}
	if res := r.f.Results[actionKey(ActBoot, fl.ID, n.Name)]; !n.Booted && res.Final {
		r.unbooted(fl, n, res.Err)
		return
	}
	if n.State != NodeDraining && fact.Presence == fleet.Present {
		r.judge(fl, n, fact)
	}
}

// settled is how long a node that became healthy after the failures of its fleet must stay so before they are forgotten: a
// shorter time would let a node that crashes soon after each start be booted at full speed for ever, and so would the word of
// nodes that are older than the trouble.
const settled = 10 * time.Second

func (r *round) judge(fl *Fleet, n *Node, fact NodeFact) {
	verdict := fact.Verdict
	if !fl.probed(r.s) {
		verdict = healthcheck.Healthy // nothing to ask: it is well when it runs
	}
	switch {
	case verdict == healthcheck.Healthy && n.State != NodeHealthy:
		r.setNode(n, NodeHealthy, "")
		n.WasServed = true
		r.sayNode("healthy", fl, n, "%s is healthy, %s after it was named", n.Name, human.Span(r.f.Now.Sub(n.MintedAt)))
	case verdict == healthcheck.Healthy && fl.Failures > 0 && n.Since.After(fl.FailedAt) && r.f.Now.Sub(n.Since) > settled:
		fl.Failures, fl.NotBefore, fl.Reason = 0, time.Time{}, ""
	case verdict == healthcheck.Unhealthy && n.State == NodeHealthy:
		r.setNode(n, NodeUnhealthy, fact.Message)
		r.sayNode("unhealthy", fl, n, "%s is unhealthy: %s", n.Name, fact.Message)
	case verdict == healthcheck.Failed && n.State == NodeStarting:
		r.setNode(n, NodeUnhealthy, fact.Message)
		r.sayNode("failed", fl, n, "%s did not become healthy in time: %s", n.Name, fact.Message)
		r.failed(fl, fact.Message)
	}
}

// died records that a node ended.
func (r *round) died(fl *Fleet, n *Node, why string) {
	leaving := n.State == NodeDraining || fl.State == FleetShooting
	proven := n.State == NodeHealthy && r.f.Now.Sub(n.Since) >= settled
	if leaving {
		// It was stopped by us, as a rule: why it leaves is worth knowing, not which signal it was.
		r.setNode(n, NodeDead, orText(n.Reason, "no longer needed"))
		n.Tailed = n.Tailed || n.WasServed
		return
	}
	r.setNode(n, NodeDead, why)
	r.sayNode("died", fl, n, "%s is gone: %s", n.Name, why)
	if n.WasServed {
		r.repair(fl, n, why)
	}
	if !proven {
		r.failed(fl, why)
	}
}

// unbooted records that a node cannot be booted. A port or address that somebody else has is not the fleet's fault: the
// next node gets another slot.
func (r *round) unbooted(fl *Fleet, n *Node, err error) {
	if !fault.Is(err, fault.Exists) {
		fl.Hint = hintOf(err)
		r.died(fl, n, err.Error())
		return
	}
	r.setNode(n, NodeDead, err.Error())
	n.Tailed = true // it never ran
	r.sayNode("died", fl, n, "%s cannot boot there: %v", n.Name, err)
}

// maxBackoff bounds the wait before a fleet's next boot when its nodes fail one after the other.
const maxBackoff = time.Minute

// freeFailures is how many nodes may fail in a row, whatever the fleet's size, before boots slow down.
const freeFailures = 10

// failed counts a node that ended soon or never became healthy. The first replacements boot at once, also for a whole fleet that
// is gone together; later ones wait 1 s, 2 s, 4 s … so that a fleet that cannot live does not burn the machine.
func (r *round) failed(fl *Fleet, why string) {
	fl.Failures++
	fl.FailedAt = r.f.Now
	fl.Reason = why
	over := fl.Failures - max(r.s.size(fl), freeFailures)
	if over <= 0 {
		return
	}
	wait := time.Second << min(over-1, 6)
	fl.NotBefore = r.f.Now.Add(min(wait, maxBackoff))
}

func exitText(e *fleet.Exit) string {
	switch {
	case e == nil:
		return "it vanished"
	case e.Reason != "":
		return e.Reason
	case e.Signal != "":
		return "ended by signal " + e.Signal
	}
	return fmt.Sprintf("ended with exit code %d", e.Code)
}

// keepSize boots nodes that are missing and lets those go that are too many or have been replaced.
func (r *round) keepSize() {
	for _, fl := range r.s.Fleets {
		if fl.Kept || fl.State == FleetLaunching && r.gaveUp(fl) {
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

// doomed says whether a running node is to be replaced: a person asked, or it has been unhealthy for too long.
func (r *round) doomed(fl *Fleet, n *Node) bool {
	if !n.live() {
		return false
	}
	if n.Asked {
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
				r.repair(fl, n, n.Reason)
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
		Since: r.f.Now, MintedAt: r.f.Now,
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
			r.leave(fl, n, "replaced: "+orText(n.Reason, "asked for"))
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

// removeNodes shoots nodes that are dead, or out of every table and empty, and forgets those that are gone.
func (r *round) removeNodes() {
	for _, fl := range r.s.Fleets {
		if fl.State != FleetShooting && !fl.Kept {
			fl.Nodes = slices.DeleteFunc(fl.Nodes, func(n *Node) bool { return r.shoot(fl, n) })
		}
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
		return false
	}
	if n.State == NodeDraining && !r.drainedNode(fl, n) {
		return false
	}
	if r.wantsTail(fl, n) {
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

// maxTails is how many nodes' last lines a fleet keeps.
const maxTails = 3

func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
