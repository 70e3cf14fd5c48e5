package embedded

import (
	"os"
	"sync"
	"time"

	"github.com/bootandshoot/release/router"
)

// snapshot is what this process alone counted: the routes of the table, its nodes, and others that have requests.
func (e *engine) snapshot() snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := snapshot{Edge: router.Edge{PID: os.Getpid(), Listeners: e.listeners.states()}, Connections: int(e.conns.Load())}
	s.Rejected, s.Drained = e.reasons.read(), e.drained()
	c := e.current.Load()
	if c == nil {
		return s
	}
	s.Edge.Confirmed = c.table.Version
	for _, r := range c.table.Routes {
		s.Edge.Routes = append(s.Edge.Routes, e.memory.routes[r.Name].read(r.Name))
	}
	for _, n := range e.memory.nodes {
		s.Edge.Nodes = append(s.Edge.Nodes, n.read())
	}
	for k, f := range e.memory.fleets {
		s.Fleets = append(s.Fleets, f.read(k))
	}
	all := s
	s.Edge.Routes, s.Edge.Nodes, s.Fleets, s.Rejected = nil, nil, nil, nil
	return s.merge(all) // sorts, and adds what is of one name
}

func (n *node) read() router.NodeTraffic {
	return router.NodeTraffic{
		Fleet: n.fleet, Node: n.name,
		InFlight: int(n.inFlight.Load()), Long: n.longCount(), Ejected: n.ejected.Load(), Requests: n.stats.requests.Load(), Status5x: n.stats.status5x.Load(),
		Connect: n.stats.connect.Load(), Reset: n.stats.reset.Load(), Timeout: n.stats.timeout.Load(), Cut: n.stats.cut.Load(),
		Latency: n.stats.latency.read(),
	}
}

// drained says whether the process takes no more connections and has none left. An upgraded connection left the HTTP
// servers but its request is in flight until it ends.
func (e *engine) drained() bool {
	return e.draining.Load() && e.conns.Load() == 0 && e.inFlight.Load() == 0
}

// lingering is how long a node that is in no table and empty is shown with what it counted last: whoever reads a few times
// a second is not to miss how its last requests ended.
const lingering = 3 * time.Second

// forgetAfter is how long its counters are kept for somebody who has not read for long, as on a busy machine.
const forgetAfter = 10 * lingering

// lastShown is what observers have seen of nodes.
type lastShown struct {
	mu   sync.Mutex
	last map[[2]string]shownNode
}

type shownNode struct {
	counters [6]uint64
	changed  time.Time // when an observer first saw these, of a node that was to vanish
}

func countersOf(n router.NodeTraffic) [6]uint64 {
	return [6]uint64{n.Requests, n.Status5x, n.Connect, n.Reset, n.Timeout, n.Cut}
}

// visible drops nodes that are in no table and empty, unless they counted something that was not shown for long enough.
func (sh *lastShown) visible(s snapshot, c *compiled, now time.Time) snapshot {
	all, plain := s.Edge.Nodes, s.visible(c)
	there := map[[2]string]bool{}
	for _, n := range plain.Edge.Nodes {
		there[[2]string{n.Fleet, n.Node}] = true
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	before := sh.last
	sh.last = map[[2]string]shownNode{}
	plain.Edge.Nodes = nil
	for _, n := range all {
		k := [2]string{n.Fleet, n.Node}
		seen := before[k]
		switch counters := countersOf(n); {
		case there[k]:
			seen = shownNode{counters: counters}
		case counters != seen.counters:
			seen = shownNode{counters: counters, changed: now}
		}
		sh.last[k] = seen
		if there[k] || now.Sub(seen.changed) < lingering {
			plain.Edge.Nodes = append(plain.Edge.Nodes, n)
		}
	}
	return plain
}

// visible drops nodes that are in no table and empty.
func (s snapshot) visible(c *compiled) snapshot {
	inTable := map[[2]string]bool{}
	if c != nil {
		for k := range c.nodes {
			inTable[[2]string{k.fleet, k.name}] = true
		}
	}
	var nodes []router.NodeTraffic
	for _, n := range s.Edge.Nodes {
		if n.InFlight > 0 || inTable[[2]string{n.Fleet, n.Node}] {
			nodes = append(nodes, n)
		}
	}
	s.Edge.Nodes = nodes
	return s
}

// queued is how many requests of each route wait for a node.
func (e *engine) queued() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[string]int{}
	if c := e.current.Load(); c != nil {
		for _, r := range c.table.Routes {
			out[r.Name] = int(e.memory.routes[r.Name].gate.waiting.Load())
		}
	}
	return out
}
