package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/fleet/spread"
)

// hostsRig is a rig whose nodes are spread over hosts.
type hostsRig struct {
	*rig
	fakes map[string]*fleettest.Fake
	ids   map[string]string // of engines; those that are missing are the host's name, "-": it has none
}

// onHosts runs a test with hosts of these names.
func onHosts(t *testing.T, names []string, test func(t *testing.T, r *hostsRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &hostsRig{rig: newRig(t), fakes: map[string]*fleettest.Fake{}, ids: map[string]string{}}
		for _, name := range names {
			r.fakes[name] = fleettest.NewFake(fleettest.FakeOptions{Host: name})
		}
		r.over = func() fleet.Driver {
			return spread.New(spread.Options{Open: func(name, _ string) (spread.Member, error) {
				return fleettest.HostFake{Fake: r.fakes[name], ID: strings.TrimPrefix(cmp.Or(r.ids[name], name), "-")}, nil
			}})
		}
		r.start()
		defer func() { r.stop() }()
		test(t, r)
	})
}

// with names hosts in a configuration.
func with(names ...string) func(*config.App) {
	return func(cfg *config.App) {
		for _, name := range names {
			cfg.Fleet.Hosts = append(cfg.Fleet.Hosts, "ssh://"+name)
		}
	}
}

// runs are the nodes that run on a host, of one release or "" for all.
func (r *hostsRig) runs(host, release string) []string {
	var names []string
	for _, n := range r.fakes[host].All() {
		if n.Presence == fleet.Present && (release == "" || n.ID.Fleet.Release == release) {
			names = append(names, n.ID.Node)
		}
	}
	return names
}

func (r *hostsRig) spreads(release string, want map[string]int) {
	r.t.Helper()
	for host, n := range want {
		if have := len(r.runs(host, release)); have != n {
			r.t.Errorf("%d nodes run on %s, want %d\n%s", have, host, n, r.describe())
		}
	}
}

// fail makes a host silent, with its nodes or without.
func (r *hostsRig) fail(host string, nodes bool) {
	r.fakes[host].FailAll(fleet.ErrUnavailable)
	for _, n := range r.runs(host, "") {
		r.setSick(n, nodes)
	}
}

func (r *hostsRig) mend(host string) {
	r.fakes[host].FailAll(nil)
	for _, n := range r.runs(host, "") {
		r.setSick(n, false)
	}
}

func TestNodesAreSpreadOverHosts(t *testing.T) {
	onHosts(t, []string{"alpha", "beta", "gamma"}, func(t *testing.T, r *hostsRig) {
		p, err := r.o.Plan(t.Context(), Request{Kind: KindUp, Key: shop, Image: image(1), Config: shopConfig(3, with("alpha", "beta", "gamma"))})
		if err != nil || p.Waits != "" {
			t.Errorf("the plan waits for %q, %v", p.Waits, err)
		}
		r.up(1, 3, with("alpha", "beta", "gamma"))
		r.spreads("r1", map[string]int{"alpha": 1, "beta": 1, "gamma": 1})
		r.done(Request{Kind: KindScale, Size: 6})
		r.spreads("r1", map[string]int{"alpha": 2, "beta": 2, "gamma": 2})
		r.up(2, 3, with("alpha", "beta")) // the size set by hand holds
		r.spreads("r2", map[string]int{"alpha": 3, "beta": 3, "gamma": 0})
		for _, f := range r.fakes {
			prepared := 0
			for _, c := range f.Calls() {
				if c.Method == fleettest.Prepare && c.Fleet.Release == "r1" {
					prepared++
				}
			}
			if prepared != 1 {
				t.Errorf("the image was moved %d times to a host", prepared)
			}
		}
	})
}

