package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator/hook"
)

// withVolume gives the nodes of an app without roles a volume.
func withVolume(writer string) func(*config.App) {
	return func(c *config.App) {
		c.Fleet.Volumes = []config.Volume{{Name: "data", Path: "/srv/data", Writer: writer}}
	}
}

func oneWriter(c *config.App) { withVolume(config.WriterOne)(c) }

// ownVolume gives those of a role one.
func ownVolume(role string) func(map[string]config.Role) {
	return changed(role, func(r *config.Role) {
		r.Fleet.Size = 1
		r.Fleet.Volumes = []config.Volume{{Name: "data", Path: "/srv/data", Writer: config.WriterOne}}
	})
}

// untouched ends a test whose nodes must never have met at a volume.
func (r *rig) untouched() {
	r.t.Helper()
	if refused := r.driver.Refused(); len(refused) > 0 {
		r.t.Errorf("nodes met at a volume: %q", refused)
	}
}

// has checks which node has the volume of a role, and that it is the only one that runs.
func (r *rig) has(role, release string) *Node {
	r.t.Helper()
	s := r.state()
	v, fl := s.volume(role+"/data"), s.fleetIn(release, role)
	if v == nil || fl == nil || len(fl.Nodes) != 1 || v.Fleet != fl.ID.String() || v.Node != fl.Nodes[0].Name {
		r.t.Fatalf("the volume is %+v, of %s\n%s", v, release, r.describe())
	}
	if nodes := slices.DeleteFunc(r.driver.All(), func(n fleet.Node) bool { return n.ID.Fleet.Role != role || n.Presence != fleet.Present }); len(nodes) != 1 || nodes[0].ID.Node != v.Node {
		r.t.Fatalf("there run %v, and %s has the volume", nodes, v.Node)
	}
	return fl.Nodes[0]
}

// order is what was done to nodes and hooks, from a call on.
func (r *rig) order(from int) []string {
	var list []string
	for _, c := range r.driver.Calls()[from:] {
		if c.Method == fleettest.Ensure || c.Method == fleettest.Remove {
			list = append(list, string(c.Method)+" "+c.Fleet.Release)
		}
	}
	return slices.Compact(list)
}

// Everything that may stop the operation comes first; then the old node goes, and only then the new one comes.
func TestVolumeIsHandedOver(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, oneWriter)
		old := r.has(Role, "r1")
		from := len(r.driver.Calls())
		hooked := func(c *config.App) {
			c.Hooks = config.Hooks{BeforeCutover: aHook("smoke"), BeforeStep: aHook("step")}
		}
		r.hooks.answer(stillThere(t, r, old.Name))
		r.up(2, 1, oneWriter, hooked)
		wantWeights(r, map[string]int{"r2": 100})
		r.has(Role, "r2")
		if ran := r.hooks.calls(); len(ran) != 2 {
			t.Errorf("hooks: %q", ran)
		}
		if got := r.order(from); !slices.Equal(got, []string{"Remove r1", "Ensure r2"}) {
			t.Errorf("done was %q", got)
		}
		r.alone()
		r.untouched()

		r.done(Request{Kind: KindRollback})
		wantWeights(r, map[string]int{"r1": 100})
		r.has(Role, "r1")
		r.untouched()
	})
}

func TestHandoverThatFailsGoesBack(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, oneWriter)
		r.setSick(image(2), true)
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, oneWriter), KeepFailed: true}))
		if op.Failure == nil || op.Failure.Code != fault.RolledBack {
			t.Fatalf("the operation ended with %+v", op.Failure)
		}
		wantWeights(r, map[string]int{"r1": 100})
		if n := r.has(Role, "r1"); n.State != NodeHealthy {
			t.Errorf("the old release's node is %s", n.State)
		}
		r.alone()
		r.untouched()
		r.up(3, 1, oneWriter)
		r.has(Role, "r3")
	})
}

// What goes wrong after the handover, in the hold, gives the volume back too.
func TestAbortAfterHandover(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, oneWriter)
		held := func(c *config.App) { c.Cutover.Steps[0].Hold = config.Duration(time.Hour) }
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, oneWriter, held)})
		r.until("the hold", func(s *State) bool { return s.exclusive() != nil && s.exclusive().Phase == PhaseHold })
		r.has(Role, "r2")
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		if op := r.wait(op); op.Failure == nil || op.Failure.Code != fault.RolledBack {
			t.Errorf("the operation ended with %+v", op.Failure)
		}
		r.has(Role, "r1")
		wantWeights(r, map[string]int{"r1": 100})
		r.untouched()
	})
}

