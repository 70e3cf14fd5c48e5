package orchestrator

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
)

// onSchema says which versions a release runs on, and what its phases are; a version of 0 is none.
func onSchema(least, most int, phases ...func(*config.Migrations)) func(*config.App) {
	return func(c *config.App) {
		c.Schema = &config.SchemaRange{Min: least, Max: most}
		c.Cutover.KeepPrevious = config.Duration(time.Minute)
		for _, phase := range phases {
			if c.Migrations == nil {
				c.Migrations = &config.Migrations{}
			}
			phase(c.Migrations)
		}
	}
}

func steps(commands ...[]string) []config.MigrationStep {
	var list []config.MigrationStep
	for _, c := range commands {
		list = append(list, config.MigrationStep{Cmd: c, Timeout: config.Duration(10 * time.Minute)})
	}
	return list
}

func expand(to int, commands ...[]string) func(*config.Migrations) {
	return func(m *config.Migrations) { m.Expand = &config.MigrateExpand{To: to, Run: steps(commands...)} }
}

func contract(to int, after time.Duration, commands ...[]string) func(*config.Migrations) {
	return func(m *config.Migrations) {
		m.Contract = &config.MigrateEnd{To: to, After: config.Duration(after), Run: steps(commands...)}
	}
}

// alone waits until the release that serves is the only one with a fleet.
func (r *rig) alone() {
	r.t.Helper()
	r.until("the old fleet to be shot", func(s *State) bool { return len(s.Fleets) == 1 && len(s.Operations) == 0 })
}

func refused(t *testing.T, err error, code fault.Code, words ...string) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("refused with %v, want %s", err, code)
		return
	}
	text := err.Error() + " " + fault.All(err)[0].Hint
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("refused with %q, which lacks %q", text, w)
		}
	}
}

func TestExpandRunsBeforeTheFleet(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, onSchema(5, 7))
		r.up(2, 2, onSchema(6, 7, expand(7, exits("0"), exits("0"))))
		wantWeights(r, map[string]int{"r2": 100})
		s := r.state()
		if s.version() != 7 || len(s.Database.Runs) != 1 {
			t.Fatalf("the database is %+v", s.Database)
		}
		run := s.Database.Runs[0]
		if run.Phase != PhaseExpand || run.Release != "r2" || run.Done != 2 || run.Ended.IsZero() || run.Failure != "" || len(run.Lines) != 2 || run.By != "ann" {
			t.Errorf("the run is %+v", run)
		}
		var booted []fleet.Kind
		for _, c := range r.driver.Calls() {
			if c.Method == fleettest.Ensure && c.Fleet.Release == "r2" {
				kind := fleet.Serve
				if c.Fleet.Incarnation > 1 {
					kind = fleet.Once
				}
				booted = append(booted, kind)
			}
		}
		if !slices.Equal(booted, []fleet.Kind{fleet.Once, fleet.Once, fleet.Serve, fleet.Serve}) {
			t.Errorf("booted %v", booted)
		}
		r.up(3, 2, onSchema(6, 7, expand(7, exits("1"))))
		if s := r.state(); len(s.Database.Runs) != 1 {
			t.Error("expand ran though the database was there already")
		}
	})
}

func TestExpandThatFailsAbortsTheLaunch(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, onSchema(5, 7))
		change := onSchema(6, 7, expand(7, exits("0"), exits("3")))
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, change)}))
		if op.Failure == nil || op.Failure.Code != fault.RolledBack || !strings.Contains(op.Failure.Message, "exit code 3") ||
			!strings.Contains(op.Failure.Message, "stays") {
			t.Errorf("the operation ended with %+v", op.Failure)
		}
		wantWeights(r, map[string]int{"r1": 100})
		r.alone()
		s := r.state()
		if run := s.Database.Runs[0]; s.version() != 0 || run.Done != 1 || run.Code != 3 || run.Failure == "" {
			t.Errorf("the database is %+v, its run %+v", s.Database, run)
		}
		if left := r.running("r2"); len(left) > 0 {
			t.Errorf("left of r2: %v", left)
		}
		r.up(3, 2, onSchema(6, 7, expand(7, exits("0"))))
		if v := r.state().version(); v != 7 {
			t.Errorf("the database is at %d", v)
		}
	})
}

