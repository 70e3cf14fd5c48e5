package orchestrator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/router"
)

// failures are the nodes that a table says have failed: whether they are gone.
func failures(tables ...router.Table) map[string]bool {
	all := map[string]bool{}
	for _, t := range tables {
		for _, f := range t.Failed {
			all[f.Node] = f.Gone
		}
	}
	return all
}

// untilFailed waits until a table has said so of a node, and holds that no route of that table names the node.
func (r *rig) untilFailed(name string, gone bool) {
	r.t.Helper()
	r.until("a table to say that the node failed", func(*State) bool {
		return slices.ContainsFunc(r.router.Tables(), func(table router.Table) bool {
			is, named := failures(table)[name]
			if named && strings.Contains(fmt.Sprint(table.Routes), name) {
				r.t.Errorf("%s failed and is routed: %+v", name, table)
			}
			return named && is == gone
		})
	})
}

// The edges learn why a node leaves: it is unhealthy, dead, or drains, which is no failure.
func TestTablesSayWhoFailed(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 3)
		sick, dead := r.running("r1")[0], r.running("r1")[1]
		r.setSick(sick, true)
		r.untilFailed(sick, false)
		r.driver.Kill(dead, fleet.Exit{Signal: "KILL", Code: 137})
		r.untilFailed(dead, true)
		if f := failures(r.router.Tables()...); f[sick] {
			t.Errorf("%s runs and is said to be gone", sick)
		}
		r.setSick(sick, false)
		r.until("the sick node back in the route", func(*State) bool { return slices.Contains(r.routed(), sick) })
		table, _ := r.router.Applied(t.Context())
		if _, named := failures(table)[sick]; named {
			t.Errorf("a node that is well again is said to have failed: %+v", table.Failed)
		}
		r.until("three healthy nodes", func(s *State) bool { return s.fleetOf("r1").healthy() == 3 })

		before := len(r.router.Tables())
		r.up(2, 2)
		r.done(Request{Kind: KindReplace, Nodes: r.running("r2")[:1]})
		r.done(Request{Kind: KindScale, Size: 1})
		if f := failures(r.router.Tables()[before:]...); len(f) > 0 && !maps.Equal(f, map[string]bool{dead: true}) {
			t.Errorf("nodes that drained are said to have failed: %v", f)
		}
	})
}

// A node whose host is out of sight too is gone, until its host answers; a dead one is told of once, not again when it is removed.
func TestTablesSayWhoIsGone(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha", "beta"))
		cut := r.runs("beta", "")[0]
		r.fail("beta", false) // it serves on
		r.until("the host to be away", func(*State) bool {
			hosts, err := r.o.Hosts(t.Context())
			return err == nil && len(hosts) == 2 && !hosts[1].Away.IsZero()
		})
		if f := failures(r.router.Tables()...); len(f) > 0 {
			t.Errorf("nodes that answer are said to have failed: %v", f)
		}
		r.setSick(cut, true)
		r.untilFailed(cut, true)
	})
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		victim := r.running("r1")[0]
		before := len(r.router.Tables())
		r.driver.Kill(victim, fleet.Exit{Signal: "KILL", Code: 137})
		r.until("two healthy nodes without it", func(s *State) bool {
			return s.fleetOf("r1").healthy() == 2 && !slices.ContainsFunc(s.fleetOf("r1").Nodes, func(n *Node) bool { return n.Name == victim })
		})
		if tables := r.router.Tables()[before:]; len(tables) != 2 {
			t.Errorf("a node that died took %d tables, want one without it and one with its successor: %+v", len(tables), tables)
		}
	})
}
