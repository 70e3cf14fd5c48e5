package main

import (
	"slices"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
)

// Two edges, one of which began anew in between; a node's latencies are those of the interval.
func TestTopSample(t *testing.T) {
	latency := func(bucket int, n uint64) []uint64 {
		counts := make([]uint64, 34)
		counts[bucket] = n
		return counts
	}
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
	if len(s.Nodes) != 2 || s.Nodes[0].PerSecond != 25 || s.Nodes[0].ErrorRate != 0.1 || s.Nodes[0].InFlight != 4 || s.Nodes[0].P50 != api.LatencyBounds()[1] {
		t.Errorf("nodes %+v", s.Nodes)
	}
	if len(s.Fleets) != 1 || s.Fleets[0].PerSecond != 30 || s.Fleets[0].Release != "r7" || s.Fleets[0].Long != 3 {
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
