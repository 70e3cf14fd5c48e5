package orchestrator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// withRoles makes the app one of two routed roles, the second for the first only, and a worker.
func withRoles(change ...func(roles map[string]config.Role)) func(*config.App) {
	return func(c *config.App) {
		internal := c.Route
		internal.Listen = ""
		part := func(r config.Role) config.Role {
			r.Fleet, r.Health = c.Fleet, c.Health
			return r
		}
		public := c.Route
		worker := part(config.Role{Command: []string{"/app", "work"}})
		worker.Health.Exec = &config.ExecCheck{Command: []string{"/app", "well"}} // nothing else tells of a role without a route
		roles := map[string]config.Role{
			"web":    part(config.Role{Needs: []string{"api"}, Route: &public}),
			"api":    part(config.Role{Internal: true, Route: &internal}),
			"worker": worker,
		}
		for _, ch := range change {
			ch(roles)
		}
		c.Roles, c.Fleet, c.Health, c.Route = roles, config.Fleet{}, config.Health{}, config.Route{}
	}
}

// changed makes a change of one role.
func changed(name string, change func(*config.Role)) func(map[string]config.Role) {
	return func(roles map[string]config.Role) {
		role := roles[name]
		change(&role)
		roles[name] = role
	}
}

// without takes a role away, and whoever needs it does not any more.
func without(name string) func(map[string]config.Role) {
	return func(roles map[string]config.Role) {
		delete(roles, name)
		for other, role := range roles {
			role.Needs = slices.DeleteFunc(slices.Clone(role.Needs), func(need string) bool { return need == name })
			roles[other] = role
		}
	}
}

// database is an accessory on an image of its own.
func database(version string) func(map[string]config.Role) {
	return func(roles map[string]config.Role) {
		db := roles["worker"]
		route := *roles["api"].Route
		route.Protocol, route.NodeHTTP = config.ProtocolTCP, ""
		db.Command, db.Accessory, db.Internal, db.Route = []string{"/db", version}, true, true, &route
		db.Fleet.Size = 1
		roles["db"] = db
	}
}

// split is what the router has: by route's role and mark, percent by release.
func (r *rig) split() map[string]map[string]int {
	r.t.Helper()
	table, err := r.router.Applied(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return splitOf(table)
}

func splitOf(table router.Table) map[string]map[string]int {
	out := map[string]map[string]int{}
	for _, route := range table.Routes {
		name := strings.TrimPrefix(route.Name, shop.String()+"/")
		out[name] = map[string]int{}
		for _, fl := range route.Fleets {
			if fl.Weight > 0 {
				out[name][fl.Release] = fl.Weight
			}
		}
	}
	return out
}

// of are the names of the nodes that the driver runs, of a release's role.
func (r *rig) of(release, role string) []string {
	var names []string
	for _, n := range r.driver.All() {
		if n.Presence == fleet.Present && n.ID.Fleet.Release == release && n.ID.Fleet.Role == role {
			names = append(names, n.ID.Node)
		}
	}
	return names
}

func wantSplit(r *rig, want map[string]map[string]int) {
	r.t.Helper()
	if got := r.split(); !maps.EqualFunc(got, want, maps.Equal) {
		r.t.Fatalf("the router has %v, want %v\n%s", got, want, r.describe())
	}
}

func both(split map[string]int) map[string]map[string]int {
	return map[string]map[string]int{"web": split, "web:internal": split, "api:internal": split}
}

func TestRolesBootInTheirOrderAndServeTogether(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var order []string
		r.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
			if c.Method != fleettest.Ensure {
				return nil
			}
			role := c.Fleet.Role
			if !slices.Contains(order, role) {
				order = append(order, role)
			}
			if role == "web" && len(r.of("r1", "api")) != 2 {
				t.Error("web boots before api is there")
			}
			return nil
		})
		r.up(1, 2, withRoles())
		wantSplit(r, both(map[string]int{"r1": 100}))
		if slices.Index(order, "web") < slices.Index(order, "api") {
			t.Errorf("they booted in the order %v", order)
		}
		s := r.state()
		if s.atRest() != (len(s.Operations) == 0) || len(s.Fleets) != 3 {
			t.Errorf("state is %s", r.describe())
		}
		spec, _ := r.driver.SpecOf(r.of("r1", "web")[0])
		api := s.Addresses["api"].Address
		if spec.Env["RELEASE_ADDR_API"] != api || !strings.HasPrefix(api, "127.0.0.1:2") || spec.Env["RELEASE_ADDR_WEB"] != "" {
			t.Errorf("web is given %v, api is at %s", spec.Env, api)
		}
		work, _ := r.driver.SpecOf(r.of("r1", "worker")[0])
		if work.Env["RELEASE_ADDR_WEB"] != s.Addresses["web"].Address || work.Command[1] != "work" {
			t.Errorf("worker is given %v %v", work.Command, work.Env)
		}
		if again := r.up(1, 2, withRoles()); again.ID != "" {
			t.Errorf("up with nothing changed began %+v", again)
		}
	})
}

