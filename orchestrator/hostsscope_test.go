package orchestrator

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/fleet/spread"
	"github.com/bootandshoot/release/internal/fault"
)

// hostsBesideOwn are the drivers of an agent with hosts and an engine of its own.
type hostsBesideOwn struct {
	hosts fleet.Driver
	own   *scopedDriver
}

func (d hostsBesideOwn) Driver(name string) (fleet.Driver, error) {
	if name == config.HostsDriver {
		return d.hosts, nil
	}
	return d.own, nil
}

func (d hostsBesideOwn) Choose(_ context.Context, name string) (string, error) {
	if name != config.HostsDriver {
		return "docker", d.own.err
	}
	return name, nil
}

func (d hostsBesideOwn) Names() []string { return []string{"docker", config.HostsDriver} }

// A release without hosts that is booted again after one with hosts runs on the agent's own engine, and on record is which: else no agent
// could ever lead with it.
func TestRollbackFromHostsToTheOwnEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		alpha, own := fleettest.NewFake(fleettest.FakeOptions{Host: "alpha"}), &scopedDriver{Fake: r.driver, engine: "engine A"}
		r.shared = true
		r.drivers = func() Drivers {
			return hostsBesideOwn{own: own, hosts: spread.New(spread.Options{Open: func(string, string) (spread.Member, error) {
				return fleettest.HostFake{Fake: alpha, ID: "alpha"}, nil
			}})}
		}
		r.start()
		defer func() { r.stop() }()
		soon := func(c *config.App) { c.Cutover.KeepPrevious = config.Duration(time.Second) }
		r.up(1, 1, soon)
		r.up(2, 1, soon, with("alpha"))
		r.until("the old fleet shot", func(s *State) bool { return len(s.Fleets) == 1 && len(s.Operations) == 0 })
		own.err = fleet.ErrUnavailable
		if _, err := r.try(Request{Kind: KindRollback}); err == nil || fault.Is(err, fault.Busy) {
			t.Errorf("without an engine of its own: %v", err)
		}
		own.err = nil
		r.done(Request{Kind: KindRollback})
		if fl := r.state().serving(); fl.ID.Release != "r1" || fl.Driver != "docker" || fl.Scope != "engine A" {
			t.Errorf("%s is on record with driver %q on %q", fl.ID, fl.Driver, fl.Scope)
		}
		r.until("the fleet with hosts shot", func(s *State) bool { return len(s.Fleets) == 1 && len(s.Operations) == 0 })
		r.stop()
		r.start()
		if fl := r.until("the next agent", func(s *State) bool { return s.serving() != nil }).serving(); fl.healthy() != 1 {
			t.Errorf("under the next agent %d nodes are healthy", fl.healthy())
		}
		own.err = fleet.ErrUnavailable // one with hosts needs none
		r.up(3, 1, soon, with("alpha"))
	})
}

// A release that names its driver is booted again by that one, not by what ran last.
func TestRollbackToTheDriverThatAReleaseNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		drivers := twoDrivers{"one": r.driver, "other": fleettest.NewFake(fleettest.FakeOptions{})}
		r.drivers = func() Drivers { return drivers }
		r.start()
		defer func() { r.stop() }()
		by := func(driver string) func(*config.App) {
			return func(c *config.App) { c.Fleet.Driver, c.Cutover.KeepPrevious = driver, config.Duration(time.Second) }
		}
		r.up(1, 1, by("other"))
		r.up(2, 1, by("one"))
		r.until("the old fleet shot", func(s *State) bool { return len(s.Fleets) == 1 && len(s.Operations) == 0 })
		r.done(Request{Kind: KindRollback})
		if fl := r.state().serving(); fl.ID.Release != "r1" || fl.Driver != "other" {
			t.Errorf("%s runs on %q", fl.ID, fl.Driver)
		}
	})
}

// twoDrivers are drivers by name.
type twoDrivers map[string]fleet.Driver

func (d twoDrivers) Driver(name string) (fleet.Driver, error)              { return d[name], nil }
func (d twoDrivers) Choose(_ context.Context, name string) (string, error) { return name, nil }
func (d twoDrivers) Names() []string                                       { return []string{"one", "other"} }

// An accessory that is put back runs where it ran, not where the one that failed did.
func TestAccessoryIsPutBackWhereItRan(t *testing.T) {
	db := func(hosts ...string) config.App {
		return config.App{Roles: map[string]config.Role{"db": {Accessory: true, Fleet: config.Fleet{Size: 1, Hosts: hosts}}}}
	}
	id := func(release string) fleet.FleetID {
		return fleet.FleetID{App: shop.App, Env: shop.Env, Role: "db", Release: release, Incarnation: 1}
	}
	was := &Fleet{ID: id("r1"), Driver: "docker", Scope: "engine A", Accessory: true, State: FleetServing}
	fl := &Fleet{ID: id("r2"), Driver: config.HostsDriver, Accessory: true, Prepared: true, State: FleetLaunching}
	r := &round{s: &State{Key: shop, Fleets: []*Fleet{was, fl}, Releases: []*Release{{ID: "r1", Incarnations: 1, Config: db()}, {ID: "r2", Config: db("ssh://alpha")}}}}
	if r.stopBefore(fl) {
		t.Fatal("there is room for it at once")
	}
	r.putBack(fl)
	if back := r.s.accessory("db"); back == nil || back.ID.Release != "r1" || back.Driver != "docker" || back.Scope != "engine A" {
		t.Errorf("put back: %+v", back)
	}
}