// A host that does not answer is unknown: its nodes are replaced only after host_lost_after, those that do not serve leave the route
// at once, and what is left there is removed when it comes back.
func TestLostHost(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 4, with("alpha", "beta"))
		before := r.runs("alpha", "")
		gone := r.runs("beta", "")
		r.fail("beta", true)
		began := time.Now()
		r.until("the sick nodes out of the route", func(s *State) bool { return s.serving().healthy() == 2 })
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("unrouted after %s", took)
		}
		s := r.until("four healthy nodes", func(s *State) bool { return s.serving().healthy() == 4 })
		if took := time.Since(began); took < time.Minute || took > 90*time.Second {
			t.Errorf("replaced after %s, host_lost_after is 1m", took)
		}
		if s.serving().Failures != 0 || s.serving().Storm.Kind != "" {
			t.Errorf("a lost host counts as failures of the release\n%s", r.describe())
		}
		if now := r.runs("alpha", ""); len(now) != 4 || !slices.Contains(now, before[0]) || !slices.Contains(now, before[1]) {
			t.Errorf("on alpha were %v, are %v", before, now)
		}
		r.until("the repair to end", func(s *State) bool { return len(s.Operations) == 0 && len(s.serving().Nodes) == 4 })
		if left := r.runs("beta", ""); !slices.Equal(left, gone) {
			t.Errorf("a host that does not answer has %v, had %v", left, gone)
		}
		r.mend("beta")
		r.until("what was left to be removed", func(*State) bool { return len(r.fakes["beta"].All()) == 0 })
		r.spreads("r1", map[string]int{"alpha": 4, "beta": 0})
	})
}

// The engine is gone, the nodes serve on: each is replaced before it leaves, and none of the others is touched.
func TestNodesThatServeOnALostHostAreReplacedFirst(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 4, with("alpha", "beta"))
		r.fail("beta", false)
		for range 1200 { // two minutes
			time.Sleep(100 * time.Millisecond)
			if n := r.state().serving().healthy(); n < 4 {
				t.Fatalf("%d nodes are healthy\n%s", n, r.describe())
			}
		}
		r.spreads("r1", map[string]int{"alpha": 4})
		if n := len(r.state().serving().Nodes); n != 4 {
			t.Errorf("%d nodes are on record\n%s", n, r.describe())
		}
	})
}

func TestShortSilenceChangesNothing(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 4, with("alpha", "beta"))
		before := append(r.runs("alpha", ""), r.runs("beta", "")...)
		r.fail("beta", true)
		time.Sleep(50 * time.Second)
		r.mend("beta")
		r.until("four healthy nodes", func(s *State) bool { return s.serving().healthy() == 4 })
		if now := append(r.runs("alpha", ""), r.runs("beta", "")...); !slices.Equal(before, now) {
			t.Errorf("the nodes were %v, are %v", before, now)
		}
	})
}

// When no host answers it is the agent that sees nothing.
func TestNoHostAnswers(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha", "beta"))
		before := append(r.runs("alpha", ""), r.runs("beta", "")...)
		r.fail("alpha", false)
		r.fail("beta", false)
		time.Sleep(10 * time.Minute)
		wantWeights(r.rig, map[string]int{"r1": 100})
		r.mend("alpha")
		r.mend("beta")
		time.Sleep(time.Minute)
		if now := append(r.runs("alpha", ""), r.runs("beta", "")...); !slices.Equal(before, now) || r.state().serving().healthy() != 2 {
			t.Errorf("the nodes were %v, are %v\n%s", before, now, r.describe())
		}
	})
}

func TestLostHostDoesNotBlockACutover(t *testing.T) {
	onHosts(t, []string{"alpha", "beta", "gamma"}, func(t *testing.T, r *hostsRig) {
		all := with("alpha", "beta", "gamma")
		r.up(1, 3, all)
		r.fail("beta", true)
		began := time.Now()
		r.up(2, 3, all, func(c *config.App) { c.Cutover.KeepPrevious = config.Duration(time.Minute) })
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("the cutover took %s", took)
		}
		r.spreads("r2", map[string]int{"beta": 0})
		r.until("the old fleet shot", func(s *State) bool { return len(s.Fleets) == 1 })
		r.mend("beta")
		r.until("what was left of it to be removed", func(*State) bool { return len(r.fakes["beta"].All()) == 0 })
		if s := r.state(); s.serving().healthy() != 3 || len(s.Operations) != 0 {
			t.Errorf("after all:\n%s", r.describe())
		}
	})
}

