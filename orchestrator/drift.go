package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/human"
)

// Nodes are never edited, so one that differs from its image was written to by the app, or by somebody. That is told; with the
// policy "replace" the node is replaced as well, like one that a person asked to replace. Replacing helps only against what
// happened to one node: when all nodes of a fleet differ at the same time, or the new node comes to differ like the one
// before, the app does it by itself, and the fleet is left as it is.

// NodeDrift is how a node differs from its image, as it was seen last.
type NodeDrift struct {
	Since   time.Time      `json:"since"` // of the first difference
	Total   int            `json:"total"`
	Changes []fleet.Change `json:"changes"` // the first of them
	ToldAt  time.Time      `json:"told_at"` // when the journal got the last entry on it
}

// DriftFact is what a look at a node found.
type DriftFact struct {
	At      time.Time // when the look began
	Total   int
	Changes []fleet.Change // the first of them
}

const (
	// keptChanges is how many changes of a node are kept in the state.
	keptChanges = 10
	// tellDriftEvery is how often at most the journal tells that a node differs in another way than before.
	tellDriftEvery = 10 * time.Minute
	// keptDrifted is how many paths are remembered that nodes were replaced for.
	keptDrifted = 50
)

// String is for people: "3 changes: /etc/motd (changed), …".
func (d *NodeDrift) String() string {
	text := human.Count(d.Total, "change") + ": "
	for i, c := range d.Changes[:min(len(d.Changes), 3)] {
		if i > 0 {
			text += ", "
		}
		text += c.Path + " (" + changeWord(c) + ")"
	}
	if d.Total > 3 {
		text += ", …"
	}
	return text
}

func changeWord(c fleet.Change) string {
	if c.What == fleet.ChangedFile {
		return c.How
	}
	return c.What + " " + c.How
}

// observeDrift takes what the newest look found into a node's record.
func (r *round) observeDrift(fl *Fleet, n *Node) {
	seen := r.f.Nodes[n.Name].Drift
	if seen == nil || !n.live() {
		return
	}
	switch {
	case seen.Total == 0 && n.Drift != nil:
		n.Drift = nil
		r.sayNode("restored", fl, n, "%s is as its image again", n.Name)
	case seen.Total == 0:
	case n.Drift == nil:
		n.Drift = &NodeDrift{Since: seen.At, Total: seen.Total, Changes: seen.Changes, ToldAt: r.f.Now}
		r.sayNode("drifted", fl, n, "%s differs from its image in %s", n.Name, n.Drift)
	case !sameChanges(n.Drift.Changes, seen.Changes) || n.Drift.Total != seen.Total:
		d := *n.Drift
		d.Total, d.Changes = seen.Total, seen.Changes
		if r.f.Now.Sub(d.ToldAt) >= tellDriftEvery {
			d.ToldAt = r.f.Now
			r.sayNode("drifted", fl, n, "%s differs from its image in %s", n.Name, &d)
		}
		n.Drift = &d
	}
}

// sameChanges compares what differs, not the details, which name processes.
func sameChanges(a, b []fleet.Change) bool {
	return slices.EqualFunc(a, b, func(x, y fleet.Change) bool { return x.What == y.What && x.How == y.How && x.Path == y.Path })
}

// judgeDrift decides which nodes are replaced because they differ from their image.
func (r *round) judgeDrift(fl *Fleet) {
	drifting, live := 0, 0
	for _, n := range fl.Nodes {
		if n.live() {
			live++
			if n.Drift != nil {
				drifting++
			}
		}
	}
	if drifting == 0 && fl.DriftHeld != "" && live > 0 {
		fl.DriftHeld = ""
		r.sayFleet("drift_over", fl, "%s: no node differs from its image any more", fl.ID.Release)
	}
	if drifting == 0 || fl.DriftHeld != "" || !fl.routable() || r.s.configOf(fl).Fleet.Drift.Policy != config.DriftReplace {
		return
	}
	for _, n := range fl.Nodes {
		if !n.live() || n.Drift == nil || n.Stray || n.Asked {
			continue
		}
		if path := n.again(fl.Drifted); path != "" {
			r.holdDrift(fl, fmt.Sprintf("%s differs in %s like the node before it, so replacing does not help", n.Name, path))
			return
		}
		if !r.lookedAt(fl, n) {
			continue // the others may differ as well
		}
		if live > 1 && drifting == live {
			r.holdDrift(fl, fmt.Sprintf("all %d nodes differ, so replacing would not help", live))
			return
		}
		r.stray(fl, n)
	}
}

// again is a path in which a node differs that was booted in the place of one that differed there too; "" for none.
func (n *Node) again(drifted []string) string {
	if !n.ForDrift {
		return ""
	}
	for _, c := range n.Drift.Changes {
		if slices.Contains(drifted, c.Path) {
			return c.Path
		}
	}
	return ""
}

// lookedAt says whether the rest of the fleet was looked at since a node was seen to differ.
func (r *round) lookedAt(fl *Fleet, than *Node) bool {
	for _, n := range fl.Nodes {
		if n == than || !n.live() || n.Stray {
			continue
		}
		if seen := r.f.Nodes[n.Name].Drift; seen == nil || seen.At.Before(than.Drift.Since) {
			return false
		}
	}
	return true
}

func (r *round) holdDrift(fl *Fleet, why string) {
	fl.DriftHeld = why
	r.sayFleet("drift_held", fl, "%s: no node is replaced because it differs from its image: %s", fl.ID.Release, why)
}

// stray marks a node to be replaced.
func (r *round) stray(fl *Fleet, n *Node) {
	n.Stray = true
	for _, c := range n.Drift.Changes {
		if !slices.Contains(fl.Drifted, c.Path) {
			fl.Drifted = append(fl.Drifted, c.Path)
		}
	}
	fl.Drifted = fl.Drifted[max(0, len(fl.Drifted)-keptDrifted):]
	r.sayNode("stray", fl, n, "%s is replaced, since it differs from its image in %s", n.Name, n.Drift)
}

// why says why a node is replaced.
func (n *Node) why() string {
	switch {
	case n.Stray && n.Drift != nil:
		return "it differs from its image in " + n.Drift.String()
	case n.Stray:
		return "it differed from its image"
	case n.Moves != "":
		return n.Moves
	}
	return n.Reason
}

// drifts says whether a node of that name differs from its image.
func (fl *Fleet) drifts(node string) bool {
	return slices.ContainsFunc(fl.Nodes, func(n *Node) bool { return n.Name == node && n.Drift != nil })
}
