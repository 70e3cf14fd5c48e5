package orchestrator

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// routed are the nodes that the router has.
func (r *rig) routed() []string {
	r.t.Helper()
	t, err := r.router.Applied(context.Background())
	if err != nil {
		return nil
	}
	var names []string
	for _, route := range t.Routes {
		for _, fl := range route.Fleets {
			for _, n := range fl.Nodes {
				names = append(names, n.Name)
			}
		}
	}
	return names
}

func (r *rig) node(name string) *Node {
	r.t.Helper()
	n, err := r.state().node(name)
	if err != nil {
		return nil
	}
	return n
}

// quarantine puts a running node of a release into quarantine and returns its name.
func (r *rig) quarantine(release string, keep time.Duration) string {
	r.t.Helper()
	victim := r.running(release)[0]
	r.done(Request{Kind: KindQuarantine, Nodes: []string{victim}, For: keep})
	if n := r.node(victim); n == nil || n.State != NodeQuarantined {
		r.t.Fatalf("%s is not in quarantine\n%s", victim, r.describe())
	}
	return victim
}

func TestQuarantineTakesOutAndMakesUp(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 3)
		began := time.Now()
		victim := r.quarantine("r1", time.Hour)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %s", took)
		}
		if slices.Contains(r.routed(), victim) || len(r.routed()) != 3 || len(r.running("r1")) != 4 {
			t.Errorf("routed %v, running %v, in quarantine %s", r.routed(), r.running("r1"), victim)
		}
		if s := r.state(); !s.atRest() {
			t.Errorf("a node in quarantine keeps the agent busy:\n%s", r.describe())
		}
		r.setSick(victim, true) // nobody asks it any more
		time.Sleep(50 * time.Minute)
		if !slices.Contains(r.running("r1"), victim) {
			t.Fatal("it was shot before its time was over")
		}
		r.until("it is shot", func(*State) bool { return !slices.Contains(r.running("r1"), victim) })
		if took := time.Since(began); took < time.Hour || took > time.Hour+10*time.Second {
			t.Errorf("shot after %s, want an hour", took)
		}
		if len(r.routed()) != 3 {
			t.Errorf("routed: %v", r.routed())
		}
	})
}

// The time counts only while an agent sees that users are served as they should be.
func TestQuarantineCountsWhatIsWatched(t *testing.T) {
	t.Parallel()
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		victim := r.quarantine("r1", 10*time.Minute)
		time.Sleep(2 * time.Minute)
		r.stop()
		r.driver = r.driver.Reopen("")
		time.Sleep(3 * time.Hour)
		r.start()
		time.Sleep(5 * time.Second)
		if left := r.node(victim).Quarantine.Left; left < 7*time.Minute || left > 8*time.Minute+10*time.Second {
			t.Errorf("%s are left after two of ten minutes, and a time without an agent", left)
		}
		r.setSick(image(1), true)
		time.Sleep(20 * time.Minute)
		if !slices.Contains(r.running("r1"), victim) {
			t.Error("it was shot while the serving fleet was unhealthy")
		}
		r.setSick(image(1), false)
		r.until("it is shot", func(*State) bool { return !slices.Contains(r.running("r1"), victim) })
	})
}

// The fleet of a node in quarantine is shot without it, and goes with it.
func TestQuarantineOutlivesItsFleet(t *testing.T) {
	short := func(c *config.App) { c.Cutover.KeepPrevious = 0 }
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 3, short)
		victim := r.quarantine("r1", 2*time.Hour)
		r.up(2, 3, short)
		r.until("the rest of r1 shot", func(*State) bool { return slices.Equal(r.running("r1"), []string{victim}) })
		time.Sleep(30 * time.Minute)
		s := r.state()
		if fl := s.Fleets[0]; len(s.Fleets) != 2 || fl.ID.Release != "r1" || fl.State != FleetShooting || len(fl.Nodes) != 1 || !s.atRest() {
			t.Errorf("after half an hour:\n%s", r.describe())
		}
		r.stop()
		r.driver = r.driver.Reopen("")
		r.start()
		time.Sleep(2 * time.Minute)
		if !slices.Equal(r.running("r1"), []string{victim}) {
			t.Errorf("after the agent's restart %v run", r.running("r1"))
		}
		r.done(Request{Kind: KindQuarantine, Nodes: []string{victim}, End: true})
		r.until("nothing of r1 is left", func(s *State) bool { return len(r.running("r1")) == 0 && len(s.Fleets) == 1 })
	})
}

func TestQuarantineEnds(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		victim := r.quarantine("r1", time.Hour)
		r.done(Request{Kind: KindReplace, Nodes: []string{victim}})
		if slices.Contains(r.running("r1"), victim) || len(r.running("r1")) != 2 {
			t.Errorf("replace leaves %v", r.running("r1"))
		}
		victim = r.quarantine("r1", time.Hour)
		r.driver.Kill(victim, fleet.Exit{Code: 1})
		time.Sleep(time.Minute)
		if n := r.node(victim); n == nil || n.State != NodeQuarantined {
			t.Errorf("a node that ended left its quarantine: %+v", n)
		}
		r.driver.Forget(victim)
		r.until("what vanished is forgotten", func(s *State) bool { return len(s.quarantined()) == 0 })
		r.quarantine("r1", time.Hour)
		r.done(Request{Kind: KindDestroy})
		if left := r.running(""); len(left) > 0 {
			t.Errorf("destroy leaves %v", left)
		}
	})
}