// The lease ends when the driver says that the node is gone, and not because nobody knows.
func TestLeaseOfAnUnknownNodeStays(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, oneWriter)
		old := r.has(Role, "r1")
		op := r.submit(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, oneWriter)})
		if op = r.wait(op); op.Failure != nil {
			t.Fatal(op.Failure.Message)
		}
		r.driver.Fail(fleettest.Remove, fleet.ErrUnavailable)
		r.driver.SetPresence(old.Name, fleet.Unknown)
		op = r.submit(Request{Kind: KindCutover})
		r.until("the handover", func(s *State) bool { return s.volume("web/data").Fleet != s.fleetIn("r1", Role).ID.String() })
		time.Sleep(90 * time.Second)
		if v := r.state().volume("web/data"); v.Node != old.Name {
			t.Errorf("%s has the volume, though nobody knows of %s", v.Node, old.Name)
		}
		if names := r.running("r2"); len(names) > 0 {
			t.Errorf("of the new release there run %v", names)
		}
		r.driver.Fail(fleettest.Remove, nil)
		r.driver.SetPresence(old.Name, fleet.Present)
		r.wait(op)
		r.untouched()
	})
}

// An agent that dies anywhere in a handover is followed by one that ends it.
func TestHandoverSurvivesTheAgent(t *testing.T) {
	for _, after := range []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, time.Second, 1500 * time.Millisecond, 2 * time.Second, 3 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				r.up(1, 1, oneWriter)
				op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, oneWriter)})
				for range 5 {
					time.Sleep(after)
					r.stop()
					r.driver = r.driver.Reopen("")
					r.start()
				}
				if op := r.wait(op); op.Failure != nil {
					t.Fatal(op.Failure.Message)
				}
				r.has(Role, "r2")
				wantWeights(r, map[string]int{"r2": 100})
				r.untouched()
			})
		})
	}
}

// A node that has ended is made up for when it is gone, and one that is replaced goes first.
func TestNodeWithVolumeIsReplaced(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, oneWriter)
		first := r.has(Role, "r1")
		r.driver.Kill(first.Name, fleet.Exit{Code: 1})
		healthy := func(s *State) bool {
			fl := s.fleetIn("r1", Role)
			return len(fl.Nodes) == 1 && fl.Nodes[0].State == NodeHealthy && fl.Nodes[0].Name != first.Name
		}
		r.until("another node", healthy)
		second := r.has(Role, "r1")
		r.done(Request{Kind: KindReplace, Nodes: []string{second.Name}})
		first = second
		r.until("another node", healthy)
		r.has(Role, "r1")
		_, err := r.try(Request{Kind: KindQuarantine, Nodes: []string{r.has(Role, "r1").Name}})
		refused(t, err, fault.Denied, "one writer")
		_, err = r.try(Request{Kind: KindScale, Size: 2})
		refused(t, err, fault.Invalid, "one writer")
		r.untouched()
	})
}

func TestVolumesThatDoNotFitAreRefused(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, oneWriter)
		_, err := r.try(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, withVolume(config.WriterMany))})
		refused(t, err, fault.Denied, "web/data", "destroy --volumes")
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, oneWriter)})
		_, err = r.try(Request{Kind: KindCutover, Percent: 50})
		refused(t, err, fault.Denied, "all of the traffic or none")
	})
}

// Volumes of earlier releases stay on record, so there is an end to new ones.
func TestVolumesAreNotWithoutEnd(t *testing.T) {
	named := func(from, to int) func(*config.App) {
		return func(c *config.App) {
			for i := from; i < to; i++ {
				c.Fleet.Volumes = append(c.Fleet.Volumes, config.Volume{Name: fmt.Sprintf("v%d", i), Path: fmt.Sprintf("/srv/%d", i), Writer: config.WriterMany})
			}
		}
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, named(0, mostVolumes/2))
		r.up(2, 1, named(mostVolumes/2, mostVolumes))
		_, err := r.try(Request{Kind: KindUp, Image: image(3), Config: shopConfig(1, named(mostVolumes, mostVolumes+1))})
		refused(t, err, fault.Denied, "there would be 101", "destroy --volumes")
		r.up(3, 1, named(0, mostVolumes))
	})
}

