package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/router"
)

const (
	fleet1 = "shop/production/web/r1/1"
	fleet2 = "shop/production/web/r2/1"
)

// edge is a reading of one edge: requests of the route, and by node of the first fleet.
func edge(id, instance string, requests uint64, nodes map[string]uint64) router.Edge {
	e := router.Edge{ID: id, Instance: instance, Routes: []router.RouteTraffic{{Route: "shop/production/web", Requests: requests}}}
	for name, n := range nodes {
		e.Nodes = append(e.Nodes, router.NodeTraffic{Fleet: fleet1, Node: name, Requests: n})
	}
	return e
}

func reading(edges ...router.Edge) router.Observation { return router.Observation{Edges: edges} }

// tallyState is a state with these nodes in its first fleet.
func tallyState(nodes ...string) *State {
	s := &State{Key: shop, Fleets: []*Fleet{{ID: fleet.FleetID{App: shop.App, Env: shop.Env, Role: Role, Release: "r1", Incarnation: 1}}}}
	for _, name := range nodes {
		s.Fleets[0].Nodes = append(s.Fleets[0].Nodes, &Node{Name: name})
	}
	return s
}

func TestTally(t *testing.T) {
	type nodes = map[string]uint64
	for name, c := range map[string]struct {
		readings []router.Observation
		requests uint64 // of the route
		sent     uint64 // to the fleet
	}{
		"first":             {[]router.Observation{reading(edge("e", "1", 5, nodes{"a": 4}))}, 5, 4},
		"grows":             {[]router.Observation{reading(edge("e", "1", 5, nodes{"a": 4})), reading(edge("e", "1", 8, nodes{"a": 6, "b": 2}))}, 8, 8},
		"restarted":         {[]router.Observation{reading(edge("e", "1", 5, nodes{"a": 4})), reading(edge("e", "2", 3, nodes{"a": 2}))}, 8, 6},
		"restarted, higher": {[]router.Observation{reading(edge("e", "1", 5, nodes{"a": 4})), reading(edge("e", "2", 9, nodes{"a": 7}))}, 14, 11},
		"silent":            {[]router.Observation{reading(edge("e", "1", 5, nodes{"a": 4})), reading(), reading(edge("e", "1", 6, nodes{"a": 5}))}, 6, 5},
		"one of two silent": {[]router.Observation{
			reading(edge("e", "1", 5, nodes{"a": 4}), edge("f", "1", 10, nodes{"a": 9})), reading(edge("e", "1", 6, nodes{"a": 5})),
			reading(edge("e", "1", 6, nodes{"a": 5}), edge("f", "1", 20, nodes{"a": 19})),
		}, 26, 24},
		"another edge later": {[]router.Observation{
			reading(edge("e", "1", 5, nodes{"a": 4})), reading(edge("e", "1", 5, nodes{"a": 4}), edge("f", "1", 1000, nodes{"a": 999})),
			reading(edge("e", "1", 5, nodes{"a": 4}), edge("f", "1", 1001, nodes{"a": 1000})),
		}, 6, 5},
		"node comes back, counting on": {[]router.Observation{
			reading(edge("e", "1", 5, nodes{"a": 4})), reading(edge("e", "1", 5, nil)), reading(edge("e", "1", 6, nodes{"a": 5})),
		}, 6, 5},
		"node comes back anew": {[]router.Observation{
			reading(edge("e", "1", 5, nodes{"a": 4})), reading(edge("e", "1", 5, nil)), reading(edge("e", "1", 6, nodes{"a": 1})),
		}, 6, 5},
		"of another app": {[]router.Observation{reading(router.Edge{ID: "e", Routes: []router.RouteTraffic{
			{Route: "other/production/web", Requests: 7}, {Route: "odd", Requests: 7}}})}, 0, 0},
	} {
		// With another agent after each reading it must come to the same.
		for _, agents := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, agents die: %v", name, agents), func(t *testing.T) {
				ts, at := newTallies(), time.Unix(1000, 0)
				s := tallyState("a", "b")
				for _, obs := range c.readings {
					ts.take(obs, at)
					ts.record(s, at)
					if agents {
						ts = newTallies()
						ts.resume(reread(t, s))
					}
				}
				if l := ts.of(shop); l.Requests != c.requests || l.Fleets[fleet1].Requests != c.sent {
					t.Errorf("%d requests and %d sent, want %d and %d", l.Requests, l.Fleets[fleet1].Requests, c.requests, c.sent)
				}
			})
		}
	}
}

func reread(t *testing.T, s *State) *State {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again State
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	return &again
}

