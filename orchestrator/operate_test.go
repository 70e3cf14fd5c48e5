package orchestrator

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store/storetest"
)

func wantWeights(r *rig, want map[string]int) {
	r.t.Helper()
	if got := r.weights(); !maps.Equal(got, want) {
		r.t.Fatalf("weights are %v, want %v\n%s", got, want, r.describe())
	}
}

func TestUpBootsHealthyFleetAndRoutes(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		op := r.up(1, 3)
		wantWeights(r, map[string]int{"r1": 100})
		if n := len(r.running("r1")); n != 3 {
			t.Fatalf("%d nodes run, want 3", n)
		}
		if took := op.Ended.Sub(op.At); took > 2*time.Second {
			t.Errorf("up took %s of virtual time", took)
		}
		if again := r.up(1, 3); again.ID != "" || again.Release != "r1" {
			t.Errorf("up with nothing changed began %+v", again)
		}
	})
}

func TestCutoverStepsHoldAndRetire(t *testing.T) {
	steps := func(c *config.App) {
		c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(2 * time.Minute)}, {Percent: 100}}
		c.Cutover.KeepPrevious = config.Duration(10 * time.Minute)
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, steps)
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(2, steps)})
		wantWeights(r, map[string]int{"r1": 100})
		op := r.submit(Request{Kind: KindCutover})
		r.until("10 %", func(*State) bool { return r.weights()["r2"] == 10 })
		op = r.wait(op)
		wantWeights(r, map[string]int{"r2": 100})
		if held := op.Ended.Sub(op.At); held < 2*time.Minute || held > 2*time.Minute+5*time.Second {
			t.Errorf("the cutover took %s, want the hold of 2m", held)
		}
		r.until("r1 warm", func(s *State) bool { return s.fleetOf("r1").State == FleetWarm })
		began := time.Now()
		r.until("r1 shot", func(s *State) bool { return len(s.Fleets) == 1 })
		if warm := time.Since(began); warm < 9*time.Minute || warm > 11*time.Minute {
			t.Errorf("the old fleet was warm for %s, want 10m", warm)
		}
		if left := r.running("r1"); len(left) > 0 {
			t.Errorf("nodes of r1 still run: %v", left)
		}
	})
}

func TestCutoverPercentHoldsThenGoesOn(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(2)})
		r.done(Request{Kind: KindCutover, Percent: 10})
		wantWeights(r, map[string]int{"r1": 90, "r2": 10})
		r.done(Request{Kind: KindCutover})
		wantWeights(r, map[string]int{"r2": 100})
		if _, err := r.try(Request{Kind: KindCutover, Percent: 10}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a share for a release that has everything: %v", err)
		}
		r.done(Request{Kind: KindCutover, Percent: 100})
	})
}

// A share that was asked for by itself is watched by nobody: the cutover that goes on from there holds and judges it first.
func TestCutoverGoesOnFromAStepThatHolds(t *testing.T) {
	steps := func(c *config.App) {
		c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(2 * time.Minute)}, {Percent: 50}, {Percent: 100}}
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, steps)
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(2, steps)})
		r.done(Request{Kind: KindCutover, Percent: 10})
		op := r.done(Request{Kind: KindCutover})
		wantWeights(r, map[string]int{"r2": 100})
		if held := op.Ended.Sub(op.At); held < 119*time.Second {
			t.Errorf("the cutover took %s, want the hold of 2m", held)
		}
	})
}

// up goes on with a release that is launched, or that holds at a share, and begins no other one of the same image.
func TestUpGoesOnWithWhatIsThere(t *testing.T) {
	for name, percent := range map[string]int{"launched": 0, "at 10 %": 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inRig(t, func(t *testing.T, r *rig) {
				hold := func(c *config.App) {
					c.Cutover.Steps = []config.Step{{Percent: 50, Hold: config.Duration(2 * time.Minute)}, {Percent: 100}}
				}
				r.up(1, 2)
				up := Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, hold)}
				r.done(Request{Kind: KindLaunch, Image: up.Image, Config: up.Config})
				if percent > 0 {
					r.done(Request{Kind: KindCutover, Percent: percent})
				}
				for _, dry := range []bool{true, false} {
					up.DryRun = dry
					if p := r.plan(up); p.Kind != KindCutover || p.Release != "r2" || p.Nothing {
						t.Errorf("planned %s of %s", p.Kind, p.Release)
					}
				}
				op := r.submit(up)
				if again := r.submit(up); again.ID != op.ID || op.Kind != KindCutover {
					t.Errorf("up began %s %s, again %s %s", op.Kind, op.ID, again.Kind, again.ID)
				}
				if op = r.wait(op); op.Failure != nil || op.Release != "r2" {
					t.Fatalf("it ended as %s with %+v", op.Release, op.Failure)
				}
				wantWeights(r, map[string]int{"r2": 100})
			})
		})
	}
}