func TestReleasesThatDoNotFitAreRefused(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, onSchema(5, 6))
		_, err := r.try(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, onSchema(6, 7, expand(7, exits("0"))))})
		refused(t, err, fault.Denied, "would break r1", "5 to 6", "schema.max: 7")
		if s := r.state(); len(s.Releases) != 1 || s.Database != nil {
			t.Errorf("the refused launch left %+v", s.Releases)
		}
		r.up(2, 1, onSchema(5, 7))
		r.up(3, 1, onSchema(6, 8, expand(7, exits("0")), contract(8, 0, exits("0"))))
		_, err = r.try(Request{Kind: KindRollback, Release: "r1"})
		refused(t, err, fault.Denied, "r1 runs on schema 5 to 6", "at 7", "r3 r2")
		r.done(Request{Kind: KindRollback})
		wantWeights(r, map[string]int{"r2": 100})
		r.done(Request{Kind: KindRollback, Release: "r3"})
		_, err = r.try(Request{Kind: KindContract})
		refused(t, err, fault.Denied, "r2 is", "not on 8")
		r.alone()
		r.done(Request{Kind: KindContract})
		if v := r.state().version(); v != 8 {
			t.Fatalf("the database is at %d", v)
		}
		_, err = r.try(Request{Kind: KindRollback})
		refused(t, err, fault.Denied, "r1 runs on schema 5 to 6", "at 8", "these run on 8: r3")
		_, err = r.try(Request{Kind: KindLaunch, Image: image(4), Config: shopConfig(1, onSchema(6, 7))})
		refused(t, err, fault.Denied, "6 to 7", "r3")
		if again := r.done(Request{Kind: KindContract}); again.ID != "" {
			t.Errorf("contract ran again: %+v", again)
		}
	})
}

func TestContractBeginsByItself(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, onSchema(5, 7))
		r.up(2, 1, onSchema(6, 8, expand(7, exits("0")), contract(8, time.Hour/2, exits("0"))))
		r.alone()
		since := time.Now()
		r.stop()
		time.Sleep(time.Hour) // nobody watches
		r.start()
		began := time.Now()
		r.until("contract", func(s *State) bool { return s.version() == 8 })
		if took := time.Since(began); took < 29*time.Minute || took > 31*time.Minute {
			t.Errorf("contract ended %s after the agent came back, %s after r2 was alone", took, time.Since(since))
		}
		run := r.state().Database.Runs[1]
		if run.Phase != PhaseContract || !strings.HasPrefix(run.By, "release, after") {
			t.Errorf("the run is %+v", run)
		}
	})
}

// A freeze holds the phase that nobody asks for as well.
func TestContractWaitsForTheEndOfAFreeze(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, onSchema(5, 7))
		r.up(2, 1, onSchema(6, 8, expand(7, exits("0")), contract(8, 10*time.Minute, exits("0"))))
		r.alone()
		r.freeze(time.Time{})
		time.Sleep(time.Hour)
		if v := r.state().version(); v != 7 {
			t.Fatalf("the database of a frozen app is at %d", v)
		}
		if err := r.steer("unfreeze"); err != nil {
			t.Fatal(err)
		}
		r.until("contract", func(s *State) bool { return s.version() == 8 })
	})
}

func TestContractThatFailsWaitsForAPerson(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, onSchema(6, 8, contract(8, time.Minute, exits("2"))))
		r.until("contract to fail", func(s *State) bool {
			return s.Database != nil && len(s.Database.Runs) == 1 && !s.Database.Runs[0].Ended.IsZero()
		})
		time.Sleep(time.Hour)
		s := r.state()
		if len(s.Database.Runs) != 1 || s.version() != 0 {
			t.Errorf("contract was tried again by itself: %+v", s.Database)
		}
		wantWeights(r, map[string]int{"r1": 100})
		op := r.wait(r.submit(Request{Kind: KindContract}))
		if op.Failure == nil || op.Failure.Code != fault.NeedsPerson || op.OneWay == "" || !strings.Contains(op.Failure.Message, "exit code 2") {
			t.Errorf("ended with %+v", op.Failure)
		}
		wantWeights(r, map[string]int{"r1": 100})
	})
}

