package orchestrator

import (
	"slices"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
)

func TestDeadNodeIsReplacedAtOnce(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 3)
		victim := r.running("r1")[0]
		began := time.Now()
		r.driver.Kill(victim, fleet.Exit{Signal: "KILL", Code: 137})
		r.until("three healthy nodes without the dead one", func(s *State) bool {
			fl := s.fleetOf("r1")
			return fl.healthy() == 3 && !slices.Contains(r.running("r1"), victim)
		})
		if took := time.Since(began); took > time.Second {
			t.Errorf("replaced after %s", took)
		}
	})
}

func TestUnhealthyNodeIsReplacedNewFirst(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		before := r.running("r1")
		victim := before[0]
		r.setSick(victim, true)
		began := time.Now()
		r.until("the sick node out of the route", func(s *State) bool { return s.fleetOf("r1").healthy() == 1 })
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("unrouted after %s", took)
		}
		r.until("the sick node shot", func(*State) bool { return !slices.Contains(r.running("r1"), victim) })
		if took := time.Since(began); took < 30*time.Second {
			t.Errorf("replaced after %s, before replace_after", took)
		}
		if s := r.state(); s.fleetOf("r1").healthy() != 2 {
			t.Errorf("after the replacement:\n%s", r.describe())
		}
		calls := r.driver.Calls()
		newcomer := slices.IndexFunc(calls, func(c fleettest.Call) bool {
			return c.Method == fleettest.Ensure && !slices.Contains(before, c.Names[0])
		})
		removed := slices.IndexFunc(calls, func(c fleettest.Call) bool {
			return c.Method == fleettest.Remove && c.Names[0] == victim
		})
		if newcomer < 0 || newcomer > removed {
			t.Errorf("the new node was call %d, the removal of the old %d", newcomer, removed)
		}
	})
}

func TestAllUnhealthyAtOnceAreNotShot(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 4)
		before := r.running("r1")
		r.setSick(image(1), true)
		time.Sleep(20 * time.Minute)
		for _, name := range before {
			if !slices.Contains(r.running("r1"), name) {
				t.Errorf("%s was shot though no other node was healthy", name)
			}
		}
		r.setSick(image(1), false)
		r.until("all healthy again", func(s *State) bool { fl := s.fleetOf("r1"); return fl.healthy() == 4 && len(fl.Nodes) == 4 })
	})
}

func TestRebootedHostComesBack(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 5)
		r.driver.Reboot()
		began := time.Now()
		r.until("five healthy nodes", func(s *State) bool { return s.fleetOf("r1").healthy() == 5 })
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("back after %s", took)
		}
	})
}

func TestUnknownIsNotDead(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 3)
		before := r.running("r1")
		r.driver.FailAll(fleet.ErrUnavailable)
		time.Sleep(10 * time.Minute)
		r.driver.FailAll(nil)
		time.Sleep(time.Minute)
		if after := r.running("r1"); !slices.Equal(before, after) {
			t.Errorf("before %v, after %v", before, after)
		}
	})
}

// A node that does not answer leaves the route while nobody can say whether it is there, and comes back when it answers.
func TestUnknownIsProbed(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 3)
		before := r.running("r1")
		state := func(want NodeState) func(*State) bool {
			return func(s *State) bool { n, err := s.node(before[0]); return err == nil && n.State == want }
		}
		r.driver.FailAll(fleet.ErrUnavailable)
		time.Sleep(10 * time.Second)
		r.setSick(before[0], true)
		r.until("it to leave the route", state(NodeUnhealthy))
		time.Sleep(10 * time.Minute)
		r.setSick(before[0], false)
		r.until("it to serve again", state(NodeHealthy))
		r.driver.FailAll(nil)
		time.Sleep(time.Minute)
		if after := r.running("r1"); !slices.Equal(before, after) {
			t.Errorf("before %v, after %v", before, after)
		}
	})
}