func TestTallyOfEveryCounter(t *testing.T) {
	ts := newTallies()
	obs := func(k uint64) router.Observation {
		return reading(router.Edge{ID: "e", Instance: "1",
			Routes: []router.RouteTraffic{{Route: "shop/production/web", Requests: k, Failed: 2 * k, Retried: 3 * k, Rejected: 4 * k, NoNode: 5 * k}},
			Nodes: []router.NodeTraffic{{Fleet: fleet1, Node: "a", Requests: k, Status5x: 2 * k, Connect: 3 * k, Reset: 4 * k, Timeout: 5 * k, Cut: 6 * k},
				{Fleet: fleet2, Node: "b", Requests: 7 * k, Cut: k}}})
	}
	ts.take(obs(1), time.Unix(1, 0))
	from := ts.of(shop)
	ts.take(obs(11), time.Unix(2, 0))
	want := Ledger{Requests: 10, Failed: 20, Retried: 30, Rejected: 40, NoNode: 50, Cut: 70, Fleets: map[string]FleetLedger{
		fleet1: {Requests: 10, Status5x: 20, Connect: 30, Reset: 40, Timeout: 50, Cut: 60}, fleet2: {Requests: 70, Cut: 10}}}
	got := ts.of(shop).since(from)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if text := got.String(); text != "10 requests, 20 failed, 20 answered 5xx by nodes, 30 retried, 70 cut (30 connect, 40 reset, 50 timeout, 50 no node, 40 rejected)" {
		t.Error(text)
	}
	if from.Requests != 1 || from.Fleets[fleet1].Requests != 1 {
		t.Errorf("what was read before has changed: %+v", from)
	}
}

// What nothing asks for any more does not stay: nodes that are gone, fleets without an operation, edges long away.
func TestTallyForgets(t *testing.T) {
	ts, at := newTallies(), time.Unix(1000, 0)
	ts.take(reading(edge("e", "1", 5, map[string]uint64{"a": 4, "b": 1}), edge("f", "1", 0, nil)), at)
	s := tallyState("a")
	ts.record(s, at)
	if len(s.Marks["e"].Nodes) != 2 {
		t.Errorf("a node that the edge still has is forgotten: %+v", s.Marks)
	}
	ts.take(reading(edge("e", "1", 5, map[string]uint64{"b": 2})), at)
	ts.take(reading(edge("e", "1", 5, nil)), at.Add(25*time.Hour))
	s.Fleets, s.Operations = nil, []*Operation{{}}
	ts.record(s, at.Add(25*time.Hour))
	if len(s.Marks) != 1 || len(s.Marks["e"].Nodes) != 0 || s.Counted.Fleets[fleet1].Requests != 6 {
		t.Errorf("kept is %+v of %+v", s.Marks, s.Counted)
	}
	s.Operations = nil
	ts.record(s, at.Add(25*time.Hour))
	if len(s.Counted.Fleets) != 0 {
		t.Errorf("kept is %+v", s.Counted)
	}
}

// TestTallyLosesLittle plays edges and agents that die. What is counted is exactly what each edge process had said last to this
// agent, or to an earlier one before it wrote the state: nothing twice, and nothing else is missing.
func TestTallyLosesLittle(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		ts, s, at := newTallies(), tallyState("a"), time.Unix(1000, 0)
		ids, counters, instance := []string{"e", "f"}, [2]uint64{}, [2]int{}
		said, written := map[string]uint64{}, map[string]uint64{} // by edge and instance
		look := func(chance int) {
			var edges []router.Edge
			for i, id := range ids {
				if rnd.IntN(4) < chance {
					edges = append(edges, edge(id, fmt.Sprint(instance[i]), counters[i], map[string]uint64{"a": counters[i]}))
					said[fmt.Sprint(id, instance[i])] = counters[i]
				}
			}
			ts.take(reading(edges...), at)
		}
		write := func() { ts.record(s, at); written = maps.Clone(said) }
		look(4)
		write()
		for range 100 {
			at = at.Add(time.Second)
			for i := range counters {
				counters[i] += rnd.Uint64N(50)
			}
			switch i := rnd.IntN(2); rnd.IntN(5) {
			case 0:
				counters[i], instance[i] = 0, instance[i]+1
			case 1:
				ts, said = newTallies(), maps.Clone(written)
				ts.resume(reread(t, s))
			case 2:
				write()
			}
			look(3)
		}
		var want uint64
		for _, n := range said {
			want += n
		}
		if got := ts.of(shop); got.Requests != want || got.Fleets[fleet1].Requests != want {
			t.Fatalf("seed %d: counted %d requests and %d sent, want %d", seed, got.Requests, got.Fleets[fleet1].Requests, want)
		}
	}
}

