package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store/storetest"
)

// An agent that comes when a host is away takes nothing there for gone.
func TestNextAgentWithAHostAway(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha", "beta"))
		r.stop()
		r.fail("beta", false)
		r.start()
		time.Sleep(50 * time.Second)
		if s := r.state(); s.serving().healthy() != 2 || len(r.runs("alpha", "")) != 1 {
			t.Errorf("before host_lost_after:\n%s", r.describe())
		}
		r.until("two nodes on the other host", func(s *State) bool { return len(r.runs("alpha", "")) == 2 && s.serving().healthy() == 2 })
	})
}

// The same for an agent that came after the host was lost: it has the nodes' addresses from the record.
func TestNodesThatServeOnALostHostAreReplacedFirstByTheNextAgent(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha", "beta"))
		r.stop()
		r.fail("beta", false)
		r.start()
		for range 1200 { // two minutes
			time.Sleep(100 * time.Millisecond)
			if n := r.state().serving().healthy(); n < 2 {
				t.Fatalf("%d nodes are healthy\n%s", n, r.describe())
			}
		}
		r.spreads("r1", map[string]int{"alpha": 2})
		if n := len(r.state().serving().Nodes); n != 2 {
			t.Errorf("%d nodes are on record\n%s", n, r.describe())
		}
	})
}

// It is probed: one that does not serve leaves the route at once.
func TestNextAgentProbesNodesOfALostHost(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha", "beta"))
		r.stop()
		r.fail("beta", true)
		r.start()
		time.Sleep(10 * time.Second)
		if n := r.state().serving().healthy(); n != 1 {
			t.Errorf("%d nodes are healthy\n%s", n, r.describe())
		}
	})
}

// An agent on another machine has an engine of its own under the same name: that it lacks the nodes says nothing of them.
func TestAnotherEngineUnderTheName(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha", "beta"))
		r.until("the engines to be known", func(*State) bool {
			hosts, err := r.o.Hosts(t.Context())
			return err == nil && hosts[0].Engine == "alpha" && hosts[1].Engine == "beta"
		})
		before := append(r.runs("alpha", ""), r.runs("beta", "")...)
		r.stop()
		beta, other := r.fakes["beta"], fleettest.NewFake(fleettest.FakeOptions{Host: "beta"})
		r.fakes["beta"], r.ids["beta"] = other, "another"
		r.start()
		time.Sleep(50 * time.Second)
		if s := r.state(); s.serving().healthy() != 2 || len(s.serving().Nodes) != 2 || len(other.All()) != 0 {
			t.Errorf("another engine was asked:\n%s", r.describe())
		}
		if hosts, err := r.o.Hosts(t.Context()); err != nil || hosts[1].Away.IsZero() || hosts[1].Engine != "beta" {
			t.Errorf("hosts are %+v, %v", hosts, err)
		}
		r.stop()
		r.fakes["beta"], r.ids["beta"] = beta, ""
		r.start()
		time.Sleep(2 * time.Minute)
		if now := append(r.runs("alpha", ""), r.runs("beta", "")...); !slices.Equal(before, now) || r.state().serving().healthy() != 2 {
			t.Errorf("the nodes were %v, are %v\n%s", before, now, r.describe())
		}
	})
}

// What is on a host would be lost sight of if it were reached in another way.
func TestHostInUseIsNotReachedInAnotherWay(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha", "beta"))
		moved := func(c *config.App) { c.Fleet.Hosts = config.Engines{"ssh://alpha", "ssh://ops@beta"} }
		req := Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, moved)}
		if _, err := r.try(req); !fault.Is(err, fault.Denied) {
			t.Errorf("took another way to a host in use: %v", err)
		}
		if err := r.o.DrainHost(t.Context(), "beta", "ann", false, false); err != nil {
			t.Fatal(err)
		}
		r.until("the host to be empty", func(s *State) bool { return len(r.runs("beta", "")) == 0 && len(s.serving().Nodes) == 2 })
		if err := r.o.ForgetHost(t.Context(), "beta", false); err != nil {
			t.Fatal(err)
		}
		r.done(req)
		r.spreads("r2", map[string]int{"alpha": 1, "beta": 1})
	})
}

// Which engine a host's is must be on record before a node boots there: the next agent could take another one for it.
func TestNoNodeBootsBeforeItsEngineIsOnRecord(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		for name, f := range r.fakes {
			f.OnCall(func(ctx context.Context, c fleettest.Call) error {
				if c.Method == fleettest.Fleets {
					time.Sleep(time.Second) // a look takes its time
				}
				if c.Method != fleettest.Ensure {
					return nil
				}
				records := map[string]HostRecord{}
				if e, err := r.store.Get(ctx, hostsKey); err != nil || json.Unmarshal(e.Value, &records) != nil || records[name].Engine != name {
					t.Errorf("a node boots on %s, and on record is %+v, %v", name, records, err)
				}
				return nil
			})
		}
		began := time.Now()
		r.up(1, 2, with("alpha", "beta"))
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the launch took %s", took)
		}
	})
}

// An engine that has no id of its own keeps nobody waiting for one.
func TestEngineWithoutAnID(t *testing.T) {
	onHosts(t, []string{"alpha"}, func(t *testing.T, r *hostsRig) {
		r.ids["alpha"] = "-"
		r.up(1, 1, with("alpha"))
		r.spreads("r1", map[string]int{"alpha": 1})
	})
}

// What is refused puts no host on record.
func TestRefusedLaunchBringsNoHosts(t *testing.T) {
	onHosts(t, []string{"alpha"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 1, with("alpha"))
		r.freeze(time.Time{})
		if _, err := r.try(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, with("alpha", "mistyped"))}); err == nil {
			t.Error("a frozen app took a launch")
		}
		if hosts, err := r.o.Hosts(t.Context()); err != nil || len(hosts) != 1 {
			t.Errorf("on record are %+v, %v", hosts, err)
		}
	})
}

// A write of the hosts whose answer was lost is found out, and what is asked next is done.
func TestHostsWrittenWithoutAnAnswer(t *testing.T) {
	onHosts(t, []string{"alpha", "beta"}, func(t *testing.T, r *hostsRig) {
		r.up(1, 2, with("alpha", "beta"))
		lost := false
		r.store.(*storetest.Memory).SetFaults(nil, func(op, key string) error {
			if op == "commit" && key == hostsKey && !lost {
				lost = true
				return errors.New("the answer is lost")
			}
			return nil
		})
		if err := r.o.DrainHost(t.Context(), "alpha", "ann", false, false); err == nil || !lost {
			t.Fatalf("drain without an answer: %v", err)
		}
		time.Sleep(2 * hostEvery)
		r.drain("beta", false)
		r.drain("beta", true)
		hosts, err := r.o.Hosts(t.Context())
		if err != nil || !hosts[0].Drained || hosts[1].Drained {
			t.Errorf("the hosts are %+v, %v", hosts, err)
		}
		r.up(2, 2, with("alpha", "beta"))
		r.spreads("r2", map[string]int{"beta": 2})
	})
}
