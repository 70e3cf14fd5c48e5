package swarm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/network"
	dockerswarm "github.com/docker/docker/api/types/swarm"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
)

// TestCluster: a Swarm of three managers. Nodes are spread, have its secrets and networks, obey constraints; and when a host is lost
// with the manager that was asked, the others say so, and boot a node elsewhere. (test/swarm kills the one that leads the others.)
func TestCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, "alpha", "beta", "gamma")
	d := w.driver(func(o *Options) { o.Room, o.Lost = 3*time.Second, 3*time.Second; slices.Reverse(o.Managers) })
	t.Run("Spread", func(t *testing.T) { testSpread(t, w, d) })
	t.Run("Constraints", func(t *testing.T) { testConstraints(t, w, d) })
	t.Run("LeftBehind", func(t *testing.T) { testLeftBehind(t, w, d) })
	t.Run("SecretsAndNetworks", func(t *testing.T) { testSecretsAndNetworks(t, w, d) })
	t.Run("Reached", func(t *testing.T) { testReached(t, w) })
	t.Run("Examine", func(t *testing.T) {
		s, err := Examine(t.Context(), d.opts)
		if err != nil || s.Hosts != 3 || s.Managers != 3 || s.Registry != nil || s.Summary() != "3 hosts, 3 managers" {
			t.Errorf("found %+v (%s), %v", s, s.Summary(), err)
		}
		if s, err := Examine(t.Context(), Options{Managers: d.opts.Managers, Repository: "127.0.0.1:1/none"}); err != nil || s.Registry == nil {
			t.Errorf("a registry that is not there: %+v, %v", s, err)
		}
	})
	t.Run("LostHost", func(t *testing.T) { testLostHost(t, w, d) }) // the last: it leaves two
}

// launch boots a fleet that goes with the test.
func launch(t *testing.T, d *Driver, spec fleet.Spec) []fleet.Node {
	t.Helper()
	t.Cleanup(func() {
		if err := d.Destroy(context.WithoutCancel(t.Context()), spec.Fleet); err != nil {
			t.Error(err)
		}
	})
	nodes, err := d.Ensure(t.Context(), spec)
	if err != nil || len(nodes) != len(spec.Nodes) {
		t.Fatalf("booted %d of %d nodes: %v", len(nodes), len(spec.Nodes), err)
	}
	return nodes
}

// count is how many nodes are on each host.
func count(nodes []fleet.Node) map[string]int {
	on := map[string]int{}
	for _, n := range nodes {
		on[n.Host]++
	}
	return on
}

func testSpread(t *testing.T, w *world, d *Driver) {
	for first, size := range map[int]int{100: 3, 110: 6} {
		nodes := launch(t, d, w.spec(first, size))
		for _, e := range w.engines {
			if on := count(nodes); on[e.Name] != size/3 {
				t.Errorf("%d nodes are on %v", size, on)
			}
		}
		for _, n := range nodes {
			if text := ask(t, n, "/"); !strings.HasPrefix(text, "hello") {
				t.Errorf("%s says %q", n.ID.Node, text)
			}
		}
	}
}

func testConstraints(t *testing.T, w *world, d *Driver) {
	spec := w.spec(200, 2)
	spec.Cluster.Constraints = []string{"node.hostname == beta"}
	if on := count(launch(t, d, spec)); on["beta"] != 2 {
		t.Errorf("nodes that are to be on beta are on %v", on)
	}
	spec = w.spec(210, 1)
	spec.Cluster.Constraints = []string{"node.hostname==none-such"}
	if nodes, err := d.Ensure(t.Context(), spec); !fault.Is(err, fault.NoSpace) || errors.Is(err, fleet.ErrUnavailable) || len(nodes) > 0 {
		t.Errorf("a node that fits no host: %v, %v", nodes, err)
	}
	if nodes, err := d.Nodes(t.Context(), spec.Fleet); err != nil || len(nodes) > 0 {
		t.Errorf("it left %v, %v", nodes, err)
	}
}

// testLeftBehind: an agent was killed when it had made a service that is kept off hosts, before it saw that no other has room.
func testLeftBehind(t *testing.T, w *world, d *Driver) {
	spec := w.spec(220, 1)
	site, err := d.survey(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := d.hosts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	name := spec.Nodes[0].Name
	if err := d.create(t.Context(), spec, spec.Nodes[0], site, slices.Collect(maps.Keys(hosts))); err != nil {
		t.Fatal(err)
	}
	if placed, err := d.placed(t.Context(), name); err != nil || placed {
		t.Fatalf("kept off all hosts, and placed: %v, %v", placed, err)
	}
	if n := launch(t, d, spec)[0]; n.Presence != fleet.Present {
		t.Errorf("it is %+v", n)
	}
}

func testSecretsAndNetworks(t *testing.T, w *world, d *Driver) {
	manager := w.engines[0].Client()
	if _, err := manager.SecretCreate(t.Context(), dockerswarm.SecretSpec{Annotations: dockerswarm.Annotations{Name: "db-password"}, Data: []byte("hush")}); err != nil {
		t.Fatal(err)
	}
	made, err := manager.NetworkCreate(t.Context(), "back", network.CreateOptions{Driver: "overlay", Attachable: true,
		IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: "10.201.7.0/24"}}}})
	if err != nil {
		t.Fatal(err)
	}
	published, inside := w.spec(300, 1), w.spec(310, 2)
	for _, s := range []*fleet.Spec{&published, &inside} {
		s.Cluster = fleet.Cluster{Networks: []string{"back"}, Secrets: []string{"db-password"}}
	}
	inside.Cluster.Reach = fleet.ReachNetwork
	published.Env, published.Secrets = map[string]string{"WHERE": "on {{.Node.Hostname}}"}, map[string]string{"KEY": "a{{b}}{{.c"}
	front := launch(t, d, published)[0]
	if text := ask(t, front, "/read?path=/run/secrets/db-password"); text != "hush" {
		t.Errorf("the secret is %q", text)
	}
	if where, key := ask(t, front, "/env?name=WHERE"), ask(t, front, "/env?name=KEY"); where != "on "+front.Host || key != "a{{b}}{{.c" {
		t.Errorf("its environment says %q and %q; it is on %s", where, key, front.Host)
	}
	for _, n := range launch(t, d, inside) {
		at, err := netip.ParseAddrPort(n.Address)
		if err != nil || !netip.MustParsePrefix("10.201.7.0/24").Contains(at.Addr()) || at.Port() != 8080 {
			t.Errorf("%s is at %s, not in the network", n.ID.Node, n.Address)
		}
		if text := ask(t, front, "/fetch?url=http://"+n.Address+"/"); !strings.HasPrefix(text, "hello") { // on another host, for one of them
			t.Errorf("%s says %q within the network", n.ID.Node, text)
		}
	}
	t.Cleanup(func() { _ = manager.NetworkRemove(context.WithoutCancel(t.Context()), made.ID) })
	for what, c := range map[string]fleet.Cluster{"secret": {Secrets: []string{"none-such"}}, "network": {Networks: []string{"none-such"}}} {
		spec := w.spec(320, 1)
		spec.Cluster = c
		if nodes, err := d.Ensure(t.Context(), spec); !fault.Is(err, fault.NotFound) || len(nodes) > 0 {
			t.Errorf("a %s that is not there: %v, %v", what, nodes, err)
		}
	}
}

