package orchestrator

import (
	"maps"
	"strings"
	"time"

	"github.com/bootandshoot/release/router"
)

// tally is what the edges counted for one app since it is known. It only rises: edges that begin anew, nodes that leave
// and agents that follow one another go on from where it was. An edge that dies takes with it what it had counted since
// it was read last, at most observeEvery ago while an agent runs; nothing is counted twice.
type tally struct {
	sum   Ledger
	marks map[string]Mark // by the edge's id
}

// Mark is where the counters of an edge were when they were read last. It is kept with the state, so that the next agent
// counts on from there.
type Mark struct {
	Instance string                 `json:"instance"`
	Routes   map[string]routeCounts `json:"routes,omitempty"` // by name
	Nodes    map[string]nodeCounts  `json:"nodes,omitempty"`  // by name
}

// routeCounts are requests, failed, retried, rejected and no node.
type routeCounts [5]uint64

// nodeCounts are requests, 5xx, connect, reset, timeout and cut.
type nodeCounts [6]uint64

func countsOfRoute(r router.RouteTraffic) routeCounts {
	return routeCounts{r.Requests, r.Failed, r.Retried, r.Rejected, r.NoNode}
}

func countsOfNode(n router.NodeTraffic) nodeCounts {
	return nodeCounts{n.Requests, n.Status5x, n.Connect, n.Reset, n.Timeout, n.Cut}
}

func (c routeCounts) since(from routeCounts) Ledger {
	for i := range c {
		c[i] = minus(c[i], from[i])
	}
	return Ledger{Requests: c[0], Failed: c[1], Retried: c[2], Rejected: c[3], NoNode: c[4]}
}

func (c nodeCounts) since(from nodeCounts) FleetLedger {
	for i := range c {
		c[i] = minus(c[i], from[i])
	}
	return FleetLedger{Requests: c[0], Status5x: c[1], Connect: c[2], Reset: c[3], Timeout: c[4], Cut: c[5]}
}

// cloneMarks copies marks so deeply that counting on leaves the original alone.
func cloneMarks(marks map[string]Mark) map[string]Mark {
	out := make(map[string]Mark, len(marks))
	for id, m := range marks {
		c := Mark{Instance: m.Instance, Routes: map[string]routeCounts{}, Nodes: map[string]nodeCounts{}}
		maps.Copy(c.Routes, m.Routes)
		maps.Copy(c.Nodes, m.Nodes)
		out[id] = c
	}
	return out
}

// tallies are those of all apps.
type tallies struct {
	apps   map[Key]*tally
	listed map[string]map[string]bool // by edge: the nodes of its last reading
	seen   map[string]time.Time       // by edge: when that was
}

func newTallies() tallies {
	return tallies{apps: map[Key]*tally{}, listed: map[string]map[string]bool{}, seen: map[string]time.Time{}}
}

// resume goes on from what an earlier agent wrote with a state.
func (ts *tallies) resume(s *State) {
	ts.apps[s.Key] = &tally{sum: s.Counted, marks: cloneMarks(s.Marks)}
}

// take adds a reading of the edges.
func (ts *tallies) take(obs router.Observation, at time.Time) {
	began := map[Key]bool{}
	grown := map[Key]Ledger{}
	for _, edge := range obs.Edges {
		ts.seen[edge.ID], ts.listed[edge.ID] = at, make(map[string]bool, len(edge.Nodes))
		for _, rt := range edge.Routes {
			if key, ok := routeKey(rt.Route); ok {
				m, counts := ts.mark(key, edge, began), countsOfRoute(rt)
				grown[key] = grown[key].plus(counts.since(m.Routes[rt.Route]))
				m.Routes[rt.Route] = counts
			}
		}
		for _, n := range edge.Nodes {
			if key, ok := fleetKey(n.Fleet); ok {
				m, counts := ts.mark(key, edge, began), countsOfNode(n)
				ts.listed[edge.ID][n.Node] = true
				if counts == m.Nodes[n.Node] {
					continue // most nodes of many
				}
				d := counts.since(m.Nodes[n.Node])
				grown[key] = grown[key].plus(Ledger{Cut: d.Cut}.withFleet(n.Fleet, d))
				m.Nodes[n.Node] = counts
			}
		}
	}
	for key := range ts.apps {
		for _, edge := range obs.Edges {
			ts.mark(key, edge, began) // also where the app has no traffic yet
		}
	}
	for key, d := range grown {
		ts.apps[key].sum = ts.apps[key].sum.plus(d) // a new value: facts and states hold the old one
	}
}