func TestCrashLoopBacksOff(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		boots := 0
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			for _, name := range r.running("r1") {
				boots++
				r.driver.Kill(name, fleet.Exit{Code: 1})
			}
		}
		if boots < 3 || boots > 20 {
			t.Errorf("%d boots in a minute of crashes", boots)
		}
	})
}

func TestScaleUpAndDown(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		r.done(Request{Kind: KindScale, Size: 5})
		if n := len(r.running("r1")); n != 5 {
			t.Fatalf("%d nodes run, want 5", n)
		}
		r.done(Request{Kind: KindScale, Size: 1})
		r.until("one node", func(*State) bool { return len(r.running("r1")) == 1 })
		r.up(2, 2) // the file says 2 as before, so the size set by hand holds
		if n := len(r.running("r2")); n != 1 {
			t.Errorf("%d nodes of r2 run, want 1", n)
		}
	})
}

func TestReplaceByHandDrainsFirst(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		victim := r.running("r1")[0]
		fl := r.state().fleetOf("r1")
		r.router.SetInFlight(fl.ID.String(), victim, 3)
		op := r.submit(Request{Kind: KindReplace, Nodes: []string{victim}})
		time.Sleep(10 * time.Second)
		if !slices.Contains(r.running("r1"), victim) {
			t.Error("the node was shot while it had requests")
		}
		r.router.SetInFlight(fl.ID.String(), victim, 0)
		began := time.Now()
		r.wait(op)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("shot %s after it was empty", took)
		}
	})
}

func TestDrainDeadlinePasses(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		victim := r.running("r1")[0]
		fl := r.state().fleetOf("r1")
		r.router.SetInFlight(fl.ID.String(), victim, 1)
		began := time.Now()
		r.done(Request{Kind: KindReplace, Nodes: []string{victim}})
		if took := time.Since(began); took < 30*time.Second || took > 33*time.Second {
			t.Errorf("shot after %s, the drain timeout is 30s", took)
		}
	})
}

func TestNextAgentAdoptsAndFinishes(t *testing.T) {
	steps := func(c *config.App) {
		c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(time.Minute)}, {Percent: 100}}
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, steps)
		before := r.running("r1")
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, steps)})
		r.until("10 %", func(*State) bool { return r.weights()["r2"] == 10 })
		r.stop()
		r.driver = r.driver.Reopen("")
		time.Sleep(time.Hour) // nobody watches; the hold does not go on
		r.start()
		time.Sleep(10 * time.Second)
		wantWeights(r, map[string]int{"r1": 90, "r2": 10})
		r.wait(op)
		wantWeights(r, map[string]int{"r2": 100})
		if after := r.running("r1"); !slices.Equal(before, after) {
			t.Errorf("nodes of r1 were %v, are %v", before, after)
		}
	})
}

// A node that cannot be made up for is not tried at full speed, although the others are well.
func TestBootsThatFailBesideHealthyNodesSlowDown(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 3)
		time.Sleep(time.Minute)
		seq := r.state().EventSeq
		r.driver.Fail(fleettest.Ensure, fault.New(fault.NotFound, "the image is gone"))
		r.driver.Kill(r.running("r1")[0], fleet.Exit{Signal: "KILL", Code: 137})
		time.Sleep(5 * time.Minute)
		events, err := r.o.Events(t.Context(), shop, seq, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		boots := 0
		for _, e := range events {
			if e.Type == "node.booting" {
				boots++
			}
		}
		if boots < freeFailures || boots > freeFailures+12 {
			t.Errorf("%d boots in 5 minutes", boots)
		}
		r.driver.Fail(fleettest.Ensure, nil)
		r.until("a whole fleet", func(s *State) bool { return s.serving().healthy() == 3 })
		time.Sleep(time.Minute)
		if fl := r.state().serving(); fl.Failures != 0 {
			t.Errorf("%d failures are remembered", fl.Failures)
		}
	})
}
