package orchestrator

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
)

// drifting is a configuration with that policy.
func drifting(policy string) func(*config.App) {
	return func(c *config.App) {
		c.Fleet.Drift = config.Drift{Policy: policy, Allow: []string{"/cache"}, Every: config.Duration(time.Minute)}
	}
}

func edited(path string) fleet.Change {
	return fleet.Change{What: fleet.ChangedFile, How: fleet.WasChanged, Path: path}
}

// named counts the journal's entries of a type.
func (r *rig) named(kind string) int {
	r.t.Helper()
	events, err := r.o.Events(r.t.Context(), shop, 0, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for _, e := range events {
		if e.Type == kind {
			n++
		}
	}
	return n
}

func (s *State) named(name string) *Node {
	for _, fl := range s.Fleets {
		for _, n := range fl.Nodes {
			if n.Name == name {
				return n
			}
		}
	}
	return nil
}

func TestDriftIsReported(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 3, drifting(config.DriftReport))
		victim := r.running("r1")[1]
		r.driver.SetDrift(victim, edited("/etc/motd"), edited("/cache/x"))
		s := r.until("the drift to be seen", func(s *State) bool { return s.named(victim).Drift != nil })
		if d := s.named(victim).Drift; d.Total != 1 || d.Changes[0].Path != "/etc/motd" {
			t.Errorf("drift is %+v", d)
		}
		time.Sleep(time.Hour)
		if !slices.Contains(r.running("r1"), victim) || len(r.running("r1")) != 3 {
			t.Errorf("with the policy report %v run", r.running("r1"))
		}
		if n := r.named("node.drifted"); n != 1 {
			t.Errorf("told %d times", n)
		}
		r.stop() // it is on record
		r.driver = r.driver.Reopen("")
		r.driver.Fail(fleettest.Drift, fleet.ErrUnavailable)
		r.start()
		time.Sleep(time.Hour)
		if d := r.state().named(victim).Drift; d == nil || d.Total != 1 {
			t.Errorf("after a restart drift is %+v", d)
		}
		r.driver.Fail(fleettest.Drift, nil)
		r.driver.SetDrift(victim)
		r.until("the drift to be over", func(s *State) bool { return s.named(victim).Drift == nil })
		if n := r.named("node.restored"); n != 1 {
			t.Errorf("the end was told %d times", n)
		}
	})
}

// What changes all the time is told now and then, not at each look.
func TestDriftThatGrowsIsToldSeldom(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, drifting(config.DriftReport))
		node := r.running("r1")[0]
		var changes []fleet.Change
		for i := range 60 {
			changes = append(changes, edited("/data/"+strings.Repeat("x", i+1)))
			r.driver.SetDrift(node, changes...)
			time.Sleep(time.Minute)
		}
		if d := r.state().named(node).Drift; d.Total < 59 || len(d.Changes) != keptChanges {
			t.Errorf("%d changes are counted, %d kept", d.Total, len(d.Changes))
		}
		if n := r.named("node.drifted"); n < 5 || n > 7 {
			t.Errorf("told %d times in an hour", n)
		}
	})
}

func TestDriftIsReplacedNewFirst(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 3, drifting(config.DriftReplace))
		before := r.running("r1")
		r.driver.SetDrift(before[0], edited("/etc/motd"))
		least := 3
		r.until("the node to be replaced", func(s *State) bool {
			least = min(least, s.fleetOf("r1").healthy())
			return s.named(before[0]) == nil && s.fleetOf("r1").healthy() == 3
		})
		if least < 2 { // the one that drains counts no more
			t.Errorf("only %d nodes were healthy", least)
		}
		calls := r.driver.Calls()
		newcomer := slices.IndexFunc(calls, func(c fleettest.Call) bool {
			return c.Method == fleettest.Ensure && !slices.Contains(before, c.Names[0])
		})
		removed := slices.IndexFunc(calls, func(c fleettest.Call) bool { return c.Method == fleettest.Remove && c.Names[0] == before[0] })
		if newcomer < 0 || removed < newcomer {
			t.Errorf("the new node was call %d, the removal of the old %d", newcomer, removed)
		}
		ops, err := r.o.History(t.Context(), shop)
		if err != nil || !ops[0].Auto || ops[0].Nodes[0] != before[0] {
			t.Errorf("the newest operation is %+v, %v", ops[0], err)
		}
		time.Sleep(time.Hour)
		if fl := r.state().fleetOf("r1"); fl.DriftHeld != "" || len(fl.Nodes) != 3 || r.named("node.shot") != 1 {
			t.Errorf("an hour later:\n%s", r.describe())
		}
	})
}

func TestAllDriftAtOnceAreLeft(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 4, drifting(config.DriftReplace))
		before := r.running("r1")
		for _, name := range before {
			r.driver.SetDrift(name, edited("/etc/motd"))
		}
		s := r.until("the fleet to be held", func(s *State) bool { return s.fleetOf("r1").DriftHeld != "" })
		if why := s.fleetOf("r1").DriftHeld; !strings.Contains(why, "all 4 nodes differ") {
			t.Errorf("held since %q", why)
		}
		time.Sleep(time.Hour)
		if after := r.running("r1"); !slices.Equal(before, after) {
			t.Errorf("before %v, after %v", before, after)
		}
		for _, name := range before[1:] {
			r.driver.SetDrift(name)
		}
		r.done(Request{Kind: KindReplace, Nodes: before[:1]}) // by hand it always can be
		r.until("the hold to be over", func(s *State) bool { return s.fleetOf("r1").DriftHeld == "" })
	})
}

// A fleet of one whose node comes to differ by itself is replaced once.
func TestDriftByItselfIsReplacedOnce(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, drifting(config.DriftReplace))
		for range 600 {
			for _, name := range r.running("r1") {
				r.driver.SetDrift(name, edited("/var/lib/app/state"))
			}
			time.Sleep(10 * time.Second)
		}
		fl := r.state().fleetOf("r1")
		if n := r.named("node.shot"); n != 1 || !strings.Contains(fl.DriftHeld, "/var/lib/app/state") {
			t.Errorf("%d nodes were shot; held: %q", n, fl.DriftHeld)
		}
		if fl.healthy() != 1 {
			t.Error("the fleet does not serve")
		}
	})
}

func TestNobodyLooksWhenDriftIsIgnored(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, drifting(config.DriftIgnore))
		node := r.running("r1")[0]
		r.driver.SetDrift(node, edited("/etc/motd"))
		time.Sleep(time.Hour)
		if d := r.state().named(node).Drift; d != nil {
			t.Errorf("drift is %+v", d)
		}
		drift, err := r.o.Drift(t.Context(), shop, node)
		if err != nil || drift.Total != 1 {
			t.Errorf("a person who asks is told %+v, %v", drift, err)
		}
	})
}
