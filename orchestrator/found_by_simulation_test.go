package orchestrator

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/store/storetest"
)

// What the simulation has found, each in its plainest form.

// A replacement that is on its way counts once: what dies meanwhile, or is asked for more, is booted too.
func TestReplacementIsNotCountedTwice(t *testing.T) {
	for name, meanwhile := range map[string]func(r *rig, other string) (size int){
		"another node dies": func(r *rig, other string) int {
			r.driver.Kill(other, fleet.Exit{Code: 137, Signal: "KILL"})
			return 3
		},
		"the size grows": func(r *rig, _ string) int {
			r.submit(Request{Kind: KindScale, Size: 4})
			return 4
		},
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				r.up(1, 3)
				names := r.running("")
				release := r.driver.Hang(fleettest.Ensure)
				op := r.submit(Request{Kind: KindReplace, Nodes: names[:1]})
				time.Sleep(time.Second)
				size := meanwhile(r, names[1])
				time.Sleep(time.Second)
				release()
				r.wait(op)
				r.until("the fleet to be whole", func(s *State) bool {
					return len(s.Operations) == 0 && s.serving().healthy() == size && len(s.serving().Nodes) == size
				})
			})
		})
	}
}

// A leader that missed the end of its lease sees the table of the next one, and does not apply its own over it.
func TestLateLeaderLeavesTheTableOfTheNext(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		late, ended := r.o, make(chan struct{})
		r.store = ownLease{Store: r.store, epoch: late.epoch + 1}
		r.driver = r.driver.Reopen("")
		go func() { <-late.over; close(ended) }()
		r.start()
		r.up(2, 2)
		want := r.weights()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the late leader goes on")
		}
		if got := r.weights(); got["r2"] != want["r2"] || want["r2"] != 100 {
			t.Errorf("the weights are %v, were %v", got, want)
		}
	})
}

// A table that an earlier leader sent may come late: nothing is shot before the edges have one of the present leader.
func TestLateTableOfAnEarlierLeader(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, coldAtOnce)
		before, err := r.router.Applied(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.submit(Request{Kind: KindScale, Size: 1})
		r.until("one to leave", func(s *State) bool { return len(r.running("")) == 1 })
		after, err := r.router.Applied(t.Context())
		if err != nil || after.Version == before.Version {
			t.Fatalf("table %s after %s, %v", after.Version, before.Version, err)
		}
		r.stop()
		r.driver = r.driver.Reopen("")
		r.start()
		r.submit(Request{Kind: KindReplace, Nodes: r.running("")})
		var shot atomic.Bool
		r.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
			if c.Method == fleettest.Remove && shot.CompareAndSwap(false, true) {
				before.Version = router.Version{Epoch: after.Version.Epoch, Seq: after.Version.Seq + 1}
				if err := r.router.Apply(context.Background(), before); !errors.Is(err, router.ErrStale) {
					t.Errorf("a late table: %v, want %v", err, router.ErrStale)
				}
			}
			return nil
		})
		r.until("the replacement", func(s *State) bool { return shot.Load() && len(s.Operations) == 0 })
	})
}

// A write that was made though nobody said so is found out, also when it is the first of its app.
func TestWriteWithoutAnAnswer(t *testing.T) {
	for _, second := range []bool{false, true} {
		inRig(t, func(t *testing.T, r *rig) {
			mem := r.store.(*storetest.Memory)
			if second {
				r.up(1, 1)
			}
			lost := false
			mem.SetFaults(nil, func(op, key string) error {
				if op == "commit" && !lost && key == stateKey(shop) {
					lost = true
					return errors.New("no answer")
				}
				return nil
			})
			if _, err := r.try(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2)}); err == nil || !lost {
				t.Fatalf("up: %v", err)
			}
			s := r.until("it to be done all the same", func(s *State) bool {
				return len(s.Operations) == 0 && s.serving() != nil && s.serving().Image == image(2)
			})
			if s.serving().healthy() != 2 || r.o.world.unsure[shop] {
				t.Errorf("%d nodes are healthy", s.serving().healthy())
			}
		})
	}
}

// What was decided while a write had no answer is not written over it.
func TestDecidedBeforeTheAnswer(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		var second error
		done := make(chan struct{})
		lost := false
		r.store.(*storetest.Memory).SetFaults(nil, func(op, key string) error {
			if op != "commit" || lost || key != stateKey(shop) {
				return nil
			}
			lost = true
			go func() {
				defer close(done)
				_, second = r.try(Request{Kind: KindScale, Size: 3})
			}()
			synctest.Wait() // it is decided for in the same turn of the loop
			return errors.New("no answer")
		})
		if _, err := r.try(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2)}); err == nil {
			t.Fatal("a write without answer is taken for made")
		}
		<-done
		if !fault.Is(second, fault.Unavailable) {
			t.Errorf("the second request: %v", second)
		}
		s := r.until("the first to be done", func(s *State) bool { return len(s.Operations) == 0 && s.serving().Image == image(2) })
		if r.until("rest", func(s *State) bool { return s.serving().healthy() == 2 }); s.Size != 0 {
			t.Errorf("the size is %d", s.Size)
		}
	})
}

// The time for the requests of a node counts from when the edges have the table without it.
func TestTimeOfANodeCountsFromItsLeaving(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		name := r.running("")[0]
		r.router.SetInFlight(r.state().serving().ID.String(), name, 5)
		r.router.FailApply(router.ErrUnavailable)
		r.submit(Request{Kind: KindReplace, Nodes: []string{name}})
		time.Sleep(45 * time.Second) // longer than the whole time that it has
		r.router.FailApply(nil)
		left := time.Now()
		var shot atomic.Int64 // when, in Unix nanoseconds
		r.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
			if c.Method == fleettest.Remove {
				shot.CompareAndSwap(0, time.Now().UnixNano())
			}
			return nil
		})
		r.until("the node to be shot", func(*State) bool { return shot.Load() != 0 })
		if took := time.Unix(0, shot.Load()).Sub(left); took < 28*time.Second || took > 35*time.Second {
			t.Errorf("it had %s after it left the table, want about 30 s", took)
		}
	})
}

