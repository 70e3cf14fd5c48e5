package main

import (
	"slices"
	"strings"

	"github.com/bootandshoot/release/api"
)

// trafficDelta is what all edges counted between two readings.
type trafficDelta struct {
	routes []routeDelta
	nodes  []nodeDelta
}

// routeDelta is what was asked of a route between two readings.
type routeDelta struct {
	api.RouteTraffic
	inFlightUnknown bool // at one edge at least, which has to be said of a route without nodes too
}

// nodeDelta is what a node was sent between two readings, or several nodes together.
type nodeDelta struct {
	api.NodeTraffic
	inFlightUnknown bool // at one edge at least
}

// deltaOf takes an edge that began anew in between from 0.
func deltaOf(before, now api.Traffic) trafficDelta {
	routes, nodes := map[string]api.RouteTraffic{}, map[string]api.NodeTraffic{}
	for _, e := range before.Edges {
		for _, r := range e.Routes {
			routes[e.Edge+" "+e.Instance+" "+r.Route] = r
		}
		for _, n := range e.Nodes {
			nodes[e.Edge+" "+e.Instance+" "+n.Node] = n
		}
	}
	var d trafficDelta
	for _, e := range now.Edges {
		for _, r := range e.Routes {
			d.addRoute(routeDelta{r, e.InFlightUnknown}, routes[e.Edge+" "+e.Instance+" "+r.Route])
		}
		for _, n := range e.Nodes {
			d.addNode(nodeDelta{n, e.InFlightUnknown}, nodes[e.Edge+" "+e.Instance+" "+n.Node])
		}
	}
	slices.SortFunc(d.routes, func(a, b routeDelta) int { return strings.Compare(a.Route, b.Route) })
	return d
}

func (d *trafficDelta) addRoute(r routeDelta, was api.RouteTraffic) {
	i := slices.IndexFunc(d.routes, func(o routeDelta) bool { return o.Route == r.Route })
	if i < 0 {
		i = len(d.routes)
		d.routes = append(d.routes, routeDelta{RouteTraffic: api.RouteTraffic{Route: r.Route}})
	}
	sum := &d.routes[i]
	sum.Requests += less(r.Requests, was.Requests)
	sum.Failed += less(r.Failed, was.Failed)
	sum.Retried += less(r.Retried, was.Retried)
	sum.NoNode += less(r.NoNode, was.NoNode)
	sum.Rejected += less(r.Rejected, was.Rejected)
	sum.inFlightUnknown = sum.inFlightUnknown || r.inFlightUnknown
}

func (d *trafficDelta) addNode(n nodeDelta, was api.NodeTraffic) {
	i := slices.IndexFunc(d.nodes, func(o nodeDelta) bool { return o.Node == n.Node })
	if i < 0 {
		i = len(d.nodes)
		d.nodes = append(d.nodes, nodeDelta{NodeTraffic: api.NodeTraffic{Fleet: n.Fleet, Node: n.Node}})
	}
	n.Requests, n.Errors, n.Latency = less(n.Requests, was.Requests), less(n.Errors, was.Errors), slices.Clone(n.Latency)
	for k, c := range was.Latency {
		if k < len(n.Latency) {
			n.Latency[k] = less(n.Latency[k], c)
		}
	}
	d.nodes[i].add(n)
}

// add adds what another edge, another node of the fleet or another fleet of the route has.
func (sum *nodeDelta) add(n nodeDelta) {
	sum.Requests += n.Requests
	sum.Errors += n.Errors
	sum.InFlight += n.InFlight
	sum.Long += n.Long
	sum.inFlightUnknown = sum.inFlightUnknown || n.inFlightUnknown
	if sum.Node != "" {
		sum.Ejected = sum.Ejected || n.Ejected
	}
	for k, c := range n.Latency {
		if k == len(sum.Latency) {
			sum.Latency = append(sum.Latency, 0)
		}
		sum.Latency[k] += c
	}
}

func less(now, before uint64) uint64 { return now - min(now, before) }
