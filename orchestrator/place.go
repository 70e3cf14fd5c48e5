package orchestrator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/healthcheck"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// Where the nodes of a fleet with hosts are, and what becomes of them when a host is drained or lost. A node's host is chosen
// when it is minted and never changes: moving is replacing. A host that does not answer is unknown, not dead: its nodes stay what
// they are, and leave the route only if they fail their probes. After host_lost_after, and while another host of the fleet answers,
// it counts as lost: what still does its work is replaced elsewhere before it leaves, the rest at once. What is left on a lost
// host is waited for by nothing; it carries our id, and is removed when the host answers again.

// hosts are the names of a fleet's hosts; nil when it has none of its own.
func (s *State) hosts(fl *Fleet) []string { return hostsOf(s.configOf(fl).Fleet) }

func hostsOf(f config.Fleet) []string { return slices.Sorted(maps.Keys(f.HostNames())) }

// place is the host of a new node: of those that answer and are not drained the one with the fewest nodes of the fleet, then of
// all there are. A fleet without hosts needs none; false: there is no place now.
func (r *round) place(fl *Fleet) (host string, ok bool) {
	names := r.s.hosts(fl)
	if len(names) == 0 {
		return "", true
	}
	own, all := map[string]int{}, map[string]int{}
	for _, other := range r.s.holders() {
		for _, n := range other.Nodes {
			all[n.Host]++
			if other == fl && n.live() && !r.doomed(fl, n) {
				own[n.Host]++
			}
		}
	}
	free := slices.DeleteFunc(names, func(name string) bool { return !r.mayPlace(name) })
	if len(free) == 0 {
		return "", false
	}
	return slices.MinFunc(free, func(a, b string) int {
		return cmp.Or(own[a]-own[b], all[a]+r.f.Hosts[a].Others-all[b]-r.f.Hosts[b].Others, strings.Compare(a, b))
	}), true
}

// placeTask is the host of a task's node. Where none answers it waits for one that is not drained. Error: there is none.
func (r *round) placeTask(fl *Fleet) (string, error) {
	if host, ok := r.place(fl); ok {
		return host, nil
	}
	names := r.s.hosts(fl)
	if i := slices.IndexFunc(names, r.mayAnswer); i >= 0 {
		return names[i], nil
	}
	return "", r.noPlace(names)
}

// placeable says why nodes of these roles could not boot anywhere, before they are begun: none of their hosts is to have any.
func (r *round) placeable(req asked, cfg *config.App, roles []string) error {
	for _, role := range roles {
		names := hostsOf(cfg.Role(role).Fleet)
		if len(names) > 0 && !slices.ContainsFunc(names, r.mayAnswer) {
			return fmt.Errorf("%s %s: role %s: %w", req.Kind, r.s.Key, role, r.noPlace(names))
		}
	}
	return nil
}

// mayAnswer says whether nodes may boot on a host once it answers.
func (r *round) mayAnswer(name string) bool {
	f, known := r.f.Hosts[name]
	return known && !f.Drained
}

// noPlace says why no node can boot on any of these hosts now.
func (r *round) noPlace(hosts []string) error {
	var why []string
	hint := "see release host list"
	for _, name := range hosts {
		switch f, known := r.f.Hosts[name]; {
		case !known:
			why = append(why, name+" is forgotten")
		case f.Drained:
			why = append(why, name+" is drained")
			hint = "let one take nodes again: release host drain " + name + " --undo"
		default:
			why = append(why, name+" does not answer")
		}
	}
	return fault.New(fault.Denied, "%s: %s", homelessText, strings.Join(why, ", ")).WithHint("%s", hint)
}

// homelessText begins what is said of a fleet that gets no more nodes.
const homelessText = "there is no host for another node"

// mayPlace says whether a node may boot on a host now.
func (r *round) mayPlace(name string) bool {
	return r.mayAnswer(name) && r.f.Hosts[name].Away.IsZero()
}

// homeless notes why a fleet gets no more nodes.
func (r *round) homeless(fl *Fleet) {
	err := r.noPlace(r.s.hosts(fl))
	fl.Reason, fl.Hint = err.Error(), hintOf(err)
}

// housed takes that back: what lacks a place still says so again.
func (fl *Fleet) housed() {
	if strings.HasPrefix(fl.Reason, homelessText) {
		fl.Reason, fl.Hint = "", ""
	}
}

// away says whether a node's host does not answer, be it us or the cluster that it is part of.
func (r *round) away(n *Node) bool {
	return r.f.Nodes[n.Name].Doubted || r.f.Hosts != nil && n.Host != "" && !r.f.Hosts[n.Host].Away.IsZero()
}

// silentAfter is how long a host must have been away before its unhealthy nodes count as gone, and what they are asked is refused: a busy
// one may miss a look and a few probes.
const silentAfter = 5 * time.Second

// silent says whether nobody sees a node's host, while another one is seen: else it is the agent that sees nothing.
func (r *round) silent(fl *Fleet, n *Node) bool {
	if r.f.Hosts != nil && n.Host != "" {
		return r.awayFor(fl, n.Host, silentAfter)
	}
	return r.f.Nodes[n.Name].Doubted && slices.ContainsFunc(fl.Nodes, func(other *Node) bool { return other.State == NodeHealthy && !r.f.Nodes[other.Name].Doubted })
}

