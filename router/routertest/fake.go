// Package routertest has what tests of and with a router.Backend share: the conformance suite that every backend
// passes (Run), and an in-memory backend with knobs (Fake).
package routertest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// Fake is a Backend in memory with one edge and no traffic of its own: it keeps the contract of tables and drain,
// and its counters are set by the test. It is safe for concurrent use.
type Fake struct {
	mu       sync.Mutex
	table    *router.Table
	applied  []router.Table
	newest   bool // only the newest of them is kept
	fail     error
	hang     chan struct{}
	silent   bool
	others   []router.Edge
	lag      *router.Version
	instance int
	taken    map[string]bool
	deaf     bool
	onApply  func(router.Table)
	told     map[nodeKey]router.NodeTraffic // as they were observed last
	nodes    map[nodeKey]*router.NodeTraffic
	routes   map[string]*router.RouteTraffic
	now      func() time.Time
}

type nodeKey struct{ fleet, node string }

var _ router.Backend = (*Fake)(nil)

// NewFake returns a backend that has no table yet.
func NewFake() *Fake {
	return &Fake{
		instance: 1,
		taken:    map[string]bool{},
		told:     map[nodeKey]router.NodeTraffic{},
		nodes:    map[nodeKey]*router.NodeTraffic{},
		routes:   map[string]*router.RouteTraffic{},
		now:      time.Now,
	}
}

// SetClock gives the time of observations, for tests with virtual time.
func (f *Fake) SetClock(now func() time.Time) { f.with(func() { f.now = now }) }

// FailApply makes every Apply fail with err and change nothing; nil ends that.
func (f *Fake) FailApply(err error) { f.with(func() { f.fail = err }) }

// HangApply makes every Apply wait until release is called or its context ends.
func (f *Fake) HangApply() (release func()) {
	ch := make(chan struct{})
	f.with(func() { f.hang = ch })
	return sync.OnceFunc(func() {
		f.with(func() { f.hang = nil })
		close(ch)
	})
}

// TakePort makes tables that listen there be refused, as when another program has the port.
func (f *Fake) TakePort(listen string, taken bool) { f.with(func() { f.taken[listen] = taken }) }

// Deafen makes the edge leave long connections open that a table asks to close.
func (f *Fake) Deafen(deaf bool) { f.with(func() { f.deaf = deaf }) }

// OnApply calls do after each table that becomes effective, before Apply returns.
func (f *Fake) OnApply(do func(router.Table)) { f.with(func() { f.onApply = do }) }

// Silence makes the edge missing from Observe.
func (f *Fake) Silence(silent bool) { f.with(func() { f.silent = silent }) }

// SetOthers are further edges that Observe reports as they are: silent ones, which no table reaches.
func (f *Fake) SetOthers(edges ...router.Edge) { f.with(func() { f.others = edges }) }

// Lag makes the edge confirm v instead of the applied table; nil ends that.
func (f *Fake) Lag(v *router.Version) { f.with(func() { f.lag = v }) }

// Restart begins all counters anew under another instance; the table stays.
func (f *Fake) Restart() {
	f.with(func() {
		f.instance++
		clear(f.nodes)
		clear(f.told)
		clear(f.routes)
	})
}

// Forget drops the table, as a router whose disk was lost.
func (f *Fake) Forget() { f.with(func() { f.table = nil }) }

// SetLong sets the long connections that a node has, which are requests in flight too.
func (f *Fake) SetLong(fleet, node string, n int) {
	f.Count(fleet, node, func(t *router.NodeTraffic) { t.InFlight, t.Long = t.InFlight-t.Long+n, n })
}

// SetInFlight sets the requests that a node has. A node outside the table is reported until it is 0.
func (f *Fake) SetInFlight(fleet, node string, n int) {
	f.Count(fleet, node, func(t *router.NodeTraffic) { t.InFlight = n })
}

// Count changes a node's counters.
func (f *Fake) Count(fleet, node string, change func(*router.NodeTraffic)) {
	f.with(func() { change(f.node(fleet, node)) })
}

// CountRoute changes a route's counters.
func (f *Fake) CountRoute(route string, change func(*router.RouteTraffic)) {
	f.with(func() { change(f.route(route)) })
}

// KeepNewest makes the backend remember no table but the newest, for tests that count memory.
func (f *Fake) KeepNewest() { f.with(func() { f.newest = true }) }

// Tables is every table that became effective, oldest first.
func (f *Fake) Tables() []router.Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.applied)
}

// Apply keeps the contract; its traffic is nobody's.
func (f *Fake) Apply(ctx context.Context, t router.Table) error {
	if err := f.wait(ctx); err != nil {
		return err
	}
	then, err := f.take(t)
	if err == nil && then != nil {
		then(t)
	}
	return err
}

