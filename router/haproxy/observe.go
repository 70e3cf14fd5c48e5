package haproxy

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// Observe implements router.Backend. What it finds out of order it puts in order: see tidy.
func (b *Backend) Observe(ctx context.Context) (router.Observation, error) {
	o := router.Observation{At: time.Now(), Edges: make([]router.Edge, len(b.edges))}
	away := make([]error, len(b.edges))
	err := b.each(func(i int, e *edge) (err error) {
		o.Edges[i], err = e.observe(ctx, &b.mu)
		if errors.Is(err, router.ErrUnavailable) {
			o.Edges[i], away[i], err = e.silent(), err, nil
		}
		return err
	})
	if err == nil && !slices.Contains(away, nil) {
		err = away[0]
	}
	if err != nil {
		return router.Observation{}, err
	}
	o.Edges = slices.DeleteFunc(o.Edges, func(e router.Edge) bool { return b.edge(e.ID).forgotten(!e.Silent.IsZero()) })
	return o, nil
}

func (b *Backend) edge(id string) *edge {
	for _, e := range b.edges {
		if e.Name == id {
			return e
		}
	}
	return nil
}

// Forget takes it that an edge serves nobody any more, until it answers again or the agent starts anew. fault.NotFound for an
// edge that the settings do not name, fault.Invalid for one that answers and for the only one.
func (b *Backend) Forget(ctx context.Context, id string) error {
	if err := b.MayForget(ctx, id); err != nil {
		return err
	}
	e := b.edge(id)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	return nil
}

// MayForget says why Forget would refuse, and does nothing.
func (b *Backend) MayForget(ctx context.Context, id string) error {
	e := b.edge(id)
	switch {
	case e == nil:
		return fault.New(fault.NotFound, "forget edge %s: router.haproxy.edges in agent.yaml does not name it", id)
	case len(b.edges) == 1:
		return fault.New(fault.Invalid, "forget edge %s: it is the only one", id).
			WithHint("start it again, or name another one in agent.yaml, under router, and start the agent anew")
	}
	if _, err := e.settled(ctx); !errors.Is(err, router.ErrUnavailable) {
		return fault.New(fault.Invalid, "forget edge %s: it answers", id).WithHint("take it out of agent.yaml, and start the agent anew")
	}
	return nil
}

// forgotten says whether nothing waits for the edge any more. One that answers does count again.
func (e *edge) forgotten(silent bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = e.gone && silent
	return e.gone
}

// locker is held while a table is applied.
type locker interface {
	TryLock() bool
	Unlock()
}

// observe reads what the workers of the edge have counted, and then puts them in order.
func (e *edge) observe(ctx context.Context, applying locker) (seen router.Edge, err error) {
	err = e.steady(ctx, func(p processes) (err error) {
		var l *layout
		seen, l, err = e.account(ctx, p)
		if err == nil && applying.TryLock() {
			defer applying.Unlock()
			err = e.tidy(ctx, p, l)
		}
		return err
	})
	return seen, err
}

// skippable are the errors of a worker that finishes: it has ended, or was never ours.
func skippable(err error) bool { return errors.Is(err, errGone) || errors.Is(err, errForeign) }