// testReached: commands and copies go to the engine of a node's host, be it a manager's or another one; where the agent does not reach
// that, the error says what to do.
func testReached(t *testing.T, w *world) {
	all := w.driver()
	spec := w.spec(330, 3)
	nodes := launch(t, all, spec)
	only := w.driver(func(o *Options) { o.Managers = o.Managers[:1] })
	more := w.driver(func(o *Options) { o.Managers, o.Engines = o.Managers[:1], o.Managers[1:2] })
	for _, n := range nodes {
		for d, reached := range map[*Driver]bool{all: true, only: n.Host == "alpha", more: n.Host != "gamma"} {
			var out strings.Builder
			code, err := d.Exec(t.Context(), n.ID, fleet.ExecSpec{Command: []string{"/testnode", "echo", "here"}, Stdout: &out})
			if reached && (err != nil || code != 0 || out.String() != "here\n") {
				t.Errorf("%s on %s: %d, %v, %q", n.ID.Node, n.Host, code, err, out.String())
			}
			r, copied := d.CopyOut(t.Context(), n.ID, "/testnode")
			if copied == nil {
				r.Close()
			}
			var advice *fault.Error
			if said := errors.As(copied, &advice) && strings.Contains(advice.Hint, "swarm: {engines: [\"tcp://"+n.Host+":2376\"]}"); reached == said || (copied == nil) != reached || (err == nil) != reached {
				t.Errorf("%s on %s, which is reached: %v: exec %v, copy %v", n.ID.Node, n.Host, reached, err, copied)
			}
			if drift, err := d.Drift(t.Context(), n.ID, fleet.DriftSpec{Spec: spec}); reached && (err != nil || drift.Total != 0) || !reached && !fault.Is(err, fault.Unsupported) {
				t.Errorf("%s on %s, which is reached: %v: it differs in %+v, %v", n.ID.Node, n.Host, reached, drift, err)
			}
		}
	}
}

func testLostHost(t *testing.T, w *world, d *Driver) {
	spec := w.spec(400, 3)
	nodes := launch(t, d, spec)
	if at := d.managers[d.current.Load()].client.DaemonHost(); at != w.engines[2].Local() {
		t.Fatalf("%s is asked", at)
	}
	w.engines[2].PowerOff()
	var lost fleet.Node
	doubted := false
	fleettest.Within(t, time.Minute, "one node is gone", func() error {
		now, err := d.Nodes(t.Context(), spec.Fleet)
		if err != nil {
			if !errors.Is(err, fleet.ErrUnavailable) {
				t.Fatal(err)
			}
			return err
		}
		states := map[fleet.Presence]int{}
		for _, n := range now {
			states[n.Presence]++
			doubted = doubted || n.Presence == fleet.Unknown && n.Host == "gamma" && n.Address != ""
			if n.Presence == fleet.Gone {
				lost = n
			}
		}
		if len(now) != len(nodes) || states[fleet.Gone] > 1 {
			t.Fatalf("nodes are %+v", now)
		}
		if states[fleet.Gone] != 1 || states[fleet.Present] != 2 {
			return fmt.Errorf("nodes are %v", states)
		}
		return nil
	})
	if !doubted {
		t.Error("it was gone before it was unknown")
	}
	if lost.Host != "gamma" || lost.Exit == nil || lost.Exit.Reason != "its host gamma is down, says the Swarm" {
		t.Errorf("gone is %+v, %+v", lost, lost.Exit)
	}
	spec.Nodes = append(spec.Nodes, w.spec(403, 1).Nodes...)
	again, err := d.Ensure(t.Context(), spec)
	if err != nil || len(again) != 4 {
		t.Fatalf("boot another: %+v, %v", again, err)
	}
	if host, _, _ := net.SplitHostPort(again[3].Address); again[3].Presence != fleet.Present || host == w.engines[2].Address {
		t.Errorf("the new one is %+v", again[3])
	}
	ask(t, again[3], "/")
	if err := d.Remove(t.Context(), lost.ID, spec.Stop.Grace); err != nil {
		t.Errorf("remove what was lost: %v", err)
	}
}