// mark finds where an app's counters at an edge were. An edge that began anew counts from 0. So does one that is seen for
// the first time if no edge was ever seen for the app; else it may be an old one that had been out of sight, and what it
// has counted so far is nobody's.
func (ts *tallies) mark(key Key, edge router.Edge, began map[Key]bool) Mark {
	t := ts.apps[key]
	if t == nil {
		t = &tally{marks: map[string]Mark{}}
		ts.apps[key] = t
	}
	if len(t.marks) == 0 {
		began[key] = true
	}
	m, seen := t.marks[edge.ID]
	if seen && m.Instance == edge.Instance {
		return m
	}
	m = Mark{Instance: edge.Instance, Routes: map[string]routeCounts{}, Nodes: map[string]nodeCounts{}}
	if !seen && !began[key] {
		m.first(key, edge)
	}
	t.marks[edge.ID] = m
	return m
}

// of is what was counted for an app so far. It is never changed afterwards.
func (ts *tallies) of(key Key) Ledger {
	if t := ts.apps[key]; t != nil {
		return t.sum
	}
	return Ledger{}
}

// record puts what was counted into a state that is about to be written. What nothing can ask for any more is dropped:
// fleets that are gone unless an operation began with them, nodes that neither the state nor the edge has, and edges that
// have been away for long.
func (ts *tallies) record(s *State, now time.Time) {
	t := ts.apps[s.Key]
	if t == nil {
		return
	}
	nodes, fleets := map[string]bool{}, map[string]bool{}
	for _, fl := range s.Fleets {
		fleets[fl.ID.String()] = true
		for _, n := range fl.Nodes {
			nodes[n.Name] = true
		}
	}
	if len(s.Operations) == 0 {
		t.sum.Fleets = maps.Clone(t.sum.Fleets)
		maps.DeleteFunc(t.sum.Fleets, func(id string, _ FleetLedger) bool { return !fleets[id] })
	}
	for id, m := range t.marks {
		maps.DeleteFunc(m.Nodes, func(name string, _ nodeCounts) bool { return !nodes[name] && !ts.listed[id][name] })
		if last, ok := ts.seen[id]; !ok {
			ts.seen[id] = now
		} else if now.Sub(last) > forgotten {
			delete(t.marks, id)
		}
	}
	s.Counted, s.Marks = t.sum, cloneMarks(t.marks)
}

// first sets a mark to what the edge has, so that nothing of it is counted.
func (m Mark) first(key Key, edge router.Edge) {
	for _, rt := range edge.Routes {
		if k, ok := routeKey(rt.Route); ok && k == key {
			m.Routes[rt.Route] = countsOfRoute(rt)
		}
	}
	for _, n := range edge.Nodes {
		if k, ok := fleetKey(n.Fleet); ok && k == key {
			m.Nodes[n.Node] = countsOfNode(n)
		}
	}
}

// fleetKey is the app of a fleet's id.
func fleetKey(id string) (Key, bool) {
	app, rest, _ := strings.Cut(id, "/")
	env, _, ok := strings.Cut(rest, "/")
	if !ok {
		return Key{}, false
	}
	return Key{App: app, Env: env}, true
}

// forgotten is how long the marks of an edge are kept that is not seen any more.
const forgotten = 24 * time.Hour