func TestRollbackToWarmFleetBootsNothing(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		r.up(2, 2)
		before := r.running("")
		op := r.done(Request{Kind: KindRollback})
		if op.Release != "r1" || op.Ended.Sub(op.At) > time.Second {
			t.Errorf("rollback to %s took %s", op.Release, op.Ended.Sub(op.At))
		}
		wantWeights(r, map[string]int{"r1": 100})
		if after := r.running(""); len(after) != len(before) {
			t.Errorf("running before %v, after %v", before, after)
		}
		if st := r.state().release("r2").State; st != ReleaseRolledBack {
			t.Errorf("r2 is %s", st)
		}
	})
}

func TestRollbackToGoneFleetBootsSameImage(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		short := func(c *config.App) { c.Cutover.KeepPrevious = 0 }
		r.up(1, 2, short)
		r.up(2, 2, short)
		r.until("r1 shot", func(s *State) bool { return len(s.Fleets) == 1 })
		r.done(Request{Kind: KindRollback})
		wantWeights(r, map[string]int{"r1": 100})
		fl := r.state().fleetOf("r1")
		if fl.ID.Incarnation != 2 || fl.Image != image(1) {
			t.Errorf("booted %s of %s", fl.ID, fl.Image)
		}
	})
}

func TestNeverHealthyImageIsShotAndUsersStay(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		r.setSick(image(2), true)
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2)}))
		if op.Failure == nil || op.Failure.Code != fault.RolledBack {
			t.Fatalf("failure is %+v", op.Failure)
		}
		if len(op.Failure.Logs) == 0 {
			t.Error("the failing nodes' last lines are missing")
		}
		wantWeights(r, map[string]int{"r1": 100})
		r.until("r2 shot", func(s *State) bool { return s.fleetOf("r2") == nil && len(r.running("r2")) == 0 })
		if st := r.state().release("r2").State; st != ReleaseAborted {
			t.Errorf("r2 is %s", st)
		}
	})
}

func TestKeepFailedKeepsNodesUntilNextLaunch(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.setSick(image(2), true)
		r.wait(r.submit(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(2), KeepFailed: true}))
		time.Sleep(5 * time.Minute)
		if n := len(r.running("r2")); n != 2 {
			t.Fatalf("%d nodes of the failed release are kept, want 2\n%s", n, r.describe())
		}
		r.done(Request{Kind: KindLaunch, Image: image(3), Config: shopConfig(1)})
		r.until("r2 shot", func(*State) bool { return len(r.running("r2")) == 0 })
	})
}

func TestCrashingImageGivesUpEarly(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.setSick(image(1), true)
		op := r.submit(Request{Kind: KindLaunch, Image: image(1), Config: shopConfig(1)})
		for range 20 {
			time.Sleep(time.Second)
			for _, name := range r.running("r1") {
				r.driver.Kill(name, fleet.Exit{Code: 3})
			}
		}
		op = r.wait(op)
		if op.Failure == nil || op.Ended.Sub(op.At) > 20*time.Second {
			t.Fatalf("ended after %s with %+v", op.Ended.Sub(op.At), op.Failure)
		}
	})
}

func TestSecondOperationIsRefusedWithWhoAndSince(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.setSick(image(2), true)
		op := r.submit(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1)})
		if same := r.submit(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1)}); same.ID != op.ID {
			t.Errorf("the same launch began %s, want to attach to %s", same.ID, op.ID)
		}
		_, err := r.try(Request{Kind: KindLaunch, Image: image(3), Config: shopConfig(1)})
		if !fault.Is(err, fault.Busy) {
			t.Fatalf("error is %v, want busy", err)
		}
		if back := r.submit(Request{Kind: KindRollback}); back.ID != op.ID {
			t.Errorf("rollback during a launch began %s, want to abort %s", back.ID, op.ID)
		}
		if op = r.wait(op); op.Failure == nil {
			t.Error("the launch was not aborted")
		}
		wantWeights(r, map[string]int{"r1": 100})
	})
}

