package haproxy

import (
	"maps"
	"slices"
	"time"

	"github.com/bootandshoot/release/router"
)

// sums are an edge's counters over all its workers since its HAProxy started, or since we look. A reload begins a worker's
// counters anew, and those of the one before go on until it ends.
type sums struct {
	master, reloads int
	instance        string
	ended           reading              // of workers that have ended
	living          map[string]reading   // by worker
	cut             map[[2]string]uint64 // streams that we ended, by fleet and node
	shown           map[nodeKey]shown
}

// shown is what was last told of a node that is in no table and empty.
type shown struct {
	counters [6]uint64
	changed  time.Time
}

// lingering is how long such a node is shown with what it counted last: whoever reads a few times a second is not to miss
// how its last requests ended.
const lingering = 3 * time.Second

// reading is what one worker has counted.
type reading struct {
	version router.Version
	nodes   map[nodeKey]router.NodeTraffic
	routes  map[string]router.RouteTraffic
}

type nodeKey struct{ fleet, node, address string }

func newSums() sums {
	return sums{ended: newReading(), living: map[string]reading{}, cut: map[[2]string]uint64{}, shown: map[nodeKey]shown{}}
}

func newReading() reading {
	return reading{nodes: map[nodeKey]router.NodeTraffic{}, routes: map[string]router.RouteTraffic{}}
}

// begin looks whether this is still the HAProxy whose counters these are. current is its current worker.
func (s *sums) begin(p processes, current string) {
	_, same := s.living[current]
	reloaded := p.master == s.master && p.reloads > s.reloads
	if !same && !reloaded {
		*s = newSums()
		s.instance = current
	}
	s.master, s.reloads = p.master, p.reloads
}

// take replaces what the living workers have counted. What is in flight in those that have ended is nothing any more.
func (s *sums) take(now map[string]reading) {
	for id, r := range s.living {
		if _, lives := now[id]; lives {
			continue
		}
		for k, n := range r.nodes {
			n.InFlight, n.Long, n.Ejected = 0, 0, false
			s.ended.addNode(k, n)
		}
		for _, t := range r.routes {
			s.ended.addRoute(t)
		}
	}
	s.living = now
}

// total is everything together.
func (s *sums) total() reading {
	out := newReading()
	for _, r := range append(slices.Collect(maps.Values(s.living)), s.ended) {
		for k, n := range r.nodes {
			out.addNode(k, n)
		}
		for _, t := range r.routes {
			out.addRoute(t)
		}
	}
	return out
}

func (r *reading) addNode(k nodeKey, n router.NodeTraffic) {
	sum, seen := r.nodes[k]
	if !seen {
		n.Latency.Counts = slices.Clone(n.Latency.Counts)
		r.nodes[k] = n
		return
	}
	sum.InFlight += n.InFlight
	sum.Long += n.Long
	sum.Ejected = sum.Ejected || n.Ejected
	sum.Requests += n.Requests
	sum.Status5x += n.Status5x
	sum.Connect += n.Connect
	sum.Reset += n.Reset
	sum.Timeout += n.Timeout
	sum.Cut += n.Cut
	sum.Latency = sumOf(sum.Latency, n.Latency)
	r.nodes[k] = sum
}

func sumOf(a, b router.Histogram) router.Histogram {
	out := router.Histogram{Counts: make([]uint64, max(len(a.Counts), len(b.Counts))), Sum: a.Sum + b.Sum}
	for i := range a.Counts {
		out.Counts[i] += a.Counts[i]
	}
	for i := range b.Counts {
		out.Counts[i] += b.Counts[i]
	}
	return out
}

func (r *reading) addRoute(t router.RouteTraffic) {
	sum := r.routes[t.Route]
	sum.Route = t.Route
	sum.NoNode += t.NoNode
	sum.Requests += t.Requests
	sum.Retried += t.Retried
	sum.Failed += t.Failed
	sum.Rejected += t.Rejected
	r.routes[t.Route] = sum
}

// forget drops nodes that have ended with their workers and are not shown any more.
func (s *sums) forget(shown []router.NodeTraffic) {
	stays := map[[2]string]bool{}
	for _, n := range shown {
		stays[[2]string{n.Fleet, n.Node}] = true
	}
	for _, r := range s.living {
		for k := range r.nodes {
			stays[[2]string{k.fleet, k.node}] = true
		}
	}
	for k := range s.ended.nodes {
		if !stays[[2]string{k.fleet, k.node}] {
			delete(s.ended.nodes, k)
			delete(s.shown, k)
			delete(s.cut, [2]string{k.fleet, k.node})
		}
	}
}

// visible are the nodes of the table, others that have requests, and those that counted something a moment ago.
func (s *sums) visible(total reading, inTable map[nodeKey]bool, now time.Time) []router.NodeTraffic {
	var out []router.NodeTraffic
	for k := range inTable {
		if _, seen := total.nodes[k]; !seen {
			out = append(out, router.NodeTraffic{Fleet: k.fleet, Node: k.node})
		}
	}
	for k, n := range total.nodes {
		n.Cut = s.cut[[2]string{k.fleet, k.node}]
		was, counters := s.shown[k], [6]uint64{n.Requests, n.Status5x, n.Connect, n.Reset, n.Timeout, n.Cut}
		stays := inTable[k] || n.InFlight > 0
		if was.counters != counters {
			was = shown{counters: counters}
			if !stays {
				was.changed = now
			}
		}
		s.shown[k] = was
		if stays || now.Sub(was.changed) < lingering {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b router.NodeTraffic) int {
		return slices.Compare([]string{a.Fleet, a.Node}, []string{b.Fleet, b.Node})
	})
	return out
}