func TestQuarantineIsLimited(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 3)
		first, second := r.quarantine("r1", time.Hour), ""
		for _, name := range r.routed() {
			if second == "" {
				second = name
				r.done(Request{Kind: KindQuarantine, Nodes: []string{name}, For: time.Hour})
				continue
			}
			_, err := r.try(Request{Kind: KindQuarantine, Nodes: []string{name}})
			if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), first) || !strings.Contains(err.Error(), second) {
				t.Errorf("a third one: %v", err)
			}
		}
		// One that is there already takes no more room: its time is set anew.
		r.done(Request{Kind: KindQuarantine, Nodes: []string{first}, For: 3 * time.Hour})
		if left := r.node(first).Quarantine.Left; left < 2*time.Hour {
			t.Errorf("%s are left", left)
		}
	})
}

// Users are not left without any node.
func TestLastNodeGoesIntoQuarantineAfterItsReplacement(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		victim := r.running("r1")[0]
		op := r.submit(Request{Kind: KindQuarantine, Nodes: []string{victim}, For: time.Hour})
		r.until("the quarantine", func(*State) bool {
			if len(r.routed()) == 0 {
				t.Fatal("no node is routed")
			}
			return r.node(victim).State == NodeQuarantined
		})
		r.wait(op)
		if routed := r.routed(); len(routed) != 1 || routed[0] == victim {
			t.Errorf("routed: %v", routed)
		}
	})
}

// Long connections of a node in quarantine end like those of one that leaves, and the node stays.
func TestQuarantineDrains(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		victim := r.running("r1")[0]
		fl := r.state().fleetOf("r1")
		r.router.SetLong(fl.ID.String(), victim, 3)
		r.done(Request{Kind: KindQuarantine, Nodes: []string{victim}, For: time.Hour})
		time.Sleep(9 * time.Minute)
		if table, _ := r.router.Applied(t.Context()); len(table.Closing) > 0 {
			t.Errorf("closed before the time of long connections is over: %+v", table.Closing)
		}
		r.until("they are closed", func(*State) bool {
			table, _ := r.router.Applied(t.Context())
			return len(table.Closing) == 1 && table.Closing[0].Node == victim
		})
		r.router.SetLong(fl.ID.String(), victim, 0)
		time.Sleep(10 * time.Minute)
		if !slices.Contains(r.running("r1"), victim) {
			t.Error("it was shot")
		}
	})
}

func keepOne(c *config.App) {
	c.Fleet.QuarantineOnFailure, c.Fleet.QuarantineFor = 1, config.Duration(90*time.Minute)
}

func TestFirstFailingNodeOfAnAbortedReleaseIsKept(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		r.setSick(image(2), true)
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(3, keepOne)}))
		if op.Failure == nil {
			t.Fatal("a release whose nodes are never healthy went up")
		}
		r.until("the others shot", func(*State) bool { return len(r.running("r2")) == 1 })
		time.Sleep(time.Hour)
		kept := r.running("r2")
		if len(kept) != 1 || r.node(kept[0]).State != NodeQuarantined {
			t.Fatalf("an hour later %v run of r2\n%s", kept, r.describe())
		}
		r.until("its time is over", func(s *State) bool { return len(r.running("r2")) == 0 && len(s.Fleets) == 1 })
	})
}

// A node that ended by itself stays too, with what it left: the first one, not the last.
func TestFirstCrashedNodeOfAnAbortedReleaseIsKept(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		r.setSick(image(2), true)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, keepOne)})
		first := ""
		r.until("the abort", func(*State) bool {
			for _, name := range r.running("r2") {
				if first == "" {
					first = name
				}
				r.driver.Kill(name, fleet.Exit{Code: 3})
			}
			got, err := r.o.Operation(t.Context(), shop, op.ID)
			return err == nil && !got.Ended.IsZero()
		})
		time.Sleep(time.Minute)
		var left []string
		for _, n := range r.driver.All() {
			if n.ID.Fleet.Release == "r2" {
				left = append(left, n.ID.Node)
			}
		}
		n := r.node(first)
		if !slices.Equal(left, []string{first}) || n == nil || n.State != NodeQuarantined || !strings.Contains(n.Reason, "exit code 3") {
			events, _ := r.o.Events(t.Context(), shop, 0, 1000)
			t.Errorf("of r2 there is %v, want %s, in quarantine: %+v\n%s", left, first, n, messages(events))
		}
	})
}

// A person who aborts a release of healthy nodes has nothing to look for in them.
func TestAbortByPersonKeepsNoHealthyNode(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		slow := func(c *config.App) {
			c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(time.Hour)}, {Percent: 100}}
		}
		r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, keepOne, slow)})
		r.until("10 %", func(*State) bool { return r.weights()["r2"] == 10 })
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		r.until("nothing of r2", func(s *State) bool { return len(r.running("r2")) == 0 && len(s.Fleets) == 1 })
	})
}

// The history keeps for how long, and whether it was the end of one.
func TestQuarantineIsRecordedWithItsTime(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		victim := r.quarantine("r1", 90*time.Minute)
		r.done(Request{Kind: KindQuarantine, Nodes: []string{victim}, End: true})
		ops, err := r.o.History(context.Background(), shop)
		if err != nil || len(ops) < 2 {
			t.Fatalf("%d operations, %v", len(ops), err)
		}
		if end, begin := ops[0].Asked, ops[1].Asked; !end.End || end.For != 0 || begin.End || begin.For != 90*time.Minute {
			t.Errorf("asked were %+v, then %+v", begin, end)
		}
	})
}