func TestPauseHoldsTheSplit(t *testing.T) {
	steps := func(c *config.App) {
		c.Cutover.Steps = []config.Step{{Percent: 20, Hold: config.Duration(time.Minute)}, {Percent: 100}}
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, steps)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, steps)})
		r.until("20 %", func(*State) bool { return r.weights()["r2"] == 20 })
		if err := r.steer("pause"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		wantWeights(r, map[string]int{"r1": 80, "r2": 20})
		if err := r.steer("resume"); err != nil {
			t.Fatal(err)
		}
		r.wait(op)
		wantWeights(r, map[string]int{"r2": 100})
	})
}

func TestDestroyShootsEverything(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		r.up(2, 2)
		r.done(Request{Kind: KindDestroy})
		if left := r.running(""); len(left) > 0 {
			t.Errorf("still running: %v", left)
		}
		if w := r.weights(); len(w) > 0 {
			t.Errorf("still routed: %v", w)
		}
		r.up(3, 1)
		wantWeights(r, map[string]int{"r3": 100})
	})
}

// takeLate lets another program take a port that was free when the next launch was asked for.
func (r *rig) takeLate(listen string) {
	r.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
		if c.Method == fleettest.Prepare {
			r.router.TakePort(listen, true)
			r.driver.OnCall(nil)
		}
		return nil
	})
}

func TestRefusedRouteEndsTheOperation(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.takeLate(":8080")
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(1), Config: shopConfig(1)}))
		if op.Failure == nil {
			t.Fatal("the operation succeeded though its port is taken")
		}
		r.until("the fleet to be shot", func(s *State) bool { return len(s.Fleets) == 0 })
		r.router.TakePort(":8080", false)
		r.up(1, 1)
		wantWeights(r, map[string]int{"r2": 100})
	})
}

func TestOneFleetIsKeptWarm(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		for n := range 4 {
			r.up(n+1, 1)
		}
		s := r.until("the earlier fleets to be shot", func(s *State) bool { return len(s.Fleets) == 2 })
		if s.fleetOf("r3") == nil || s.fleetOf("r3").State != FleetWarm {
			t.Errorf("want r3 warm:\n%s", r.describe())
		}
	})
}

// Of two releases that lose the traffic together the one that most users were on is kept warm.
func TestOneOfSeveralIsKeptWarm(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1)})
		r.done(Request{Kind: KindCutover, Percent: 10})
		r.up(3, 1)
		s := r.until("one of them to be shot", func(s *State) bool { return len(s.Fleets) == 2 })
		if fl := s.fleetOf("r1"); fl == nil || fl.State != FleetWarm {
			t.Errorf("want r1 warm:\n%s", r.describe())
		}
	})
}

func TestTakenPortIsNoFailure(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var tries atomic.Int32 // nodes boot at the same time
		r.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
			if c.Method == fleettest.Ensure && tries.Add(1) <= 10 {
				return fault.New(fault.Exists, "port is taken")
			}
			return nil
		})
		r.up(1, 2)
		if fl := r.state().fleetOf("r1"); fl.Failures != 0 || fl.Reason != "" {
			t.Errorf("%d failures, reason %q", fl.Failures, fl.Reason)
		}
	})
}

func TestFleetThatCannotBootIsGivenUp(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.driver.Fail(fleettest.Ensure, fleet.ErrUnavailable)
		op := r.wait(r.submit(Request{Kind: KindLaunch, Image: image(1), Config: shopConfig(1)}))
		if op.Failure == nil || op.Ended.Sub(op.At) > 5*time.Minute {
			t.Errorf("ended after %s with %+v", op.Ended.Sub(op.At), op.Failure)
		}
	})
}

// A store that takes nothing, as on a full disk, stops an operation with a word on why; it goes on when there is room.
func TestJournalThatCannotBeWritten(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		mem := r.store.(*storetest.Memory)
		full := errors.New("no space left on device")
		op := r.submit(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(2)})
		mem.SetFaults(func(verb, _ string) error {
			if verb == "commit" {
				return full
			}
			return nil
		}, nil)
		r.until("a word on the journal", func(s *State) bool {
			ex := s.exclusive()
			return ex != nil && strings.Contains(ex.Waits, "journal") && strings.Contains(ex.Waits, full.Error())
		})
		if got, err := r.o.Operation(t.Context(), shop, op.ID); err != nil || !strings.Contains(got.Waits, full.Error()) {
			t.Errorf("the operation waits for %q, %v", got.Waits, err)
		}
		mem.SetFaults(nil, nil)
		if op = r.wait(op); op.Failure != nil {
			t.Errorf("it failed: %s", op.Failure.Message)
		}
	})
}