func TestHostLostDuringLaunch(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha", "beta"))
		r.fakes["beta"].OnCall(func(_ context.Context, c fleettest.Call) error {
			if c.Method == fleettest.Ensure && c.Fleet.Release == "r2" {
				r.fakes["beta"].FailAll(fleet.ErrUnavailable)
				return fleet.ErrUnavailable
			}
			return nil
		})
		r.up(2, 2, with("alpha", "beta"))
		r.spreads("r2", map[string]int{"alpha": 2, "beta": 0})
	})
}

// What fails on a host that answers is no less of a failure because another one does not.
func TestFailureBesideALostHost(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		soon := func(c *config.App) { c.Cutover.KeepPrevious = config.Duration(time.Second) }
		r.up(1, 2, with("alpha", "beta"), soon)
		r.fail("beta", true)
		r.until("the host to be made up for", func(s *State) bool { return len(r.runs("alpha", "")) == 2 && len(s.serving().Nodes) == 2 })
		r.fakes["alpha"].OnCall(func(_ context.Context, c fleettest.Call) error {
			if c.Method == fleettest.Destroy {
				return errors.New("the engine is busy")
			}
			return nil
		})
		r.up(2, 2, with("alpha", "beta"), soon)
		time.Sleep(5 * time.Minute)
		if s := r.state(); len(s.Fleets) != 2 {
			t.Errorf("a fleet is forgotten that could not be destroyed\n%s", r.describe())
		}
		r.fakes["alpha"].OnCall(nil)
		r.until("the old fleet shot", func(s *State) bool { return len(s.Fleets) == 1 })
	})
}

func TestErrorsOfOtherHosts(t *testing.T) {
	away := &fleet.HostsAway{Hosts: []string{"beta"}, Err: errors.New("no route")}
	failed := errors.New("the engine is busy")
	spec := fleet.Spec{Nodes: []fleet.NodeSpec{{Name: "a", Host: "alpha"}, {Name: "b", Host: "beta"}}}
	for _, c := range []struct {
		what string
		node string
		err  error
		kept bool
	}{
		{"none", "a", nil, false},
		{"another host is away", "a", away, false},
		{"another host is away, said by somebody", "a", fmt.Errorf("remove: %w", errors.Join(away)), false},
		{"its host is away", "b", away, true},
		{"another host is away, and its own failed", "a", errors.Join(away, failed), true},
		{"the same, the other way round", "a", fmt.Errorf("remove: %w", errors.Join(failed, away)), true},
		{"it failed", "a", failed, true},
	} {
		if err := butFor(spec, c.node, c.err); (err != nil) != c.kept {
			t.Errorf("%s: remains %v", c.what, err)
		}
	}
}

// What an engine lists and cannot tell of, as a Swarm a node whose host missed its heartbeats, is probed: it leaves the route if it does not
// answer, comes back when it does, and is replaced only when the engine says that it is gone.
func TestDoubtedNodesAreProbed(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		node := r.running("")[0]
		doubted := func(sick bool) {
			r.driver.SetPresence(node, fleet.Unknown)
			r.setSick(node, sick)
		}
		state := func(want NodeState) func(*State) bool {
			return func(s *State) bool { n, err := s.node(node); return err == nil && n.State == want }
		}
		doubted(true)
		began := time.Now()
		r.until("it to leave the route", state(NodeUnhealthy))
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("unrouted after %s", took)
		}
		time.Sleep(5 * time.Minute)
		if s := r.state(); !state(NodeUnhealthy)(s) || len(s.serving().Nodes) != 2 {
			t.Errorf("it is replaced, though it may run:\n%s", r.describe())
		}
		doubted(false)
		r.until("it to serve again", state(NodeHealthy))
		doubted(true)
		r.until("it to leave the route again", state(NodeUnhealthy))
		r.driver.Kill(node, fleet.Exit{Reason: "its host is down"})
		r.until("another one in its place", func(s *State) bool { _, err := s.node(node); return err != nil && s.serving().healthy() == 2 })
	})
}