// Shares of the others move step by step; the volume goes with the last one, after all approvals.
func TestVolumeGoesWithTheLastStep(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		roles := withRoles(ownVolume("api"), ownVolume("worker"))
		r.up(1, 2, roles)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, roles, approvals)})
		r.until("the gate", func(s *State) bool { return s.exclusive() != nil && s.exclusive().Gate == "ops" })
		r.has("api", "r1")
		r.has("worker", "r1")
		if s := r.state(); s.serving().ID.Release != "r1" || s.fleet(s.exclusive().Fleet).ID.Role != "web" {
			t.Errorf("%s serves, and %s leads", s.serving().ID, s.exclusive().Fleet)
		}
		if split := r.split(); split["web"]["r2"] != 10 || split["api:internal"]["r1"] != 100 {
			t.Errorf("the split is %v", split)
		}
		for _, who := range []string{"bob", "anybody"} {
			r.until("a gate", func(s *State) bool { return s.exclusive() != nil && s.exclusive().Gate != "" })
			r.has("api", "r1")
			if err := r.approve(who); err != nil {
				t.Fatal(err)
			}
		}
		if op := r.wait(op); op.Failure != nil {
			t.Fatal(op.Failure.Message)
		}
		r.has("api", "r2")
		r.has("worker", "r2")
		r.until("the old ones to be gone", func(s *State) bool {
			return len(s.Operations) == 0 && s.fleetIn("r1", "api") == nil && s.fleetIn("r1", "worker") == nil
		})

		r.done(Request{Kind: KindRollback})
		r.has("api", "r1")
		r.has("worker", "r1")
		r.untouched()
	})
}

// A worker comes back after the traffic did.
func TestRollbackOfAWorkerWithVolume(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		roles := withRoles(ownVolume("worker"))
		r.up(1, 2, roles)
		r.up(2, 2, roles)
		r.has("worker", "r2")
		r.done(Request{Kind: KindRollback})
		r.has("worker", "r1")
		r.untouched()
	})
}

// Volumes stay over everything but the word that removes them.
func TestDestroyKeepsVolumes(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		kept := func() int {
			list, err := r.driver.Volumes(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		r.up(1, 1, oneWriter)
		r.done(Request{Kind: KindDestroy})
		events, err := r.o.Events(context.Background(), shop, 0, 1000)
		if err != nil || !strings.Contains(events[len(events)-1].Message, "web/data (release destroy --volumes") {
			t.Errorf("the end is %q, %v", events[len(events)-1].Message, err)
		}
		if s := r.state(); kept() != 1 || len(s.Volumes) != 1 || s.Volumes[0].Node != "" && len(s.Fleets) > 0 {
			t.Errorf("kept are %d, on record %+v", kept(), s.Volumes)
		}
		r.up(2, 1, oneWriter)
		r.has(Role, "r2")
		for range 2 { // the second time there is a volume of the same name again
			r.driver.Fail(fleettest.RemoveVolume, fleet.ErrUnavailable)
			op := r.submit(Request{Kind: KindDestroy, Volumes: true})
			time.Sleep(time.Minute)
			r.driver.Fail(fleettest.RemoveVolume, nil)
			r.wait(op)
			if s := r.state(); kept() != 0 || len(s.Volumes) != 0 {
				t.Errorf("kept are %d, on record %+v", kept(), s.Volumes)
			}
			r.up(3, 1, oneWriter)
		}
		r.done(Request{Kind: KindDestroy})
		r.done(Request{Kind: KindDestroy, Volumes: true}) // nothing runs any more
		if kept() != 0 {
			t.Error("the volume is still there")
		}
	})
}

// A volume that cannot be removed ends the destroy, with a person told, and stays on record for the next one.
func TestVolumeThatCannotBeRemoved(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, oneWriter)
		r.driver.Fail(fleettest.RemoveVolume, fault.New(fault.Busy, "somebody else has it"))
		op := r.wait(r.submit(Request{Kind: KindDestroy, Volumes: true}))
		if op.Failure == nil || op.Failure.Code != fault.NeedsPerson || !strings.Contains(op.Failure.Message, "web/data is not removed: ") {
			t.Fatalf("it ended with %+v", op.Failure)
		}
		if s := r.state(); len(s.Fleets) != 0 || len(s.Volumes) != 1 {
			t.Errorf("on record are %d fleets and %d volumes", len(s.Fleets), len(s.Volumes))
		}
		r.driver.Fail(fleettest.RemoveVolume, nil)
		r.done(Request{Kind: KindDestroy, Volumes: true})
		if s := r.state(); len(s.Volumes) != 0 {
			t.Errorf("still on record: %+v", s.Volumes)
		}
	})
}