// take makes the table effective and gives what is to be called then.
func (f *Fake) take(t router.Table) (then func(router.Table), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, fmt.Errorf("apply table %s: %w", t.Version, f.fail)
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if f.table != nil {
		if same, err := t.Supersedes(*f.table); same || err != nil {
			return nil, err
		}
	}
	for _, r := range t.Routes {
		if f.taken[r.Listen] {
			return nil, fault.New(fault.Exists, "route %q: listen on %s: address already in use", r.Name, r.Listen)
		}
	}
	t = t.Canonical()
	f.table = &t
	if f.newest {
		f.applied = f.applied[:0]
	}
	f.applied = append(f.applied, t)
	f.close(t.Closing)
	return f.onApply, nil
}

// close ends long connections at once, which is within any time.
func (f *Fake) close(closing []router.Closing) {
	for _, c := range closing {
		if n := f.nodes[nodeKey{c.Fleet, c.Node}]; n != nil && !f.deaf {
			n.InFlight, n.Long, n.Cut = n.InFlight-n.Long, 0, n.Cut+uint64(n.Long)
		}
	}
}

func (f *Fake) wait(ctx context.Context) error {
	f.mu.Lock()
	hang := f.hang
	f.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("apply table: %w", err)
	}
	return nil
}

// Precheck implements router.Prechecker: the port must not be taken.
func (f *Fake) Precheck(_ context.Context, r router.Route) (err error) {
	f.with(func() {
		if f.taken[r.Listen] {
			err = fault.New(fault.Exists, "listen on %s: the port is taken", r.Listen)
		}
	})
	return err
}

// Applied reads the table back.
func (f *Fake) Applied(context.Context) (router.Table, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.table == nil {
		return router.Table{}, router.ErrNoTable
	}
	return f.table.Canonical(), nil
}

// Observe reports one edge, "fake".
func (f *Fake) Observe(context.Context) (router.Observation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := router.Observation{At: f.now(), Edges: slices.Clone(f.others)}
	if f.silent {
		return o, nil
	}
	e := router.Edge{ID: "fake", Instance: fmt.Sprint(f.instance), PID: 1}
	inTable := map[nodeKey]bool{}
	if f.table != nil {
		e.Confirmed = f.table.Version
		for _, r := range f.table.Routes {
			e.Routes = append(e.Routes, *f.route(r.Name))
			e.Listeners = addListener(e.Listeners, r.Listen)
			for _, fl := range r.Fleets {
				for _, n := range fl.Nodes {
					inTable[nodeKey{fl.ID, n.Name}] = true
					f.node(fl.ID, n.Name)
				}
			}
		}
	}
	if f.lag != nil {
		e.Confirmed = *f.lag
	}
	for k, n := range f.nodes {
		if !inTable[k] && n.InFlight == 0 && counters(*n) == counters(f.told[k]) {
			delete(f.nodes, k)
			delete(f.told, k)
			continue
		}
		f.told[k] = *n // also once when it is empty: what it counted last is not to be lost
		e.Nodes = append(e.Nodes, cloneTraffic(*n))
	}
	slices.SortFunc(e.Nodes, func(a, b router.NodeTraffic) int {
		return cmp.Or(cmp.Compare(a.Fleet, b.Fleet), cmp.Compare(a.Node, b.Node))
	})
	o.Edges = append(o.Edges, e)
	return o, nil
}

func (f *Fake) with(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *Fake) node(fleet, node string) *router.NodeTraffic {
	k := nodeKey{fleet, node}
	if f.nodes[k] == nil {
		f.nodes[k] = &router.NodeTraffic{Fleet: fleet, Node: node}
	}
	return f.nodes[k]
}

func (f *Fake) route(name string) *router.RouteTraffic {
	if f.routes[name] == nil {
		f.routes[name] = &router.RouteTraffic{Route: name}
	}
	return f.routes[name]
}

// counters are what a reader has to have seen before a node may vanish.
func counters(n router.NodeTraffic) [6]uint64 {
	return [6]uint64{n.Requests, n.Status5x, n.Connect, n.Reset, n.Timeout, n.Cut}
}

func cloneTraffic(n router.NodeTraffic) router.NodeTraffic {
	n.Latency.Counts = slices.Clone(n.Latency.Counts)
	return n
}

func addListener(all []router.ListenerState, listen string) []router.ListenerState {
	for _, l := range all {
		if l.Listen == listen {
			return all
		}
	}
	return append(all, router.ListenerState{Listen: listen})
}
