package embedded

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootandshoot/release/router"
)

// predecessor is the process before this one, finishing its connections.
type predecessor struct {
	client *Client
	conn   net.Conn

	asking sync.Mutex // one reading at a time: they come in order
	last   snapshot   // guarded by asking
}

func newPredecessor(conn net.Conn) *predecessor {
	return &predecessor{client: newConnClient(conn), conn: conn}
}

func (p *process) predecessor() *predecessor {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pred
}

// ask is a call that the end of whoever caused it does not break off: that would close the only connection.
func (d *predecessor) ask(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askPatience)
	defer cancel()
	return d.client.call(ctx, method, path, in, out)
}

// refresh asks for the counters; when there is no answer they are the last known ones, with nothing in flight.
func (d *predecessor) refresh(ctx context.Context) snapshot {
	d.asking.Lock()
	defer d.asking.Unlock()
	var s snapshot
	if err := d.ask(ctx, http.MethodGet, "/v1/snapshot", nil, &s); err == nil {
		d.last = s
		return s
	}
	d.last.Drained = true
	d.last.Edge.Nodes = slices.Clone(d.last.Edge.Nodes)
	for i := range d.last.Edge.Nodes {
		d.last.Edge.Nodes[i].InFlight = 0
	}
	return d.last
}

// follow brings it a new table; gone is success.
func (d *predecessor) follow(ctx context.Context, t router.Table) error {
	err := d.ask(ctx, http.MethodPost, "/v1/follow", t, nil)
	if errors.Is(err, router.ErrUnavailable) {
		return nil
	}
	return err
}

// watchPredecessor takes over the counters of a predecessor that has finished, and lets it end.
func (p *process) watchPredecessor(ctx context.Context) {
	d := p.predecessor()
	if d == nil {
		return
	}
	s := d.refresh(ctx)
	if !s.Drained {
		return
	}
	p.tally.Lock()
	defer p.tally.Unlock()
	if p.predecessor() != d {
		return
	}
	p.e.absorb(s)
	p.mu.Lock()
	p.pred = nil
	p.mu.Unlock()
	_ = d.conn.Close()
}

// stopPredecessor asks it to stop and waits until it is gone or ctx ends.
func (p *process) stopPredecessor(ctx context.Context) {
	d := p.predecessor()
	if d == nil {
		return
	}
	_ = d.ask(ctx, http.MethodPost, "/v1/stop", nil, nil) // one that does not answer is gone
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for p.predecessor() != nil {
		p.watchPredecessor(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// absorb makes the counters of a predecessor that ended this process's own. Its nodes stay remembered as others that
// left the table do, so that what it counted last is read.
func (e *engine) absorb(s snapshot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range s.Edge.Routes {
		lookup(e.memory.routes, r.Route).add(r)
	}
	for _, t := range s.Edge.Nodes {
		e.memory.named(fleetNode{t.Fleet, t.Node}, e.now()).stats.add(t)
	}
	for _, f := range s.Fleets {
		lookup(e.memory.fleets, f.fleetKey).add(f)
	}
	e.follows.Store(false)
}

// shared says whether another process counts for the same nodes.
func (e *engine) shared() bool { return e.follows.Load() || e.draining.Load() }

// named is a remembered node of the name, or one without an address that only counts.
func (m *memory) named(name fleetNode, now time.Time) *node {
	for k, n := range m.nodes {
		if k.fleet == name.fleet && k.name == name.name {
			return n
		}
	}
	n := newNode(nodeKey{fleet: name.fleet, name: name.name}, now.UnixNano())
	n.gone = true
	m.nodes[n.nodeKey] = n
	return n
}

func (s *routeStats) add(r router.RouteTraffic) {
	addAll([]*atomic.Uint64{&s.requests, &s.noNode, &s.retried, &s.failed, &s.rejected}, []uint64{r.Requests, r.NoNode, r.Retried, r.Failed, r.Rejected})
}

func (s *nodeStats) add(n router.NodeTraffic) {
	addAll([]*atomic.Uint64{&s.requests, &s.status5x, &s.connect, &s.reset, &s.timeout, &s.cut}, []uint64{n.Requests, n.Status5x, n.Connect, n.Reset, n.Timeout, n.Cut})
	s.latency.add(n.Latency)
}

func (s *fleetStats) add(f fleetCount) {
	for i, n := range f.Codes {
		s.codes[i].Add(n)
	}
	addAll([]*atomic.Uint64{&s.failed[causeConnect], &s.failed[causeReset], &s.failed[causeTimeout]}, []uint64{f.Connect, f.Reset, f.Timeout})
	s.latency.add(f.Latency)
}

func (h *histogram) add(r router.Histogram) {
	for i, n := range r.Counts[:min(len(r.Counts), len(h.counts))] {
		h.counts[i].Add(n)
	}
	h.micros.Add(uint64(r.Sum * 1e6))
}

func addAll(to []*atomic.Uint64, more []uint64) {
	for i, n := range more {
		to[i].Add(n)
	}
}