// TestStatusAgreesWithItself looks between the publishing of a state and the end of the round.
func TestStatusAgreesWithItself(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		ctx := context.Background()
		var st Status
		var failed error
		err := r.o.call(ctx, func() {
			a := r.o.app(shop)
			s := a.state.clone()
			s.Fleets = append(s.Fleets, &Fleet{ID: fleet.FleetID{App: "shop", Env: "production", Role: Role, Release: "r9", Incarnation: 1}})
			before := a.state
			r.o.publish(a, s)
			st, failed = r.o.Status(ctx, shop)
			r.o.publish(a, before)
		})
		if err = errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
		for _, fl := range st.State.Fleets {
			if _, ok := st.Traffic[fl.ID.String()]; !ok {
				t.Errorf("the status has fleet %s but nothing that is seen of it", fl.ID)
			}
		}
	})
}

// A release that moves the route to a port that somebody else has is rolled back: users stay where they are.
func TestRouteThatMovesToATakenPort(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		r.takeLate(":9090")
		moved := shopConfig(2, func(c *config.App) { c.Route.Listen = ":9090" })
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Config: moved}))
		if op.Failure == nil || op.Failure.Code != fault.RolledBack || !strings.Contains(op.Failure.Message, ":9090") {
			t.Fatalf("it ended with %+v", op.Failure)
		}
		wantWeights(r, map[string]int{"r1": 100})
		if s := r.state(); s.Config.Route.Listen != ":8080" || s.Follows != "r1" {
			t.Errorf("the route is %s of %s", s.Config.Route.Listen, s.Follows)
		}
		r.router.TakePort(":9090", false)
		r.done(Request{Kind: KindUp, Image: image(2), Config: moved})
		table, err := r.router.Applied(t.Context())
		if err != nil || len(table.Routes) != 1 || table.Routes[0].Listen != ":9090" {
			t.Errorf("routes are %+v, %v", table.Routes, err)
		}
	})
}

func TestScaleBeyondReason(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		for _, size := range []int{-1, 0, config.MaxSize + 1} {
			if _, err := r.try(Request{Kind: KindScale, Size: size}); !fault.Is(err, fault.Invalid) {
				t.Errorf("scale to %d: %v", size, err)
			}
		}
		if s := r.state(); s.Size != 0 || len(s.Operations) != 0 {
			t.Errorf("size %d, %d operations", s.Size, len(s.Operations))
		}
	})
}

// An image that cannot be brought into place ends the launch after some tries, and says meanwhile what is wrong. A driver
// that is away is waited for.
func TestImageThatCannotBePrepared(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		why := errors.New("read blob: damaged")
		r.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
			if c.Method == fleettest.Prepare {
				return why
			}
			return nil
		})
		op := r.submit(Request{Kind: KindUp, Image: image(1), Config: shopConfig(1)})
		r.until("a word on the error", func(s *State) bool {
			ex := s.exclusive()
			return ex != nil && strings.Contains(ex.Waits, "damaged")
		})
		if op = r.wait(op); op.Failure == nil || !strings.Contains(op.Failure.Message, "damaged") || op.Ended.Sub(op.At) > time.Minute {
			t.Errorf("it ended after %s with %+v", op.Ended.Sub(op.At), op.Failure)
		}
		why = fleet.ErrUnavailable
		op = r.submit(Request{Kind: KindUp, Image: image(1), Config: shopConfig(1)})
		time.Sleep(2 * time.Minute)
		r.driver.OnCall(nil)
		if op = r.wait(op); op.Failure != nil {
			t.Errorf("it failed: %s", op.Failure.Message)
		}
	})
}

func TestRejectedReleaseIsNamedWhenItComesBack(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.up(2, 1)
		r.done(Request{Kind: KindRollback})
		seen := r.state().EventSeq
		r.up(2, 1)
		events, err := r.o.Events(context.Background(), shop, seen, 100)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(events, func(e Event) bool { return e.Type == "up.note" && strings.Contains(e.Message, "r2") }) {
			t.Errorf("nobody was told that r2 was rolled back: %+v", events)
		}
	})
}

func TestImagesToRollBackToAreKept(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		for n := 2; n < 9; n++ {
			r.setSick(image(n), true)
			r.wait(r.submit(Request{Kind: KindLaunch, Image: image(n), Config: shopConfig(1)}))
		}
		if kept := r.state().rollbackReleases(); len(kept) != 1 || kept[0].Image != image(1) {
			t.Errorf("kept for a rollback: %v", kept)
		}
		if why := r.state().pinned()[images.Digest(image(1))]; !slices.Contains(why, "shop/production r1 serving") {
			t.Errorf("the image of the serving release is pinned for %q", why)
		}
	})
}