// Every table gives all routed roles the same split.
func TestRolesShiftInOneTable(t *testing.T) {
	steps := func(c *config.App) {
		c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(time.Minute)}, {Percent: 50, Hold: config.Duration(time.Minute)}, {Percent: 100}}
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, steps, withRoles())
		address := r.state().Addresses["api"]
		seen := map[int]bool{}
		r.router.OnApply(func(table router.Table) {
			split := splitOf(table)
			for name, of := range split {
				if !maps.Equal(of, split["web"]) {
					t.Errorf("table %s splits %s %v and web %v", table.Version, name, of, split["web"])
				}
			}
			seen[split["web"]["r2"]] = true
		})
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(2, steps, withRoles())})
		wantSplit(r, both(map[string]int{"r1": 100}))
		if n := len(r.of("r2", "worker")); n != 2 {
			t.Errorf("%d workers of r2 run after its launch, want all 2", n)
		}
		r.done(Request{Kind: KindCutover})
		wantSplit(r, both(map[string]int{"r2": 100}))
		if !seen[10] || !seen[50] || !seen[100] {
			t.Errorf("the steps were %v", seen)
		}
		if got := r.state().Addresses["api"]; got != address {
			t.Errorf("api moved from %v to %v", address, got)
		}
		r.until("the old workers to be gone", func(*State) bool { return len(r.of("r1", "worker")) == 0 })
		s := r.state()
		if s.fleetIn("r1", "web") == nil || s.fleetIn("r1", "api") == nil || s.fleetIn("r1", "worker") != nil {
			t.Errorf("the routed fleets stay warm, the workers do not:\n%s", r.describe())
		}
		r.until("the old release to be gone", func(s *State) bool { return len(s.Fleets) == 3 })
	})
}

// A role that never becomes healthy ends the launch of all.
func TestRoleThatFailsItsGateAbortsTheRelease(t *testing.T) {
	for _, role := range []string{"web", "api", "worker"} {
		t.Run(role, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				r.up(1, 2, withRoles())
				r.setSick(image(9), true)
				op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Images: map[string]string{role: image(9)}, Config: shopConfig(2, withRoles())}))
				if op.Failure == nil || op.Failure.Code != fault.RolledBack || !strings.Contains(op.Failure.Message, "r2 "+role) {
					t.Fatalf("the operation ended with %+v", op.Failure)
				}
				wantSplit(r, both(map[string]int{"r1": 100}))
				r.until("r2 to be gone", func(*State) bool { return len(r.running("r2")) == 0 })
				if n := len(r.running("r1")); n != 6 {
					t.Errorf("%d nodes of r1 run, want 6", n)
				}
			})
		})
	}
}

// A role that gets bad on the way takes all of them back.
func TestRoleThatDiesInACutoverAbortsTheRelease(t *testing.T) {
	steps := func(c *config.App) {
		c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(5 * time.Minute)}, {Percent: 100}}
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, steps, withRoles())
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, steps, withRoles())})
		r.until("10 %", func(*State) bool { return r.split()["web"]["r2"] == 10 })
		for _, name := range r.of("r2", "worker") {
			r.setSick(name, true)
		}
		op = r.wait(op)
		if op.Failure == nil || !strings.Contains(op.Failure.Message, "r2 worker") {
			t.Fatalf("the operation ended with %+v", op.Failure)
		}
		wantSplit(r, both(map[string]int{"r1": 100}))
		r.until("r2 to be gone", func(s *State) bool { return len(s.Fleets) == 3 })
	})
}

