package main

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
)

// latency is a histogram with n requests in one bucket.
func latency(bucket int, n uint64) []uint64 {
	counts := make([]uint64, 34)
	counts[bucket] = n
	return counts
}

// Two edges, one of which began anew in between; a node's latencies are those of the interval.
func TestTopSample(t *testing.T) {
	start := time.Unix(1000, 0)
	node := func(name string, requests, errors uint64, counts []uint64) api.NodeTraffic {
		return api.NodeTraffic{Fleet: "shop/production/web/r7/1", Node: name, Requests: requests, Errors: errors, InFlight: 2, Long: 1, Latency: counts}
	}
	before := api.Traffic{At: start, Edges: []api.EdgeTraffic{
		{Edge: "a", Instance: "1", Routes: []api.RouteTraffic{{Route: "shop/production/web", Requests: 100, Failed: 3}}, Nodes: []api.NodeTraffic{node("n1", 100, 5, latency(0, 100))}},
		{Edge: "b", Instance: "1", Routes: []api.RouteTraffic{{Route: "shop/production/web", Requests: 500}}, Nodes: []api.NodeTraffic{node("n1", 500, 0, nil)}},
	}}
	now := api.Traffic{At: start.Add(2 * time.Second), Edges: []api.EdgeTraffic{
		{Edge: "a", Instance: "1", Routes: []api.RouteTraffic{{Route: "shop/production/web", Requests: 140, Failed: 4}}, Nodes: []api.NodeTraffic{node("n1", 140, 9, slices.Concat([]uint64{100, 40}, make([]uint64, 32)))}},
		{Edge: "b", Instance: "2", Routes: []api.RouteTraffic{{Route: "shop/production/web", Requests: 20}}, Nodes: []api.NodeTraffic{node("n1", 10, 1, latency(1, 10)), node("n2", 10, 0, nil)}},
	}}
	s := sampleOf(before, now, api.Status{})
	if len(s.Routes) != 1 || s.Routes[0].PerSecond != 30 || s.Routes[0].Failed != 1 {
		t.Errorf("routes %+v", s.Routes)
	}
	if len(s.Nodes) != 2 || s.Nodes[0].PerSecond != 25 || s.Nodes[0].ErrorRate != 0.1 || *s.Nodes[0].InFlight != 4 || s.Nodes[0].P50 != api.LatencyBounds()[1] {
		t.Errorf("nodes %+v", s.Nodes)
	}
	if len(s.Fleets) != 1 || s.Fleets[0].PerSecond != 30 || s.Fleets[0].Release != "r7" || *s.Fleets[0].Long != 3 {
		t.Errorf("fleets %+v", s.Fleets)
	}
	two := api.Traffic{Edges: []api.EdgeTraffic{{Nodes: []api.NodeTraffic{
		{Fleet: "shop/production/web/r9/1", Node: "a"}, {Fleet: "shop/production/web/r10/1", Node: "b"},
	}}}}
	s = sampleOf(two, two, api.Status{Fleets: []api.Fleet{{ID: "shop/production/web/r9/1"}, {ID: "shop/production/web/r10/1"}}})
	if s.Fleets[0].Release != "r10" {
		t.Errorf("fleets %+v, wanted is the newest first", s.Fleets)
	}
	if percentile(nil, 0.5) != 0 || percentile([]uint64{0, 90, 10}, 0.95) != api.LatencyBounds()[2] {
		t.Error("percentile")
	}
}

// A route has the figures of all its fleets, as if they were one: the percentiles are those of all requests and not between those of
// the fleets, and what found no node is an error too.
func TestTopRoute(t *testing.T) {
	at := time.Unix(1000, 0)
	before := api.Traffic{At: at}
	now := api.Traffic{At: at.Add(2 * time.Second), Edges: []api.EdgeTraffic{{
		Edge: "a", Instance: "1",
		Routes: []api.RouteTraffic{
			{Route: "shop/production/web", Requests: 1100, Failed: 20, NoNode: 20},
			{Route: "shop/production/web:internal"},
			{Route: "shop/production/webhooks"}, // no fleet of it has a name that begins like another role's
		},
		Nodes: []api.NodeTraffic{
			{Fleet: "shop/production/web/r1/1", Node: "a", Requests: 880, Errors: 2, InFlight: 3, Long: 1, Latency: latency(2, 880)},
			{Fleet: "shop/production/web/r2/1", Node: "b", Requests: 90, InFlight: 4, Latency: latency(10, 90)},
			{Fleet: "shop/production/web/r2/1", Node: "c", Requests: 10, Errors: 8, InFlight: 5, Long: 2, Latency: latency(20, 10)},
		},
	}}}
	bounds := api.LatencyBounds()
	s := sampleOf(before, now, api.Status{})
	want := topFigures{PerSecond: 550, ErrorRate: 0.03, P50: bounds[2], P95: bounds[10], P99: bounds[20], InFlight: new(12), Long: new(3)}
	if got := s.Routes[0].topFigures; !reflect.DeepEqual(got, want) {
		t.Errorf("route %s, want %s", asJSON(got), asJSON(want))
	}
	if got := s.Routes[1].topFigures; *got.InFlight != 12 || got.P99 != bounds[20] {
		t.Errorf("the route for other roles has the same fleets, and not %s", asJSON(got))
	}
	if got := s.Routes[2].topFigures; !reflect.DeepEqual(got, topFigures{InFlight: new(0), Long: new(0)}) {
		t.Errorf("a route without a fleet: %s", asJSON(got))
	}
	lines := (&output{}).topLines(s)
	if want := []string{"shop/production/web", "550.0", "3.0", "%", "2", "ms", "32", "ms", "1", "s", "12", "3", "20", "failed"}; !slices.Equal(strings.Fields(lines[1]), want) {
		t.Errorf("line %q, want %q", lines[1], want)
	}
	now.Edges[0].InFlightUnknown = true
	s = sampleOf(before, now, api.Status{})
	if lines := (&output{}).topLines(s); s.Routes[0].InFlight != nil || s.Fleets[0].Long != nil || !strings.Contains(lines[1], "–  ") {
		t.Errorf("what a router cannot tell is shown as known: %q", lines)
	}
	if f := s.Routes[2].topFigures; f.InFlight != nil || f.Long != nil {
		t.Errorf("nor can it tell of a route without nodes: %s", asJSON(f))
	}
}

func asJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}
