package main

import (
	"slices"
	"strings"

	"github.com/bootandshoot/release/api"
)

// trafficDelta is what all edges counted between two readings.
type trafficDelta struct {
	routes []api.RouteTraffic
	nodes  []api.NodeTraffic
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
			was := routes[e.Edge+" "+e.Instance+" "+r.Route]
			i := slices.IndexFunc(d.routes, func(o api.RouteTraffic) bool { return o.Route == r.Route })
			if i < 0 {
				i = len(d.routes)
				d.routes = append(d.routes, api.RouteTraffic{Route: r.Route})
			}
			sum := &d.routes[i]
			sum.Requests += less(r.Requests, was.Requests)
			sum.Failed += less(r.Failed, was.Failed)
			sum.Retried += less(r.Retried, was.Retried)
			sum.Rejected += less(r.Rejected, was.Rejected)
		}
		for _, n := range e.Nodes {
			d.addNode(n, nodes[e.Edge+" "+e.Instance+" "+n.Node])
		}
	}
	slices.SortFunc(d.routes, func(a, b api.RouteTraffic) int { return strings.Compare(a.Route, b.Route) })
	return d
}

func (d *trafficDelta) addNode(n, was api.NodeTraffic) {
	i := slices.IndexFunc(d.nodes, func(o api.NodeTraffic) bool { return o.Node == n.Node })
	if i < 0 {
		i = len(d.nodes)
		d.nodes = append(d.nodes, api.NodeTraffic{Fleet: n.Fleet, Node: n.Node})
	}
	n.Requests, n.Errors, n.Latency = less(n.Requests, was.Requests), less(n.Errors, was.Errors), slices.Clone(n.Latency)
	for k, c := range was.Latency {
		if k < len(n.Latency) {
			n.Latency[k] = less(n.Latency[k], c)
		}
	}
	addTraffic(&d.nodes[i], n)
}

// addTraffic adds what another edge, or another node of the fleet, has.
func addTraffic(sum *api.NodeTraffic, n api.NodeTraffic) {
	sum.Requests += n.Requests
	sum.Errors += n.Errors
	sum.InFlight += n.InFlight
	sum.Long += n.Long
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
