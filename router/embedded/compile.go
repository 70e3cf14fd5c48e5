package embedded

import (
	"github.com/bootandshoot/release/router"
)

// compiled is a table ready to serve. It never changes.
type compiled struct {
	table   router.Table
	listens map[string]*listen
	nodes   map[nodeKey]*node
	certs   map[router.TLS]*certificate
}

// listen is what one listen address serves in a table.
type listen struct {
	paths *matcher[*path]
	certs *matcher[*certificate] // nil: plain HTTP
	first *certificate           // for clients that name no host we know
}

// memory is what outlives a table: nodes, counters and certificates by name. Its maps are guarded by engine.mu.
type memory struct {
	nodes  map[nodeKey]*node
	routes map[string]*routeStats
	fleets map[fleetKey]*fleetStats
	certs  map[router.TLS]*certificate
}

func newMemory() *memory {
	return &memory{
		nodes:  map[nodeKey]*node{},
		routes: map[string]*routeStats{},
		fleets: map[fleetKey]*fleetStats{},
		certs:  map[router.TLS]*certificate{},
	}
}

// compile builds the table's serving form out of what is remembered. New nodes are remembered only by keep.
func (m *memory) compile(t router.Table, cfg Config) *compiled {
	c := &compiled{table: t, listens: map[string]*listen{}, nodes: map[nodeKey]*node{}, certs: map[router.TLS]*certificate{}}
	for i := range t.Routes {
		r := &t.Routes[i]
		l := c.listens[r.Listen]
		if l == nil {
			l = &listen{paths: newMatcher[*path]()}
			c.listens[r.Listen] = l
		}
		l.paths.add(r.Hosts, r.Paths, m.path(c, r, cfg))
		if r.TLS != nil {
			l.secure(r, m.certificate(c, *r.TLS))
		}
	}
	return c
}

// secure adds the route's certificate for its hosts.
func (l *listen) secure(r *router.Route, cert *certificate) {
	if l.certs == nil {
		l.certs, l.first = newMatcher[*certificate](), cert
	}
	l.certs.add(r.Hosts, nil, cert)
}

func (m *memory) path(c *compiled, r *router.Route, cfg Config) *path {
	p := &path{name: r.Name, stats: lookup(m.routes, r.Name), preview: newPreviewRule(r.Preview)}
	var weights []int
	for i := range r.Fleets {
		f := &r.Fleets[i]
		t := &target{id: f.ID, release: f.Release, stats: lookup(m.fleets, fleetKey{r.Name, f.ID, f.Release})}
		for _, n := range f.Nodes {
			t.nodes = append(t.nodes, m.node(c, nodeKey{f.ID, n.Name, n.Address}, cfg))
		}
		if len(t.nodes) == 0 {
			continue
		}
		p.targets = append(p.targets, t)
		switch {
		case f.Weight > 0:
			p.weighted = append(p.weighted, t)
			weights = append(weights, f.Weight)
		case f.Standby:
			p.standby = append(p.standby, t)
		}
	}
	p.split = newSplit(weights)
	return p
}

func (m *memory) node(c *compiled, k nodeKey, cfg Config) *node {
	if n := c.nodes[k]; n != nil {
		return n
	}
	n := m.nodes[k]
	if n == nil {
		n = newNode(k, cfg.NodeTimeout)
	}
	c.nodes[k] = n
	return n
}

func (m *memory) certificate(c *compiled, files router.TLS) *certificate {
	cert := c.certs[files]
	if cert == nil {
		cert = m.certs[files]
	}
	if cert == nil {
		cert = &certificate{files: files}
	}
	c.certs[files] = cert
	return cert
}

// lookup finds or makes a counter; an entry too many, of a table that is then refused, does no harm.
func lookup[K comparable, V any](m map[K]*V, k K) *V {
	if m[k] == nil {
		m[k] = new(V)
	}
	return m[k]
}

// maxRetired bounds how many nodes are remembered that left the table while their fleet stayed in it. They are kept so
// that counters go on when such a node comes back.
const maxRetired = 1000

// keep remembers what the table that became effective uses.
func (m *memory) keep(c *compiled) {
	for k, n := range c.nodes {
		m.nodes[k] = n
	}
	for k, n := range m.nodes {
		if c.nodes[k] == nil {
			n.close()
		}
	}
	m.certs = c.certs
	m.forget(c)
}

// forget drops nodes and counters of fleets that are in no table, once they are empty. Counters of routes stay: a route
// that comes back goes on counting.
func (m *memory) forget(c *compiled) {
	fleets := map[string]bool{}
	for _, r := range c.table.Routes {
		for _, f := range r.Fleets {
			fleets[f.ID] = true
		}
	}
	full := len(m.nodes)-len(c.nodes) > maxRetired
	for k, n := range m.nodes {
		if c.nodes[k] == nil && n.inFlight.Load() == 0 && (full || !fleets[k.fleet]) {
			n.close()
			delete(m.nodes, k)
		}
	}
	for k := range m.nodes {
		fleets[k.fleet] = true
	}
	for k := range m.fleets {
		if !fleets[k.Fleet] {
			delete(m.fleets, k)
		}
	}
}
