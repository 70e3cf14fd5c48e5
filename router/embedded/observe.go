package embedded

import (
	"os"

	"github.com/bootandshoot/release/router"
)

// snapshot is what this process alone counted: the routes of the table, its nodes, and others that have requests.
func (e *engine) snapshot() snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := snapshot{Edge: router.Edge{PID: os.Getpid(), Listeners: e.listeners.states()}, Connections: int(e.conns.Load())}
	s.Drained = e.drained()
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
	for _, n := range e.memory.nodes {
		s.Connections += n.upgradedCount()
	}
	return s.merge(snapshot{}) // sorts
}

func (n *node) read() router.NodeTraffic {
	return router.NodeTraffic{
		Fleet: n.fleet, Node: n.name,
		InFlight: int(n.inFlight.Load()), Requests: n.stats.requests.Load(), Status5x: n.stats.status5x.Load(),
		Connect: n.stats.connect.Load(), Reset: n.stats.reset.Load(), Timeout: n.stats.timeout.Load(), Cut: n.stats.cut.Load(),
		Latency: n.stats.latency.read(),
	}
}

// drained says whether the process takes no more connections and has none left. An upgraded connection left the HTTP
// servers but its request is in flight until it ends.
func (e *engine) drained() bool {
	return e.draining.Load() && e.conns.Load() == 0 && e.inFlight.Load() == 0
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
