package embedded

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/router"
)

// errSilent: the predecessor lives and does not answer: it is paused, or has no time.
var errSilent = errors.New("the process before this one does not answer")

// predecessor is the process before this one, finishing its connections. Only the end of its connection, which the kernel
// closes with the process, means that it is gone; one that does not answer may still have connections.
type predecessor struct {
	log    *slog.Logger
	client *Client
	conn   net.Conn
	pid    int
	turn   chan struct{} // holds one value while a question is under way: they are answered in order

	mu         sync.Mutex
	asked      time.Time // when the question under way was put; zero: none is
	last       snapshot  // its last reading
	lastStatus Status
}

func newPredecessor(conn net.Conn, log *slog.Logger) *predecessor {
	d := &predecessor{log: log, client: newConnClient(conn), conn: conn, turn: make(chan struct{}, 1)}
	if u, ok := conn.(*net.UnixConn); ok {
		d.pid = peerOf(u)
	}
	d.lastStatus = Status{PID: d.pid, Draining: true}
	return d
}

// peerOf is the process that made the other end of a pair of sockets; 0: not known.
func peerOf(conn *net.UnixConn) (pid int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if u, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(u.Pid)
		}
	})
	return pid
}

func (p *process) predecessor() *predecessor {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pred
}

// ask puts a question and waits for its answer as long as ctx and askPatience last, or not at all while an earlier one has
// been waiting for longer. A question that was put stays until it is answered, whoever has left: to break it off would close
// the only connection. keep is called with the answer in out, in the order of the questions; after an error out is not to be
// touched. ErrUnavailable says that the predecessor is gone, errSilent that it lives.
func (d *predecessor) ask(ctx context.Context, method, path string, in, out any, keep func()) error {
	if d.silent() {
		return errSilent
	}
	patience := time.NewTimer(askPatience)
	defer patience.Stop()
	select {
	case d.turn <- struct{}{}:
	case <-patience.C:
		return errSilent
	case <-ctx.Done():
		return ctx.Err()
	}
	d.waiting(time.Now())
	answered := make(chan error, 1)
	go func() {
		err := d.client.call(context.WithoutCancel(ctx), method, path, in, out)
		if err == nil && keep != nil {
			keep()
		}
		d.waiting(time.Time{})
		<-d.turn
		answered <- err
	}()
	select {
	case err := <-answered:
		return err
	case <-patience.C:
		return errSilent
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waiting notes since when a question has been waiting for its answer.
func (d *predecessor) waiting(since time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = since
}

// silent says whether a question has been waiting for its answer for too long.
func (d *predecessor) silent() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.asked.IsZero() && time.Since(d.asked) > askPatience
}

// refresh asks for the counters. When there is no answer they are the last known ones, and when the predecessor is gone,
// with nothing in flight.
func (d *predecessor) refresh(ctx context.Context) snapshot {
	s := new(snapshot)
	err := d.ask(ctx, http.MethodGet, "/v1/snapshot", nil, s, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.last = *s
	})
	if err == nil {
		return *s
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(err, router.ErrUnavailable) {
		d.log.Warn("the process before this one has gone", "pid", d.pid, "error", err)
		d.last.Drained = true
		d.last.Edge.Nodes = slices.Clone(d.last.Edge.Nodes)
		for i := range d.last.Edge.Nodes {
			d.last.Edge.Nodes[i].InFlight, d.last.Edge.Nodes[i].Long = 0, 0
		}
	}
	return d.last
}

// status is what it says of itself, or said last; nil when it is gone.
func (d *predecessor) status(ctx context.Context) *Status {
	s := new(Status)
	err := d.ask(ctx, http.MethodGet, "/v1/status", nil, s, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.lastStatus = *s
	})
	switch {
	case err == nil:
		return s
	case errors.Is(err, router.ErrUnavailable):
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	last := d.lastStatus
	return &last
}

// follow brings it a new table; gone is success.
func (d *predecessor) follow(ctx context.Context, t router.Table) error {
	err := d.ask(ctx, http.MethodPost, followPath, t, nil, nil)
	if errors.Is(err, router.ErrUnavailable) {
		return nil
	}
	return err
}

// attendPredecessor looks after the predecessor until it is gone.
func (p *process) attendPredecessor(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
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

// watchPredecessor takes over the counters of a predecessor that has finished, and lets it end. One that has missed a table
// gets it.
func (p *process) watchPredecessor(ctx context.Context) {
	d := p.predecessor()
	if d == nil {
		return
	}
	s := d.refresh(ctx)
	if !s.Drained {
		if c := p.e.current.Load(); c != nil && s.Edge.Confirmed.Compare(c.table.Version) < 0 {
			_ = d.follow(ctx, c.table) // or the next time
		}
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
	_ = d.ask(ctx, http.MethodPost, "/v1/stop", nil, nil, nil) // one that does not answer learns it by the end of this process
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
	e.reasons.add(s.Rejected)
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
