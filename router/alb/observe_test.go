package alb

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// TestCounters: what CloudWatch says of a group is shared by its nodes, each minute once, also when its numbers rise later.
func TestCounters(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	now := time.Now().Truncate(time.Minute).Add(-time.Hour)
	b := provided{c.backend(func(o *Options, _ *awsapi.Options) { o.Now = func() time.Time { return now } }), c}
	listen := routertest.FreeListen(t)
	fleet := routertest.FleetOf(1, 100, routertest.DeadNode(t, "a"), routertest.DeadNode(t, "b"))
	c.apply(b, routertest.TableOf(1, routertest.RouteTo(listen, fleet)))
	group := b.groupName(fleet.ID, "")
	count := func(at time.Time, n, status int, seconds float64) {
		for range n {
			c.server.Count(region, group, awstest.Sample{At: at, Status: status, Seconds: seconds})
		}
	}
	edge := func() router.Edge {
		o, err := b.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return o.Edges[0]
	}
	if e := edge(); e.Nodes[0].Requests != 0 || e.Routes[0].Requests != 0 {
		t.Fatalf("before any: %+v", e)
	}
	count(now.Add(10*time.Second), 90, 200, .010)
	count(now.Add(20*time.Second), 11, 503, .500)
	count(now.Add(30*time.Second), 4, 0, 0)
	count(now.Add(-10*time.Minute), 1000, 200, .010) // before the backend began
	wants := func(requests, fives, connect uint64) {
		t.Helper()
		now = now.Add(time.Minute)
		b.known.outdated()
		e := edge()
		var sum router.NodeTraffic
		var latencies, slow uint64
		for _, n := range e.Nodes {
			sum.Requests, sum.Status5x, sum.Connect = sum.Requests+n.Requests, sum.Status5x+n.Status5x, sum.Connect+n.Connect
			for i, k := range n.Latency.Counts {
				if latencies += k; i > 0 && router.LatencyBounds()[min(i, 32)] > .4 {
					slow += k
				}
			}
		}
		if sum.Requests != requests || sum.Status5x != fives || sum.Connect != connect || e.Routes[0].Requests != requests || latencies != requests {
			t.Errorf("%+v, %d latencies; want %d requests, %d, %d", e, latencies, requests, fives, connect)
		}
		if slow < 11 || slow > requests*6/10 { // estimated from percentiles, on the slow side
			t.Errorf("%d of %d are slow", slow, requests)
		}
		if d := int(e.Nodes[0].Requests) - int(e.Nodes[1].Requests); d < -2 || d > 2 {
			t.Errorf("the nodes' shares differ by %d", d)
		}
	}
	wants(101, 11, 4)
	wants(101, 11, 4)
	count(now.Add(-90*time.Second), 20, 200, .010) // CloudWatch learns of them late
	wants(121, 11, 4)
}

// TestDraining: a node that left is observed until the balancer has it no more, by an agent that was started meanwhile too. That is
// when the delay is over, also for a node that has no request any more.
func TestDraining(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond, IdleDrain: time.Hour})
	const drain = 3 * time.Second
	b := provided{c.backend(func(o *Options, _ *awsapi.Options) { o.Drain = drain }), c}
	listen := routertest.FreeListen(t)
	arrived, finish := make(chan struct{}), make(chan struct{})
	busy := routertest.StartNode(t, "busy", func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-finish
		fmt.Fprint(w, "done")
	})
	fleet := routertest.FleetOf(1, 100, busy)
	c.apply(b, routertest.TableOf(1, routertest.RouteTo(listen, fleet)))
	answer := make(chan string, 1)
	go func() { _, body := get(t, listen, "", "/"); answer <- body }()
	<-arrived
	left := time.Now()
	c.apply(b, routertest.TableOf(2, routertest.RouteTo(listen, routertest.FleetOf(2, 100, routertest.StartNode(t, "next", nil)))))
	inFlight := func(b *Backend) int {
		o, err := b.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !o.Edges[0].InFlightUnknown {
			t.Error("what is in flight is said to be known")
		}
		for _, n := range o.Edges[0].Nodes {
			if n.Node == "busy" && n.Fleet == fleet.ID {
				return n.InFlight
			}
		}
		return 0
	}
	if n := inFlight(c.backend()); n != 1 {
		t.Errorf("after a restart the node that drains has %d", n)
	}
	close(finish)
	if body := <-answer; body != "done" {
		t.Errorf("the request in flight got %q", body)
	}
	routertest.Eventually(t, "the node is empty", func() bool { return inFlight(b.Backend) == 0 })
	if took := time.Since(left); took < drain {
		t.Errorf("the node was empty after %s, before the balancer let it go", took)
	}
	routertest.Eventually(t, "its target group is gone", func() bool {
		_, err := b.Observe(t.Context())
		v, lerr := b.look(t.Context())
		return err == nil && lerr == nil && v.groups[b.groupName(fleet.ID, "")] == nil
	})
}

// TestLateClean: what was over when it was looked at, and is wanted since, stays.
func TestLateClean(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	listen := routertest.FreeListen(t)
	b := provided{c.backend(), c}
	one, two := routertest.FleetOf(1, 100, routertest.DeadNode(t, "a")), routertest.FleetOf(2, 100, routertest.DeadNode(t, "b"))
	c.apply(b, routertest.TableOf(1, routertest.RouteTo(listen, one)))
	c.apply(b, routertest.TableOf(2, routertest.RouteTo(listen, two)))
	name := b.groupName(one.ID, "")
	_, changes := b.known.fresh()
	v, err := b.look(t.Context())
	if err != nil || v.groups[name] == nil {
		t.Fatal(v.groups, err)
	}
	rec, err := b.record(v)
	if err != nil {
		t.Fatal(err)
	}
	c.apply(b, routertest.TableOf(3, routertest.RouteTo(listen, one)))
	rules := func() (all []string) {
		v, err := b.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range v.rules {
			if r.action.weights[v.groups[name].arn] > 0 {
				all = append(all, r.match)
			}
		}
		return all
	}
	before := rules()
	b.clean(t.Context(), &seen{over: &over{v, rec, changes}})
	if now := rules(); len(before) != 2 || len(now) != 2 {
		t.Errorf("the fleet had rules %q, and has %q", before, now)
	}
	// Another agent, which does not know of the change, takes no rule away that users come by.
	now, err := b.look(t.Context())
	if err == nil {
		err = c.backend().remove(t.Context(), now, now.groups[name])
	}
	if !awsapi.Is(err, "ResourceInUse") || len(rules()) != 1 {
		t.Errorf("a group in use was removed: %v, %q", err, rules())
	}
}