// A rollback routes back at once; the old workers boot again, then the new ones are ended.
func TestRollbackOfRoles(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, withRoles())
		r.up(2, 2, withRoles())
		r.until("the old workers to be gone", func(*State) bool { return len(r.of("r1", "worker")) == 0 })
		r.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
			if c.Method == fleettest.Remove && c.Fleet.Role == "worker" && c.Fleet.Release == "r2" && len(r.of("r1", "worker")) != 2 {
				t.Error("the new workers are ended before the old ones run")
			}
			return nil
		})
		began := time.Now()
		op := r.submit(Request{Kind: KindRollback})
		r.until("the traffic to be back", func(*State) bool { return r.split()["web"]["r1"] == 100 })
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s to route back", took)
		}
		r.wait(op)
		if len(r.of("r1", "worker")) != 2 {
			t.Errorf("workers of r1 do not run again:\n%s", r.describe())
		}
		r.until("the new workers to be ended", func(*State) bool { return len(r.of("r2", "worker")) == 0 })
		wantSplit(r, both(map[string]int{"r1": 100}))
		if st := r.state().release("r2").State; st != ReleaseRolledBack {
			t.Errorf("r2 is %s", st)
		}
	})
}

// Workers that do not come back do not take the traffic away again: a person is told.
func TestRollbackWhoseWorkersDoNotBoot(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.done(Request{Kind: KindUp, Image: image(1), Images: map[string]string{"worker": image(9)}, Config: shopConfig(2, withRoles())})
		r.up(2, 2, withRoles())
		r.until("the old workers to be gone", func(*State) bool { return len(r.of("r1", "worker")) == 0 })
		r.setSick(image(9), true)
		op := r.wait(r.submit(Request{Kind: KindRollback}))
		if op.Failure == nil || op.Failure.Code != fault.NeedsPerson || !strings.Contains(op.Failure.Message, "r1 worker") {
			t.Fatalf("the rollback ended with %+v", op.Failure)
		}
		wantSplit(r, both(map[string]int{"r1": 100}))
		r.setSick(image(9), false)
		r.until("the workers to come back", func(s *State) bool { return s.fleetIn("r1", "worker").healthy() == 2 })
	})
}

// A rollback to a release that is gone boots all of its roles before it routes.
func TestRollbackToGoneRoles(t *testing.T) {
	short := func(c *config.App) { c.Cutover.KeepPrevious = 0 }
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, short, withRoles())
		r.up(2, 2, short, withRoles())
		r.until("r1 to be gone", func(s *State) bool { return len(s.Fleets) == 3 })
		r.done(Request{Kind: KindRollback})
		wantSplit(r, both(map[string]int{"r1": 100}))
		for _, role := range []string{"web", "api", "worker"} {
			if fl := r.state().fleetIn("r1", role); fl.ID.Incarnation != 2 || fl.healthy() != 2 {
				t.Errorf("%s has %d healthy nodes", fl.ID, fl.healthy())
			}
		}
	})
}

func TestScaleRole(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, withRoles())
		if _, err := r.try(Request{Kind: KindScale, Size: 3}); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "api, web, worker") {
			t.Errorf("scale without a role: %v", err)
		}
		if _, err := r.try(Request{Kind: KindScale, Size: 3, Role: "db"}); !fault.Is(err, fault.NotFound) {
			t.Errorf("scale of no role: %v", err)
		}
		r.done(Request{Kind: KindScale, Size: 3, Role: "worker"})
		r.done(Request{Kind: KindScale, Size: 4, Role: "web"})
		r.done(Request{Kind: KindScale, Size: 1, Role: "worker"})
		for role, want := range map[string]int{"web": 4, "api": 2, "worker": 1} {
			if got := len(r.of("r1", role)); got != want {
				t.Errorf("%s has %d nodes, want %d", role, got, want)
			}
		}
		r.up(2, 2, withRoles(changed("worker", func(w *config.Role) { w.Fleet.Size = 5 })))
		if a, b := len(r.of("r2", "worker")), len(r.of("r2", "web")); a != 5 || b != 4 {
			t.Errorf("r2 has %d workers, want the file's 5, and %d web nodes, want the 4 that were set", a, b)
		}
	})
}