// account reads what the workers have counted, and gives the layout of the current one.
func (e *edge) account(ctx context.Context, p processes) (router.Edge, *layout, error) {
	now := map[string]reading{}
	var first *layout
	var current string
	for _, pid := range p.workers() {
		r, l, id, err := e.readWorker(ctx, pid)
		if skippable(err) && pid != p.current {
			continue
		}
		if err != nil {
			return router.Edge{}, nil, err
		}
		now[id] = r
		if pid == p.current {
			first, current = l, id
		}
	}
	e.forget(p.workers())
	table, err := e.tableOf(&first.notes)
	if err != nil && !errors.Is(err, router.ErrNoTable) {
		return router.Edge{}, nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sums.begin(p, current)
	e.sums.take(now)
	e.last, e.heard = e.edge(p, first, table, now), time.Now()
	return e.last, first, nil
}

// edge puts an observation together. e.mu is held.
func (e *edge) edge(p processes, l *layout, t router.Table, now map[string]reading) router.Edge {
	out := router.Edge{ID: e.Name, Instance: e.sums.instance, PID: p.master, Confirmed: l.notes.version}
	for _, r := range now {
		if r.version.Compare(out.Confirmed) < 0 {
			out.Confirmed = r.version
		}
	}
	total := e.sums.total()
	for _, r := range t.Routes {
		sum := total.routes[r.Name]
		sum.Route = r.Name
		out.Routes = append(out.Routes, sum)
	}
	out.Nodes = e.sums.visible(total, nodesOf(t), time.Now())
	e.sums.forget(out.Nodes)
	for _, address := range addresses(arrange(l, t)) {
		state := router.ListenerState{Listen: address, Error: "haproxy does not listen there"}
		for name := range l.frontends {
			if strings.HasPrefix(name, prefix+legible(address, 60)+":") {
				state.Error = ""
			}
		}
		out.Listeners = append(out.Listeners, state)
	}
	return out
}

func nodesOf(t router.Table) map[nodeKey]bool {
	in := map[nodeKey]bool{}
	for _, r := range t.Routes {
		for _, f := range r.Fleets {
			for _, n := range f.Nodes {
				in[nodeKey{f.ID, n.Name, n.Address}] = true
			}
		}
	}
	return in
}

// silent is an edge that does not answer: what it said last, and every node of the table that it begins with when it starts
// again.
func (e *edge) silent() router.Edge {
	e.mu.Lock()
	out := e.last
	out.ID, out.Silent = e.Name, e.heard
	e.mu.Unlock()
	disk, err := e.folder.notes()
	if err != nil {
		return out
	}
	t, err := disk.table()
	if err != nil {
		return out
	}
	out.Nodes = slices.Clone(out.Nodes)
	for k := range nodesOf(t) {
		if !slices.ContainsFunc(out.Nodes, func(n router.NodeTraffic) bool { return n.Fleet == k.fleet && n.Node == k.node }) {
			out.Nodes = append(out.Nodes, router.NodeTraffic{Fleet: k.fleet, Node: k.node})
		}
	}
	return out
}

// readWorker is what one worker has counted.
func (e *edge) readWorker(ctx context.Context, pid int) (reading, *layout, string, error) {
	show := "show table " + prefix
	l, out, err := e.lookFor(ctx, pid, show+"latency", show+"long", show+"refused")
	if err != nil {
		return reading{}, nil, "", err
	}
	r := newReading()
	r.version = l.notes.version
	e.readNodes(&r, l, histograms(parseTable(out[0], "gpc0")), parseTable(out[1], "conn_cur"))
	readRoutes(&r, l, parseTable(out[2], "gpc0"))
	return r, l, e.remembered(pid).worker, nil
}

// readNodes counts the servers by the nodes that have them. Requests that went on to another fleet are not seen there, so
// nodes that left a route count as busy while it has such.
func (e *edge) readNodes(r *reading, l *layout, latencies map[string]router.Histogram, long map[string]uint64) {
	spilled := map[string]int{}
	for backend, s := range l.spills {
		spilled[routeOf(backend)] += s.current + s.queued
	}
	inTable := map[nodeKey]bool{}
	if t, err := e.tableOf(&l.notes); err == nil {
		inTable = nodesOf(t)
	}
	for backend, servers := range l.servers {
		for _, s := range servers {
			t, ok := l.notes.tenants[backend+"/"+s.server]
			if !ok {
				continue
			}
			c := s.count.since(t.since())
			n := router.NodeTraffic{
				Fleet: t.Fleet, Node: t.Node, InFlight: s.current + s.queued, Long: int(long[s.id]), Ejected: s.down(),
				Requests: c.total, Status5x: c.status5x, Connect: c.connect + c.retries + c.moved, Reset: c.response + c.cut,
				Latency: latencies[s.id],
			}
			k := nodeKey{t.Fleet, t.Node, t.Address}
			if !inTable[k] {
				n.InFlight += spilled[routeOf(backend)]
			}
			if t.TCP {
				n.Long = n.InFlight
			}
			r.addNode(k, n)
		}
	}
}

// routeOf is the route's id in the name of a slot.
func routeOf(backend string) string {
	name := strings.TrimPrefix(backend, prefix)
	return name[:max(0, strings.LastIndexByte(name, ':'))]
}

// readRoutes sums the slots of each route.
func readRoutes(r *reading, l *layout, refused map[string]uint64) {
	for id, name := range l.notes.names {
		t := router.RouteTraffic{Route: name, NoNode: l.backends[noneName(id)].count.total + refused[id]}
		t.Requests, t.Failed = l.backends[noneName(id)].count.total, t.NoNode
		for _, slot := range l.slots(id) {
			backend := slotName(id, slot)
			c := l.backends[backend].count
			t.Requests += c.total
			t.Retried += c.retries + c.moved
			t.Failed += c.connect
			for _, s := range append(l.servers[backend], l.spills[backend]) {
				t.Failed += s.count.response + s.count.cut
			}
		}
		r.addRoute(t)
	}
}

// parseTable reads lines such as "0x7f…: key=3.1.12 use=0 exp=0 shard=0 gpc0=17".
func parseTable(text, counter string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(text) {
		var key string
		for _, f := range strings.Fields(line) {
			name, value, _ := strings.Cut(f, "=")
			switch name {
			case "key":
				key = value
			case counter:
				if n, err := strconv.ParseUint(value, 10, 64); err == nil && key != "" {
					out[key] = n
				}
			}
		}
	}
	return out
}

// histograms gathers the cells "PROXY.SERVER.BUCKET" by server. Sums are estimated from the buckets' middles.
func histograms(cells map[string]uint64) map[string]router.Histogram {
	bounds := router.LatencyBounds()
	out := map[string]router.Histogram{}
	for key, n := range cells {
		at := strings.LastIndexByte(key, '.')
		bucket, err := strconv.Atoi(key[at+1:])
		if at < 0 || err != nil || bucket < 0 || bucket > len(bounds) {
			continue
		}
		h := out[key[:at]]
		if h.Counts == nil {
			h.Counts = make([]uint64, len(bounds)+1)
		}
		h.Counts[bucket] += n
		h.Sum += float64(n) * bounds[min(bucket, len(bounds)-1)] / math.Pow(2, 0.25)
		out[key[:at]] = h
	}
	return out
}

// cachedTable is the last table that was unpacked.
type cachedTable struct {
	sum   string
	table router.Table
}

// tableOf unpacks the table of notes, from memory if it is the one of last time.
func (e *edge) tableOf(n *notes) (router.Table, error) {
	e.mu.Lock()
	c := e.table
	e.mu.Unlock()
	if c.sum != "" && c.sum == n.digest {
		return c.table, nil
	}
	t, err := n.table()
	if err != nil {
		return t, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.table = cachedTable{n.digest, t}
	return t, nil
}