// What breaks in the moment of the switch is in the ledger, by release and cause, though the cutover is over in milliseconds.
func TestLedgerSeesTheSwitch(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		node := r.state().fleetOf("r1").Nodes[0].Name
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1)})
		time.Sleep(time.Second)
		r.router.OnApply(func(router.Table) {
			r.router.Count(fleet1, node, func(n *router.NodeTraffic) { n.Requests, n.Reset = 7, 2 })
			r.router.CountRoute("shop/production/web", func(rt *router.RouteTraffic) { rt.Requests, rt.Failed, rt.Retried = 7, 1, 1 })
		})
		op := r.done(Request{Kind: KindCutover})
		if l := op.Ledger; l.Requests != 7 || l.Failed != 1 || l.Retried != 1 || l.Fleets[fleet1] != (FleetLedger{Requests: 7, Reset: 2}) {
			t.Errorf("the ledger is %+v", l)
		}
		if took := op.Ended.Sub(op.At); took > time.Second {
			t.Errorf("the cutover took %s", took)
		}
		done := r.events("cutover.done")
		if len(done) != 1 || done[0].Ledger == nil || done[0].Ledger.Failed != 1 {
			t.Errorf("told is %+v", done)
		}
		if l := r.state().release("r2").Ledger; l.Failed != 1 {
			t.Errorf("the release's ledger is %+v", l)
		}
	})
}

// A router that dies in the middle of a cutover takes only what it had not said; an agent that dies, nothing.
func TestLedgerOverRestarts(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		held := func(c *config.App) {
			c.Cutover.Steps = []config.Step{{Percent: 50, Hold: config.Duration(time.Minute)}, {Percent: 100}}
		}
		r.up(1, 1, held)
		node := r.state().fleetOf("r1").Nodes[0].Name
		count := func(n uint64) {
			r.router.Count(fleet1, node, func(t *router.NodeTraffic) { t.Requests, t.Connect = t.Requests+n, t.Connect+1 })
			r.router.CountRoute("shop/production/web", func(rt *router.RouteTraffic) { rt.Requests, rt.Failed = rt.Requests+n, rt.Failed+1 })
			time.Sleep(time.Second)
		}
		count(1000)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, held)})
		r.until("50 %", func(*State) bool { return r.weights()["r2"] == 50 })
		count(10)
		r.router.Restart()
		count(200)
		r.stop()
		count(3000)
		r.driver = r.driver.Reopen("")
		r.start()
		count(40000)
		op = r.wait(op)
		if l := op.Ledger; l.Requests != 43210 || l.Failed != 4 || l.Fleets[fleet1] != (FleetLedger{Requests: 43210, Connect: 4}) {
			t.Errorf("the ledger is %+v, want 43210 requests", l)
		}
	})
}

// repaired waits for the end of an automatic replacement.
func (r *rig) repaired() Operation {
	r.t.Helper()
	var ops []Operation
	r.until("a replacement to end", func(*State) bool {
		var err error
		if ops, err = r.o.History(context.Background(), shop); err != nil {
			r.t.Fatal(err)
		}
		return ops[0].Kind == KindReplace
	})
	return ops[0]
}

func TestReplacementsHaveALedger(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 3)
		time.Sleep(time.Minute)
		r.driver.Kill(r.running("r1")[0], fleet.Exit{Signal: "KILL", Code: 137})
		op := r.repaired()
		if !op.Auto || op.By != byItself || op.Release != "r1" || op.Failure != nil || len(op.Nodes) != 1 {
			t.Errorf("it is %+v", op)
		}
		if e := r.events("replace.done"); len(e) != 1 || e[0].Ledger == nil || e[0].Operation != op.ID || !strings.Contains(e[0].Message, "0 failed") {
			t.Errorf("told is %+v", e)
		}
	})
}

// What breaks at a node that is replaced for being unhealthy is the cost of that.
func TestUnhealthyNodesHaveALedger(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		victim := r.running("r1")[0]
		r.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
			if c.Method == fleettest.Ensure { // its successor boots
				r.router.CountRoute("shop/production/web", func(rt *router.RouteTraffic) { rt.Requests, rt.Failed = 9, 3 })
			}
			return nil
		})
		r.setSick(victim, true)
		op := r.repaired()
		if op.Ledger.Failed != 3 || op.Ledger.Requests != 9 || len(op.Nodes) != 1 || op.Nodes[0] != victim {
			t.Errorf("it is %+v", op)
		}
	})
}

// A fleet that keeps failing does not fill the history, nor push out what people did.
func TestReplacementsThatAreKept(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		for range keptRepairs + 20 {
			time.Sleep(settled + 5*time.Second)
			before := r.state().NextOperation
			for _, name := range r.running("r1") {
				r.driver.Kill(name, fleet.Exit{Code: 1})
			}
			r.until("it to be replaced", func(s *State) bool { return s.NextOperation > before && len(s.Operations) == 0 })
		}
		history, err := r.o.History(t.Context(), shop)
		if err != nil || len(history) != keptRepairs+1 || history[keptRepairs].Kind != KindUp {
			t.Errorf("%d operations are kept (%v), want %d replacements and the up", len(history), err, keptRepairs)
		}
	})
}
