package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
)

// topSample is an app's traffic over one interval.
type topSample struct {
	At      time.Time   `json:"at"`
	Seconds float64     `json:"seconds"` // of the interval
	Freeze  *api.Freeze `json:"freeze,omitempty"`
	Routes  []topRoute  `json:"routes"`
	Fleets  []topRow    `json:"fleets"`
	Nodes   []topRow    `json:"nodes"`
}

// topEvent is a sample among the events of --json.
type topEvent struct {
	Type string `json:"type"` // "traffic"
	topSample
}

// topRoute is a route: what users asked of it, and what its fleets made of that.
type topRoute struct {
	Route    string `json:"route"`
	Failed   uint64 `json:"failed"`
	Retried  uint64 `json:"retried"`
	Rejected uint64 `json:"rejected"`
	topFigures
}

// topRow is a fleet or a node.
type topRow struct {
	Fleet   string `json:"fleet"`
	Release string `json:"release"`
	Node    string `json:"node,omitempty"`
	State   string `json:"state,omitempty"`
	Held    string `json:"held,omitempty"`  // of a fleet: why its nodes are not replaced
	Drift   int    `json:"drift,omitempty"` // changes in which the node differs from its image
	topFigures
}

// topFigures are what is told alike of routes, fleets and nodes.
type topFigures struct {
	PerSecond float64 `json:"requests_per_second"`
	ErrorRate float64 `json:"error_rate"` // of the interval's requests, 0 to 1
	P50       float64 `json:"p50"`        // seconds to the end of the answer's header, to the precision of a bucket; 0: no requests
	P95       float64 `json:"p95"`
	P99       float64 `json:"p99"`
	InFlight  *int    `json:"in_flight"` // null: the router cannot tell
	Long      *int    `json:"long"`
}

// sampleOf is what was counted between two readings.
func sampleOf(before, now api.Traffic, status api.Status) topSample {
	s := topSample{At: now.At, Seconds: now.At.Sub(before.At).Seconds(), Freeze: status.Freeze, Routes: []topRoute{}, Fleets: []topRow{}, Nodes: []topRow{}}
	d := deltaOf(before, now)
	states, places, drifts, held := map[string]string{}, map[string]int{}, map[string]int{}, map[string]string{}
	for i, f := range status.Fleets {
		states[f.ID], places[f.ID] = f.State, i+1
		if f.Storm != nil {
			held[f.ID] = f.Storm.Why
		}
		for _, n := range f.Nodes {
			states[n.ID] = n.State
			if n.Drift != nil {
				drifts[n.ID] = n.Drift.Total
			}
		}
	}
	fleets := map[string]*nodeDelta{}
	for _, n := range d.nodes {
		row := rowOf(n, s.Seconds, states[n.Node])
		row.Drift = drifts[n.Node]
		s.Nodes = append(s.Nodes, row)
		sum := fleets[n.Fleet]
		if sum == nil {
			sum = &nodeDelta{NodeTraffic: api.NodeTraffic{Fleet: n.Fleet}}
			fleets[n.Fleet] = sum
		}
		sum.add(n)
	}
	for _, f := range fleets {
		row := rowOf(*f, s.Seconds, states[f.Fleet])
		row.Held = held[f.Fleet]
		s.Fleets = append(s.Fleets, row)
	}
	for _, r := range d.routes {
		s.Routes = append(s.Routes, routeOf(r, fleets, s.Seconds))
	}
	slices.SortFunc(s.Fleets, func(a, b topRow) int { // the newest first
		return cmp.Or(cmp.Compare(places[b.Fleet], places[a.Fleet]), strings.Compare(b.Fleet, a.Fleet))
	})
	slices.SortFunc(s.Nodes, func(a, b topRow) int { return strings.Compare(a.Node, b.Node) })
	return s
}

// routeOf is a route with what its fleets' nodes counted together: percentiles come from all latencies at once. A request that found
// no node is an error that no node counts.
func routeOf(r routeDelta, fleets map[string]*nodeDelta, seconds float64) topRoute {
	sum := nodeDelta{inFlightUnknown: r.inFlightUnknown}
	for id, f := range fleets {
		if isOfRoute(id, r.Route) {
			sum.add(*f)
		}
	}
	sum.Requests += r.NoNode
	sum.Errors += r.NoNode
	out := topRoute{Route: r.Route, Failed: r.Failed, Retried: r.Retried, Rejected: r.Rejected, topFigures: sum.figures(seconds)}
	out.PerSecond = perSecond(r.Requests, seconds) // each request once, however often it was tried
	return out
}

// isOfRoute says whether the fleet is one behind the route: a route has the name of its role, and a mark after a colon when it is not
// the one for users.
func isOfRoute(fleet, route string) bool {
	role, _, _ := strings.Cut(route, ":")
	return strings.HasPrefix(fleet, role+"/")
}

func rowOf(n nodeDelta, seconds float64, state string) topRow {
	r := topRow{Fleet: n.Fleet, Node: n.Node, State: state, topFigures: n.figures(seconds)}
	if n.Ejected {
		r.State = "ejected"
	}
	if parts := strings.Split(n.Fleet, "/"); len(parts) > 3 {
		r.Release = parts[3]
	}
	return r
}

func (n nodeDelta) figures(seconds float64) topFigures {
	f := topFigures{PerSecond: perSecond(n.Requests, seconds)}
	if n.Requests > 0 {
		f.ErrorRate = min(1, float64(n.Errors)/float64(n.Requests))
	}
	f.P50, f.P95, f.P99 = percentile(n.Latency, 0.5), percentile(n.Latency, 0.95), percentile(n.Latency, 0.99)
	if !n.inFlightUnknown {
		f.InFlight, f.Long = &n.InFlight, &n.Long
	}
	return f
}

func perSecond(n uint64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(n) / seconds
}

// percentile is the upper bound of the bucket that the q-th part of the counts ends in; 0 without any.
func percentile(counts []uint64, q float64) float64 {
	var total, sum uint64
	for _, n := range counts {
		total += n
	}
	bounds := api.LatencyBounds()
	for i, n := range counts {
		if sum += n; n > 0 && float64(sum) >= q*float64(total) {
			return bounds[min(i, len(bounds)-1)]
		}
	}
	return 0
}