// The agent dies while a command of expand runs: its exit is taken by the next one, and the command is not run again.
func TestExpandIsAdopted(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, onSchema(5, 7))
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, onSchema(6, 7, expand(7, sleeps)))})
		s := r.until("the command to run", func(s *State) bool { return len(s.Tasks) == 1 && !s.Tasks[0].Started.IsZero() })
		node := s.Tasks[0].Node
		r.stop()
		r.driver = r.driver.Reopen("")
		r.driver.Kill(node, fleet.Exit{Code: 0})
		asked := ensures(r, node)
		r.start()
		if op = r.wait(op); op.Failure != nil {
			t.Fatalf("ended with %+v", op.Failure)
		}
		if v := r.state().version(); v != 7 || ensures(r, node) != asked {
			t.Errorf("the database is at %d, the node was asked for %d times, then %d", v, asked, ensures(r, node))
		}
	})
}

// While expand runs, the release before gets worse: the command is stopped and the launch given up.
func TestExpandIsStoppedWhenUsersSuffer(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, onSchema(5, 7))
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, onSchema(6, 7, expand(7, sleeps)))})
		s := r.until("the command to run", func(s *State) bool { return len(s.Tasks) == 1 && !s.Tasks[0].Started.IsZero() })
		r.setSick(image(1), true)
		op = r.wait(op)
		if op.Failure == nil || op.Failure.Code != fault.RolledBack || !strings.Contains(op.Failure.Message, "0 of 2 nodes that served before are healthy") {
			t.Errorf("ended with %+v", op.Failure)
		}
		if slices.Contains(r.running(""), s.Tasks[0].Node) {
			t.Error("the command still runs")
		}
	})
}

func TestAbortStopsExpand(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, onSchema(5, 7))
		op := r.submit(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, onSchema(6, 7, expand(7, sleeps, exits("0"))))})
		r.until("the command to run", func(s *State) bool { return len(s.Tasks) == 1 && !s.Tasks[0].Started.IsZero() })
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		if op = r.wait(op); op.Failure == nil || op.Failure.Code != fault.RolledBack {
			t.Errorf("ended with %+v", op.Failure)
		}
		r.alone()
		s := r.state()
		if run := s.Database.Runs[0]; run.Ended.IsZero() || !strings.Contains(run.Failure, "aborted") || run.Done != 0 || s.version() != 0 {
			t.Errorf("the run is %+v", run)
		}
		if left := r.running("r2"); len(left) > 0 || len(s.Tasks) > 0 {
			t.Errorf("left: %v, %v", left, s.Tasks)
		}
	})
}

// The database is an accessory of the app: it is there before expand, whose command runs in the role that leads. It is none of
// the releases that must fit, so it keeps nobody from contract.
func TestMigrationsOfAnAppWithRoles(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		up := func(n int, change func(*config.App)) {
			cfg := shopConfig(1, withRoles(database("1")), change)
			r.done(Request{Kind: KindUp, Image: image(n), Images: map[string]string{"db": image(50)}, Config: cfg})
		}
		up(1, onSchema(1, 2, expand(1, exits("0"))))
		up(2, onSchema(2, 3, expand(2, exits("0")), contract(3, 0, exits("0"))))
		if s := r.state(); s.version() != 2 || len(s.Database.Runs) != 2 || s.accessory("db").ID.Release != "r1" {
			t.Errorf("the database is %+v", s.Database)
		}
		var booted []string
		for _, c := range r.driver.Calls() {
			if c.Method == fleettest.Ensure && c.Fleet.Release == "r1" && (len(booted) == 0 || booted[len(booted)-1] != c.Fleet.Role) {
				booted = append(booted, c.Fleet.Role)
			}
		}
		if len(booted) < 2 || booted[0] != "db" || booted[1] != "web" {
			t.Errorf("the nodes of r1 were booted in the order %v", booted)
		}
		r.until("the old fleets to be shot", func(s *State) bool {
			return len(s.Operations) == 0 && !slices.ContainsFunc(s.Fleets, func(fl *Fleet) bool { return fl.ID.Release == "r1" && !fl.Accessory })
		})
		r.done(Request{Kind: KindContract})
		if v := r.state().version(); v != 3 {
			t.Errorf("the database is at %d", v)
		}
	})
}