// A role may ask for as many nodes as its release has of the traffic.
func TestWorkersThatComeWithTheTraffic(t *testing.T) {
	share := withRoles(changed("worker", func(w *config.Role) { w.Start, w.Fleet.Size = config.StartShare, 10 }))
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, share)
		if n := len(r.of("r1", "worker")); n != 10 {
			t.Fatalf("%d workers, want 10", n)
		}
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, share)})
		if n := len(r.of("r2", "worker")); n != 0 {
			t.Errorf("%d workers run after the launch, want none", n)
		}
		r.done(Request{Kind: KindCutover, Percent: 25})
		if a, b := len(r.of("r1", "worker")), len(r.of("r2", "worker")); a != 10 || b != 3 {
			t.Errorf("%d old and %d new workers at 25 %%, want 10 and 3", a, b)
		}
		r.done(Request{Kind: KindCutover})
		r.until("the old workers to be gone", func(*State) bool { return len(r.of("r1", "worker")) == 0 })
		if n := len(r.of("r2", "worker")); n != 10 {
			t.Errorf("%d workers at 100 %%, want 10", n)
		}
	})
}

// A release may bring a role and leave one out.
func TestRolesComeAndGo(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, withRoles(without("api")))
		wantSplit(r, map[string]map[string]int{"web": {"r1": 100}, "web:internal": {"r1": 100}})
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(2, withRoles())})
		wantSplit(r, map[string]map[string]int{"web": {"r1": 100}, "web:internal": {"r1": 100}, "api:internal": {"r2": 100}})
		r.done(Request{Kind: KindCutover})
		wantSplit(r, both(map[string]int{"r2": 100}))
		r.done(Request{Kind: KindRollback})
		wantSplit(r, map[string]map[string]int{"web": {"r1": 100}, "web:internal": {"r1": 100}, "api:internal": {"r2": 100}})
		r.until("r2 to be gone", func(s *State) bool { return len(s.Fleets) == 2 })
		wantSplit(r, map[string]map[string]int{"web": {"r1": 100}, "web:internal": {"r1": 100}})
	})
}

// An app without roles gets some.
func TestAppBecomesOneOfRoles(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		r.up(2, 2, withRoles())
		wantSplit(r, both(map[string]int{"r2": 100}))
		r.done(Request{Kind: KindRollback})
		if got := r.split()["web"]; got["r1"] != 100 {
			t.Errorf("web is split %v", got)
		}
	})
}

// upWith releases an image beside a database whose image stays.
func upWith(r *rig, n int, version string) Operation {
	r.t.Helper()
	return r.done(Request{Kind: KindUp, Image: image(n), Images: map[string]string{"db": image(50)}, Config: shopConfig(2, withRoles(database(version)))})
}

func TestAccessoryStaysOverReleases(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		upWith(r, 1, "15")
		before := r.of("r1", "db")
		upWith(r, 2, "15")
		r.done(Request{Kind: KindRollback})
		upWith(r, 3, "15")
		r.until("rest", func(s *State) bool { return len(s.Fleets) == 4 })
		if after := r.of("r1", "db"); len(before) != 1 || !slices.Equal(before, after) {
			t.Errorf("the database ran on %v, and runs on %v", before, after)
		}
		if op := r.state().serving(); op.ID.Release != "r3" || op.ID.Role != "web" {
			t.Errorf("%s leads what serves", op.ID)
		}
		if got := r.split()["db:internal"]; got["r1"] != 100 {
			t.Errorf("db is split %v", got)
		}
		r.done(Request{Kind: KindDestroy})
		if left := r.running(""); len(left) > 0 {
			t.Errorf("%v still run", left)
		}
	})
}

// neverTwo fails when two nodes of a role run at the same time.
func neverTwo(r *rig, role string) {
	r.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
		if c.Method == fleettest.Ensure && c.Fleet.Role == role {
			for _, n := range r.driver.All() {
				if n.ID.Fleet.Role == role && n.Presence != fleet.Gone && !slices.Contains(c.Names, n.ID.Node) {
					r.t.Errorf("%v boots while %s runs", c.Names, n.ID.Node)
				}
			}
		}
		return nil
	})
}

