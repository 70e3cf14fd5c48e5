package haproxy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/bootandshoot/release/router"
)

// moves are the commands that bring a worker's servers to a plan: nodes come before the map leads to them, and leave after
// it does not any more.
type moves struct{ bring, send []string }

func (m moves) none() bool { return len(m.bring)+len(m.send) == 0 }

// moves compares the plan with what is. A server that is down may have been drained besides, which cannot be seen: thorough
// makes sure of those.
func (p *plan) moves(l *layout, thorough bool) moves {
	var m moves
	ours := map[string]bool{}
	for _, pr := range p.routes {
		more := pr.moves(l, thorough)
		m.bring, m.send = append(m.bring, more.bring...), append(m.send, more.send...)
		ours[pr.id] = true
	}
	for backend, servers := range l.servers {
		if !ours[routeOf(backend)] {
			m.send = append(m.send, leave(backend, servers, nil, thorough)...)
		}
	}
	return m
}

// moves are those of one route. A worker from before may not have it.
func (p *placed) moves(l *layout, thorough bool) moves {
	var m moves
	stays := map[string]bool{}
	for _, f := range p.fleets {
		backend := slotName(p.id, f.slot)
		if _, there := l.backends[backend]; !there {
			continue
		}
		for _, a := range f.servers {
			stays[backend+"/"+a.server] = true
			m.bring = append(m.bring, bring(l, p.route, f, a, backend, thorough)...)
		}
	}
	for _, slot := range l.slots(p.id) {
		backend := slotName(p.id, slot)
		m.send = append(m.send, leave(backend, l.servers[backend], stays, thorough)...)
	}
	return m
}

// leave drains the servers that do not stay.
func leave(backend string, servers []row, stays map[string]bool, thorough bool) (out []string) {
	for _, s := range servers {
		if name := backend + "/" + s.server; !stays[name] && !s.left() && (thorough || !s.down()) {
			out = append(out, "set server "+name+" state drain")
		}
	}
	return out
}

// bring makes a server serve its node.
func bring(l *layout, r *router.Route, f seated, a assigned, backend string, thorough bool) []string {
	name := backend + "/" + a.server
	if a.fresh {
		// HAProxy 2.6 puts all added servers at the same points of its ring of servers, so that one of them gets the requests of
		// all. Only points that a higher weight brings afterwards are right.
		return []string{
			fmt.Sprintf("add server %s %s %s weight 1", name, a.node.Address, serverOptions(r)),
			fmt.Sprintf("set weight %s %d", name, weight), "enable health " + name, "set server " + name + " state ready",
		}
	}
	s := l.server(backend, a.server)
	var out []string
	if s.address != a.node.Address {
		if !s.out() {
			out = append(out, "set server "+name+" state maint")
		}
		to := netip.MustParseAddrPort(a.node.Address) // the table was validated
		out = append(out, fmt.Sprintf("set server %s addr %s port %d", name, to.Addr(), to.Port()))
	}
	if t, had := l.notes.tenants[name]; s.count.total > 0 && (!had || t.node() != a.node || t.Fleet != f.fleet.ID) {
		for i := range len(router.LatencyBounds()) + 1 {
			out = append(out, fmt.Sprintf("clear table release:latency key %s.%d", s.id, i))
		}
	}
	if len(out) > 0 || s.left() || thorough && s.down() {
		out = append(out, "set server "+name+" state ready")
	}
	return out
}

// server finds a server of a backend; one that is not there has no address.
func (l *layout) server(backend, name string) row {
	for _, s := range l.servers[backend] {
		if s.server == name {
			return s
		}
	}
	return row{}
}

// harmless says which answers to moves are no complaint.
func harmless(said string) bool {
	return strings.Contains(said, "no need to change") || strings.Contains(said, "changed from") || said == "New server registered."
}

func (t tenant) node() router.Node { return router.Node{Name: t.Node, Address: t.Address} }

// keep is who has which server after the plan's moves: its nodes, and those that left and may come back.
func (p *plan) keep(l *layout) kept {
	hold := map[string]tenant{}
	routes := map[string]string{}
	for id, name := range l.notes.names {
		if _, ok := l.backends[noneName(id)]; ok {
			routes[id] = name
		}
	}
	for backend, servers := range l.servers {
		for _, s := range servers {
			name := backend + "/" + s.server
			if t, ok := l.notes.tenants[name]; ok {
				hold[name] = t
			}
		}
	}
	for _, pr := range p.routes {
		for _, f := range pr.fleets {
			backend := slotName(pr.id, f.slot)
			for _, a := range f.servers {
				name := backend + "/" + a.server
				if t, ok := hold[name]; ok && t.node() == a.node && t.Fleet == f.fleet.ID {
					continue
				}
				c := l.server(backend, a.server).count
				hold[name] = tenant{
					Fleet: f.fleet.ID, Node: a.node.Name, Address: a.node.Address, TCP: pr.route.Protocol == router.TCP,
					Since: [7]uint64{c.total, c.status5x, c.connect, c.response, c.retries, c.moved, c.cut},
				}
			}
		}
	}
	return kept{hold, routes}
}

// since is the server's counters from when the node came.
func (t tenant) since() counters {
	return counters{total: t.Since[0], status5x: t.Since[1], connect: t.Since[2], response: t.Since[3], retries: t.Since[4], moved: t.Since[5], cut: t.Since[6]}
}
