package orchestrator

import (
	"fmt"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/healthcheck"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// observeNodes turns what drivers and probes report into node states.
func (r *round) observeNodes() {
	for _, fl := range r.s.Fleets {
		for _, n := range fl.Nodes {
			r.observeNode(fl, n)
			r.observeDrift(fl, n)
		}
		r.judgeDrift(fl)
	}
}

func (r *round) observeNode(fl *Fleet, n *Node) {
	if n.State == NodeDead {
		return // whatever an engine still does with it: it is removed
	}
	fact := r.f.Nodes[n.Name]
	if r.observeHost(fl, n, fact) {
		return
	}
	n.Booted = n.Booted || fact.Presence == fleet.Gone
	if fact.Presence == fleet.Present {
		n.Booted = true
		n.Address, n.Host, n.PID = fact.Address, fact.Host, fact.PID
	}
	if n.State == NodeQuarantined && n.Booted && fact.Absent {
		r.letGo(fl, n, "it vanished")
	}
	if n.State == NodeQuarantined {
		return
	}
	if fact.Presence == fleet.Gone || n.Booted && fact.Absent {
		r.died(fl, n, exitText(fact.Exit))
		return
	}
	// A boot that fails for good says nothing of an earlier one, which another agent may have begun: the node is asked for.
	if res := r.f.Results[actionKey(ActBoot, fl.ID, n.Name)]; !n.Booted && res.Final && fact.Absent {
		r.unbooted(fl, n, res.Err)
		return
	}
	seen := fact.Presence == fleet.Present || fact.Presence == fleet.Unknown && n.WasServed && r.away(n)
	if n.State != NodeDraining && seen {
		r.judge(fl, n, fact)
	}
	n.Gone = n.State == NodeUnhealthy && r.silent(fl, n)
}

// settled is how long a node that became healthy after the failures of its fleet must stay so before they are forgotten: a
// shorter time would let a node that crashes soon after each start be booted at full speed for ever, and so would the word of
// nodes that are older than the trouble.
const settled = 10 * time.Second

func (r *round) judge(fl *Fleet, n *Node, fact NodeFact) {
	verdict := fact.Verdict
	if !fl.probed(r.s) {
		verdict = r.unasked(fl, n)
	}
	switch {
	case verdict == healthcheck.Healthy && n.State != NodeHealthy:
		if n.WasServed && fl.Storm.Kind == StormAll {
			fl.better() // what they all depend on is back
		}
		r.setNode(n, NodeHealthy, "")
		n.WasServed = true
		r.sayNode("healthy", fl, n, "%s is healthy, %s after it was named", n.Name, human.Span(r.f.Now.Sub(n.MintedAt)))
	case verdict == healthcheck.Healthy && fl.Failures > 0 && n.Since.After(fl.FailedAt) && r.f.Now.Sub(n.Since) > settled:
		fl.Failures, fl.NotBefore, fl.Reason = 0, time.Time{}, ""
	case verdict == healthcheck.Healthy && fl.Storm.Vain > 0 && n.MintedAt.After(fl.Storm.VainAt) && r.f.Now.Sub(n.Since) > settled:
		fl.better()
	case verdict == healthcheck.Unhealthy && n.State == NodeHealthy:
		if n.Replaces != "" && r.f.Now.Sub(n.Since) < proof {
			r.vain(fl, n, fact.Message)
		}
		r.setNode(n, NodeUnhealthy, fact.Message)
		r.sayNode("unhealthy", fl, n, "%s is unhealthy: %s", n.Name, fact.Message)
	case verdict == healthcheck.Failed && n.State == NodeStarting:
		r.setNode(n, NodeUnhealthy, fact.Message)
		r.sayNode("failed", fl, n, "%s did not become healthy in time: %s", n.Name, fact.Message)
		r.failed(fl, fact.Message)
		r.vain(fl, n, fact.Message)
	}
}

// unasked is the verdict on a node that there is nothing to ask: it is well when it has run for as long as good answers would
// have taken.
func (r *round) unasked(fl *Fleet, n *Node) healthcheck.Verdict {
	h := r.s.configOf(fl).Health
	if n.State == NodeStarting && r.f.Now.Sub(n.Since) < h.Interval.Std()*time.Duration(h.HealthyAfter) {
		return healthcheck.Starting
	}
	return healthcheck.Healthy
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
	if !proven && n.Replaces != "" {
		r.vain(fl, n, why)
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
	over := fl.Failures - r.freeFailures(fl)
	if over <= 0 {
		return
	}
	wait := time.Second << min(over-1, 6)
	fl.NotBefore = r.f.Now.Add(min(wait, maxBackoff))
}

// freeFailures is how many nodes of a fleet may fail in a row at full speed: also a whole fleet that is gone together.
func (r *round) freeFailures(fl *Fleet) int { return max(r.s.size(fl), freeFailures) }

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