// lost says whether a host of a fleet counts as lost.
func (r *round) lost(fl *Fleet, host string) bool {
	names := r.s.hosts(fl)
	if r.f.Hosts == nil || host == "" || len(names) == 0 {
		return false
	}
	if _, known := r.f.Hosts[host]; !known {
		return true // a person said that it is gone
	}
	cfg := r.s.configOf(fl).Fleet
	return r.awayFor(fl, host, cfg.HostLostAfter())
}

// awayFor says whether a host has not answered for so long, while another one of the fleet does: when none does it is the agent
// that sees nothing.
func (r *round) awayFor(fl *Fleet, host string, span time.Duration) bool {
	f := r.f.Hosts[host]
	another := slices.ContainsFunc(r.s.hosts(fl), func(name string) bool {
		other, known := r.f.Hosts[name]
		return known && name != host && other.Away.IsZero()
	})
	return !f.Away.IsZero() && r.f.Now.Sub(f.Away) >= span && another
}

// elsewhere says whether what is on a host may be given up: another one takes nodes, or a person said that it is gone.
func (r *round) elsewhere(fl *Fleet, host string) bool {
	_, known := r.f.Hosts[host]
	return !known || slices.ContainsFunc(r.s.hosts(fl), func(name string) bool { return name != host && r.mayPlace(name) })
}

// unbornAfter is how long a host may not answer before nodes whose boot it has not confirmed are booted elsewhere instead: nobody
// would miss them there, so a launch does not wait for what may be a lost host.
const unbornAfter = 5 * time.Second

// whyLost says what is with a host that is lost.
func (r *round) whyLost(host string) string {
	f, known := r.f.Hosts[host]
	if !known {
		return "its host " + host + " is forgotten"
	}
	return fmt.Sprintf("its host %s has not answered for %s", host, human.Span(r.f.Now.Sub(f.Away)))
}

// observeHost sees whether a node must go elsewhere, and says whether it is given up at once: it is on a lost host, and nobody
// sees it serve.
func (r *round) observeHost(fl *Fleet, n *Node, fact NodeFact) bool {
	if r.f.Hosts == nil || n.Host == "" {
		return false
	}
	lost := r.lost(fl, n.Host) && r.elsewhere(fl, n.Host)
	if n.State == NodeStarting && !n.Booted && fact.Presence == "" && r.awayFor(fl, n.Host, unbornAfter) && r.elsewhere(fl, n.Host) {
		r.giveUpNode(fl, n)
		return true
	}
	moves := n.live() && (lost || r.f.Hosts[n.Host].Drained) && len(r.s.hosts(fl)) > 0
	if lost && fact.Presence != fleet.Present && n.State != NodeDraining && (n.State != NodeHealthy || fact.Verdict != healthcheck.Healthy) {
		r.giveUpNode(fl, n)
		return true
	}
	switch {
	case moves && n.Moves == "" && lost:
		n.Moves = r.whyLost(n.Host)
	case moves && n.Moves == "":
		n.Moves = "its host " + n.Host + " is drained"
	case !moves:
		n.Moves = ""
	}
	return false
}

// giveUpNode takes a node on a lost host for dead.
func (r *round) giveUpNode(fl *Fleet, n *Node) {
	why, served := r.whyLost(n.Host), n.live() && n.WasServed
	r.setNode(n, NodeDead, why)
	n.Tailed = true // there is nobody to ask for its last lines
	r.sayNode("lost", fl, n, "%s is given up: %s", n.Name, why)
	if served {
		r.repair(fl, n, why)
	}
}

// leftOn says whether a node that is to be removed is on a lost host, where nobody can, or was given up before it was born.
func (r *round) leftOn(fl *Fleet, n *Node) bool {
	unborn := n.State == NodeDead && !n.Booted && n.Host != "" && r.awayFor(fl, n.Host, 0)
	if !unborn && !r.lost(fl, n.Host) || r.f.Nodes[n.Name].Presence == fleet.Present {
		return false
	}
	r.sayNode("left", fl, n, "%s is left behind on %s, which does not answer; it is removed when it does", n.Name, n.Host)
	return true
}

// plannedHosts are the hosts as a rehearsal has them: those that a configuration names are known, and all answer.
func plannedHosts(known map[string]HostFact, cfg *config.App) map[string]HostFact {
	planned := map[string]HostFact{}
	for name, f := range known {
		planned[name] = HostFact{Drained: f.Drained, Others: f.Others}
	}
	if cfg == nil {
		return planned
	}
	for _, role := range cfg.RoleNames() {
		f := cfg.Role(role).Fleet
		for name := range f.HostNames() {
			planned[name] = HostFact{Drained: known[name].Drained, Others: known[name].Others}
		}
	}
	return planned
}

// onlyLost says whether something failed for no other reason than that hosts are lost.
func (r *round) onlyLost(fl *Fleet, err error) bool {
	away, only := onlyAway(err)
	if r.f.Hosts == nil || !only {
		return false
	}
	return !slices.ContainsFunc(away.Hosts, func(name string) bool {
		return slices.ContainsFunc(fl.Nodes, func(n *Node) bool { return n.Host == name }) && !r.lost(fl, name)
	})
}

// onlyAway says whether hosts that do not answer are all that an error is about: beside them one that answers may have failed.
func onlyAway(err error) (*fleet.HostsAway, bool) {
	for {
		switch e := err.(type) { //nolint:errorlint // each layer is looked at
		case *fleet.HostsAway:
			return e, true
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			if len(e.Unwrap()) != 1 {
				return nil, false
			}
			err = e.Unwrap()[0]
		default:
			return nil, false
		}
	}
}