func TestAccessoryIsStoppedBeforeTheNewOneBoots(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		upWith(r, 1, "15")
		r.router.SetLong("shop/production/db/r1/1", r.of("r1", "db")[0], 20)
		time.Sleep(time.Second) // of virtual time: the edges are read
		var closed atomic.Bool
		r.router.OnApply(func(table router.Table) { closed.Store(closed.Load() || len(table.Closing) == 1) })
		neverTwo(r, "db")
		op := r.submit(Request{Kind: KindUp, Image: image(2), Images: map[string]string{"db": image(50)}, Config: shopConfig(2, withRoles(database("16")))})
		if op = r.wait(op); op.Failure != nil {
			t.Fatalf("launch: %+v", op.Failure)
		}
		if !closed.Load() {
			t.Error("its connections were not closed in order")
		}
		spec, _ := r.driver.SpecOf(r.of("r2", "db")[0])
		if spec.Command[1] != "16" || len(r.of("r1", "db")) > 0 {
			t.Errorf("the database is %v:\n%s", spec.Command, r.describe())
		}
		if took := op.Ended.Sub(op.At); took > time.Minute {
			t.Errorf("the launch took %s", took)
		}
		r.wait(r.submit(Request{Kind: KindRollback})) // back to r1: the database is not touched
		if len(r.of("r2", "db")) != 1 {
			t.Errorf("the rollback moved the database:\n%s", r.describe())
		}
	})
}

// One that never becomes healthy is put back as it was.
func TestAccessoryThatFailsIsPutBack(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		images := map[string]string{"db": image(50)}
		r.done(Request{Kind: KindUp, Image: image(1), Images: images, Config: shopConfig(2, withRoles(database("15")))})
		neverTwo(r, "db")
		r.setSick(image(51), true)
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Images: map[string]string{"db": image(51)}, Config: shopConfig(2, withRoles(database("15")))}))
		if op.Failure == nil || !strings.Contains(op.Failure.Message, "r2 db") {
			t.Fatalf("it ended with %+v", op.Failure)
		}
		r.until("the old database to be back", func(s *State) bool {
			db := s.accessory("db")
			return db != nil && db.ID.Release == "r1" && db.healthy() == 1 && len(s.Fleets) == 4
		})
		if got := r.split(); got["db:internal"]["r1"] != 100 || got["web"]["r1"] != 100 {
			t.Errorf("split is %v", got)
		}
	})
}

// A node of an accessory is replaced by stopping it first.
func TestAccessoryNodeIsReplacedInItsPlace(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, withRoles(database("15")))
		neverTwo(r, "db")
		old := r.of("r1", "db")
		r.done(Request{Kind: KindReplace, Nodes: old})
		r.until("the new one", func(s *State) bool { return s.accessory("db").healthy() == 1 })
		if now := r.of("r1", "db"); slices.Equal(now, old) || len(now) != 1 {
			t.Errorf("%v was replaced by %v", old, now)
		}
		r.driver.Kill(r.of("r1", "db")[0], fleet.Exit{Code: 1})
		r.until("another one", func(s *State) bool { return s.accessory("db").healthy() == 1 })
	})
}

func TestAccessoryThatIsLeftOutIsShotAtTheEnd(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, withRoles(database("15")))
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(2, withRoles())})
		if len(r.of("r1", "db")) != 1 {
			t.Error("the launch ended the database of the release that serves")
		}
		r.done(Request{Kind: KindCutover})
		r.until("it to be gone", func(*State) bool { return len(r.of("r1", "db")) == 0 })
	})
}

// Images of all roles are kept.
func TestImagesOfRolesArePinned(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.done(Request{Kind: KindUp, Image: image(1), Images: map[string]string{"api": image(7)}, Config: shopConfig(1, withRoles())})
		s := r.state()
		if fl := s.fleetIn("r1", "api"); fl.Image != image(7) {
			t.Errorf("api runs %s", fl.Image)
		}
		if fl := s.fleetIn("r1", "web"); fl.Image != image(1) {
			t.Errorf("web runs %s", fl.Image)
		}
		pins := fmt.Sprint(s.pinned())
		if !strings.Contains(pins, image(1)) || !strings.Contains(pins, image(7)) {
			t.Errorf("pinned are %s", pins)
		}
	})
}

// The next agent goes on with a cutover of roles where the one before was.
func TestRolesOverAnAgentsDeath(t *testing.T) {
	steps := func(c *config.App) {
		c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(time.Minute)}, {Percent: 100}}
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, steps, withRoles())
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, steps, withRoles())})
		r.until("10 %", func(*State) bool { return r.split()["web"]["r2"] == 10 })
		r.stop()
		r.driver = r.driver.Reopen("")
		r.start()
		r.wait(op)
		wantSplit(r, both(map[string]int{"r2": 100}))
		if got := len(r.running("r2")); got != 6 {
			t.Errorf("%d nodes of r2 run, want 6", got)
		}
	})
}