// A reading that is older than the newest table cannot tell that an edge has caught up.
func TestOlderReadingsHoldWhatWasHeld(t *testing.T) {
	e := newEdgesSeen()
	obs := router.Observation{Edges: []router.Edge{{ID: "far", Confirmed: router.Version{Epoch: 1, Seq: 1}, Nodes: []router.NodeTraffic{{Fleet: "f", Node: "n"}}}}}
	e.hold(obs, router.Version{Epoch: 1, Seq: 2}, true)
	e.hold(obs, router.Version{}, false)
	if e.held["n"] == "" {
		t.Error("an older reading let go of what an edge may still route to")
	}
	obs.Edges[0].Confirmed.Seq = 2
	if e.hold(obs, router.Version{Epoch: 1, Seq: 2}, true); e.held["n"] != "" {
		t.Errorf("it is held though the edge has caught up: %s", e.held["n"])
	}
}

// A boot that fails for good says nothing of the one that an earlier agent began: what runs is not called dead.
func TestFailedBootOfWhatRuns(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var op Operation
		unheard(r, func() { op = r.submit(Request{Kind: KindUp, Image: image(1), Config: shopConfig(2)}) })
		before := r.running("")
		if op = r.wait(op); op.Failure != nil || len(before) != 2 || !slices.Equal(r.running(""), before) {
			t.Errorf("%v run, then %v, up failed: %v", before, r.running(""), op.Failure)
		}
	})
}

// Nor is a command that runs called one that was never begun.
func TestFailedBootOfACommandThatRuns(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		var task Task
		unheard(r, func() { task = r.task(TaskRequest{Command: sleeps}) })
		s := r.until("it to be on record as started", func(s *State) bool { return s.task(task.ID) == nil || s.task(task.ID).Fleet.Nodes[0].Booted })
		if s.task(task.ID) == nil || len(r.running("")) != 2 {
			t.Fatalf("%v run, the task ended: %+v", r.running(""), r.ended(task).Failure)
		}
		r.driver.Kill(task.Node, fleet.Exit{Code: 6})
		if end := r.ended(task); end.Code != 6 || end.Failure != nil {
			t.Errorf("ended as %+v", end)
		}
	})
}

// unheard begins something and ends the agent when it has booted nodes and not said so anywhere. The next agent cannot boot any.
func unheard(r *rig, begin func()) {
	r.t.Helper()
	var booted, refuse atomic.Bool
	r.driver.OnCall(func(ctx context.Context, c fleettest.Call) error {
		switch {
		case c.Method == fleettest.Nodes:
			sleep(ctx, 300*time.Millisecond) // later than a boot
		case c.Method == fleettest.Ensure && refuse.Load():
			return errors.New("it does not boot")
		case c.Method == fleettest.Ensure:
			booted.Store(true)
		}
		return nil
	})
	r.store.(*storetest.Memory).SetFaults(func(op, _ string) error {
		if op == "commit" && booted.Load() && !refuse.Load() {
			return errors.New("the disk is full")
		}
		return nil
	}, nil)
	begin()
	time.Sleep(time.Second)
	r.stop()
	refuse.Store(true)
	r.driver = r.driver.Reopen("")
	r.start()
}

// A router that refuses a route has time to take it after all: what counts is for how long it was asked, not for how long the
// agent waited for its own store meanwhile.
func TestRefusedOnceWhileTheStoreHangs(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.takeLate(":8080")
		hung := false
		r.store.(*storetest.Memory).SetFaults(func(op, key string) error {
			if op == "commit" && key == stateKey(shop) && !hung && len(r.o.world.table.refused) > 0 { // this is the loop
				hung = true
				r.router.TakePort(":8080", false)
				time.Sleep(2 * refusedFor)
			}
			return nil
		}, nil)
		if r.up(1, 1); !hung {
			t.Error("the store did not hang")
		}
	})
}

// The time for closing the connections of a node counts from when the edges have the table that asks for it.
func TestTimeForClosingCountsFromTheTable(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		within := 5 * time.Second
		r.up(1, 2, func(c *config.App) {
			c.Cutover.Drain.LongConnections, c.Cutover.Drain.CloseWithin = config.Duration(10*time.Second), config.Duration(within)
		})
		r.router.Deafen(true)
		name := r.running("")[0]
		r.router.SetInFlight(r.state().serving().ID.String(), name, 3)
		r.router.SetLong(r.state().serving().ID.String(), name, 3)
		r.submit(Request{Kind: KindReplace, Nodes: []string{name}})
		r.until("the node to be out of the table", func(*State) bool { return !slices.Contains(r.routed(), name) })
		r.router.FailApply(router.ErrUnavailable)
		time.Sleep(time.Minute)
		r.router.FailApply(nil)
		asked := time.Now()
		var shot atomic.Int64 // when, in Unix nanoseconds
		r.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
			if c.Method == fleettest.Remove {
				shot.CompareAndSwap(0, time.Now().UnixNano())
			}
			return nil
		})
		if !slices.Contains(r.running(""), name) {
			t.Fatal("it is shot before any edge was asked to close its connections")
		}
		r.until("the node to be shot", func(*State) bool { return shot.Load() != 0 })
		if took := time.Unix(0, shot.Load()).Sub(asked); took < within || took > within+closeSlack+3*time.Second {
			t.Errorf("it is shot %s after the edges were asked to close its connections, which take up to %s", took, within)
		}
	})
}