// All nodes of a role have a volume of many writers, those of tasks too; one with one writer no task has.
func TestVolumesOfTasks(t *testing.T) {
	for writer, want := range map[string]int{config.WriterMany: 1, config.WriterOne: 0} {
		inRig(t, func(t *testing.T, r *rig) {
			r.up(1, 1, withVolume(writer))
			task, err := r.o.RunTask(context.Background(), TaskRequest{Key: shop, By: "ann", Command: sleeps})
			if err != nil {
				t.Fatal(err)
			}
			r.until("the task to run", func(s *State) bool { return s.task(task.ID).Phase == TaskRunning && r.driver.Boots(task.Node) == 1 })
			if spec, _ := r.driver.SpecOf(task.Node); len(spec.Volumes) != want {
				t.Errorf("writer %s: the task has %v", writer, spec.Volumes)
			}
			r.up(2, 1, withVolume(writer))
			if err := r.o.StopTask(context.Background(), shop, task.ID, "ann"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A plan says beforehand when nobody does the work of a role.
func TestPlanSaysTheGap(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, oneWriter)
		p := r.plan(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, oneWriter)})
		if len(p.Gaps) != 1 || !strings.Contains(p.Gaps[0], "web/data goes from r1 to r2") || p.Waits != "" {
			t.Errorf("the gaps are %q, it waits for %q", p.Gaps, p.Waits)
		}
		if p = r.plan(Request{Kind: KindScale, Size: 1}); len(p.Gaps) != 0 {
			t.Errorf("a scale has the gaps %q", p.Gaps)
		}
	})
	inRig(t, func(t *testing.T, r *rig) {
		images := map[string]string{"db": image(500)}
		r.done(Request{Kind: KindUp, Image: image(1), Images: images, Config: shopConfig(1, withRoles(database("1"), ownVolume("db")))})
		r.has("db", "r1")
		req := Request{Kind: KindUp, Image: image(2), Images: images, Config: shopConfig(1, withRoles(database("2"), ownVolume("db")))}
		p := r.plan(req)
		if len(p.Gaps) != 1 || !strings.Contains(p.Gaps[0], "r2 db is changed") {
			t.Errorf("the gaps are %q", p.Gaps)
		}
		r.done(req)
		r.has("db", "r2")
		r.untouched()
	})
}

// stillThere are hooks that find the old node serving while they run.
func stillThere(t *testing.T, r *rig, node string) func(context.Context, hook.Command, func(string)) (hook.Exit, error) {
	return func(_ context.Context, c hook.Command, _ func(string)) (hook.Exit, error) {
		time.Sleep(10 * time.Second)
		if names := r.running("r1"); !slices.Contains(names, node) {
			t.Errorf("at %s there run %v", c.Env["RELEASE_HOOK_POINT"], names)
		}
		return hook.Exit{}, nil
	}
}

// A node whose boot is under way may come to be though nobody wants it any more: until it is known the volume is its own.
func TestAbortDuringTheBoot(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, oneWriter)
		op := r.submit(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, oneWriter)})
		r.wait(op)
		release := r.driver.Hang(fleettest.Ensure)
		op = r.submit(Request{Kind: KindCutover})
		r.until("the boot", func(s *State) bool {
			calls := r.driver.Calls()
			return slices.ContainsFunc(calls, func(c fleettest.Call) bool { return c.Method == fleettest.Ensure && c.Fleet.Release == "r2" })
		})
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		release()
		r.wait(op)
		r.has(Role, "r1")
		r.untouched()
	})
}

// Where a machine is given up for good, what lay there is gone, and said to be.
func TestVolumesOfAMachineThatIsGone(t *testing.T) {
	s := &State{Key: shop, Volumes: []*Volume{
		{Role: Role, Name: "data", Driver: "sandbox", Scope: "on a", One: true}, {Role: Role, Name: "other", Driver: "docker", Scope: "on a"},
	}}
	r := &round{s: s.clone()}
	if ids := r.lose(map[string]string{"web/data": "on b"}, "a", "ann"); len(ids) != 1 || ids[0] != "shop/production/web/data" {
		t.Errorf("lost are %q", ids)
	}
	if v := r.s.Volumes; v[0].Scope != "on b" || v[1].Scope != "on a" || s.Volumes[0].Scope != "on a" {
		t.Errorf("the volumes are %+v and %+v", v[0], v[1])
	}
	if len(r.events) != 1 || r.events[0].Type != "volume.lost" || !strings.Contains(r.events[0].Message, "web/data was on a") {
		t.Errorf("said is %+v", r.events)
	}
}
