package embedded

import (
	"cmp"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded/certs"
)

// compiled is a table ready to serve. It never changes.
type compiled struct {
	table   router.Table
	listens map[string]*listen
	nodes   map[nodeKey]*node
	certs   *certs.Set
}

// listen is what one listen address serves in a table.
type listen struct {
	route   *router.Route // the first that needs it
	paths   *matcher[*path]
	secure  bool     // TLS
	tcp     *path    // of a TCP route, else nil
	proxied networks // who begins connections with a PROXY protocol header; nil: nobody
}

// memory is what outlives a table: nodes and counters by name. Its maps are guarded by engine.mu.
type memory struct {
	nodes  map[nodeKey]*node
	routes map[string]*routeStats
	fleets map[fleetKey]*fleetStats
}

func newMemory() *memory {
	return &memory{
		nodes:  map[nodeKey]*node{},
		routes: map[string]*routeStats{},
		fleets: map[fleetKey]*fleetStats{},
	}
}

// compile builds the table's serving form out of what is remembered. New nodes are remembered only by keep.
func (m *memory) compile(t router.Table, now int64) *compiled {
	c := &compiled{table: t, listens: map[string]*listen{}, nodes: map[nodeKey]*node{}}
	for i := range t.Routes {
		r := &t.Routes[i]
		p := m.path(c, r, now)
		l := c.listen(r.Listen, r)
		l.paths.add(r.Hosts, r.Paths, p)
		if r.Protocol == router.TCP {
			l.tcp = p
		}
		if r.ProxyProtocol {
			l.proxied = p.trusted
		}
		l.secure = l.secure || r.TLS != nil
		if r.TLS != nil && r.TLS.Redirect != "" {
			plain := *p
			plain.redirects = true
			c.listen(r.TLS.Redirect, r).paths.add(r.Hosts, r.Paths, &plain)
		}
	}
	return c
}

func (c *compiled) listen(address string, r *router.Route) *listen {
	if c.listens[address] == nil {
		c.listens[address] = &listen{route: r, paths: newMatcher[*path]()}
	}
	return c.listens[address]
}

func (m *memory) path(c *compiled, r *router.Route, now int64) *path {
	p := &path{
		name: r.Name, route: r, stats: lookup(m.routes, r.Name), preview: newPreviewRule(r.Preview), sticky: newSticky(r.Sticky),
		trusted: newNetworks(r.Trusted), limits: newLimits(r.Balance),
	}
	var weights []int
	for i := range r.Fleets {
		f := &r.Fleets[i]
		t := &target{
			id: f.ID, release: f.Release, seed: hashBytes([]byte(f.ID)), weight: float64(f.Weight), sessions: f.Sessions,
			stats: lookup(m.fleets, fleetKey{r.Name, f.ID, f.Release}),
		}
		for _, n := range f.Nodes {
			t.nodes = append(t.nodes, m.node(c, nodeKey{f.ID, n.Name, n.Address}, now))
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
	for _, u := range r.Rules {
		for _, t := range p.targets {
			if t.id == u.Fleet {
				p.rules = append(p.rules, newRule(u, t))
			}
		}
	}
	p.split = newSplit(weights)
	return p
}

const (
	defaultQueue     = 1024
	defaultQueueWait = 5 * time.Second
)

func newLimits(b router.Balance) limits {
	return limits{
		slowStart: b.SlowStart, ejectAfter: b.EjectAfter, maxInFlight: int64(b.MaxInFlight),
		maxQueue: cmp.Or(b.MaxQueue, defaultQueue), queueWait: cmp.Or(b.QueueWait, defaultQueueWait), timeout: b.Timeout,
		hedgeAfter: b.HedgeAfter,
	}
}

func (m *memory) node(c *compiled, k nodeKey, now int64) *node {
	if n := c.nodes[k]; n != nil {
		return n
	}
	n := m.nodes[k]
	if n == nil {
		n = newNode(k, now)
	}
	c.nodes[k] = n
	return n
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
func (m *memory) keep(e *engine, c *compiled) {
	for k, n := range c.nodes {
		m.nodes[k] = n
		n.enter()
	}
	for k, n := range m.nodes {
		if c.nodes[k] == nil {
			n.leave(e)
		}
	}
	m.forget(e, c)
}

// closeLong begins to end the long connections of nodes that the table says it of for the first time since they served. Those that
// begin there later end by the same time.
func (m *memory) closeLong(c *compiled, now time.Time) {
	if len(c.table.Closing) == 0 {
		return
	}
	within := map[fleetNode]time.Duration{}
	for _, k := range c.table.Closing {
		within[fleetNode{k.Fleet, k.Node}] = k.Within
	}
	for k, n := range m.nodes {
		if w, closes := within[fleetNode{k.fleet, k.name}]; closes && c.nodes[k] == nil {
			n.close(w, now)
		}
	}
}

// fleetNode names a node whatever its address is.
type fleetNode struct{ fleet, name string }

// forget drops nodes and counters of fleets that are in no table, once they are empty and were shown so. Counters of routes stay: a route
// that comes back goes on counting. While two processes count for the same nodes neither forgets one: a sum that falls
// looks to its readers as if it had begun anew.
func (m *memory) forget(e *engine, c *compiled) {
	fleets := map[string]bool{}
	for _, r := range c.table.Routes {
		for _, f := range r.Fleets {
			fleets[f.ID] = true
		}
	}
	full := len(m.nodes)-len(c.nodes) > maxRetired
	for k, n := range m.nodes {
		switch now := e.now(); {
		case c.nodes[k] != nil || n.inFlight.Load() != 0 || !full && (fleets[k.fleet] || e.shared()):
			n.empty = time.Time{}
		case n.empty.IsZero() && !full:
			n.empty = now
		case full || now.Sub(n.empty) >= forgetAfter:
			n.leave(e)
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
