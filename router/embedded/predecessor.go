package embedded

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/bootandshoot/release/router"
)

// predecessor is the process before this one, finishing its connections.
type predecessor struct {
	client *Client
	conn   net.Conn

	mu   sync.Mutex
	last snapshot
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
	var s snapshot
	err := d.ask(ctx, http.MethodGet, "/v1/snapshot", nil, &s)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
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
	s = s.ofFleets(p.e.current.Load())
	p.mu.Lock()
	p.carried = p.carried.merge(s)
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

// ofFleets drops what belongs to fleets that no route has any more.
func (s snapshot) ofFleets(c *compiled) snapshot {
	known := map[string]bool{}
	if c != nil {
		for _, r := range c.table.Routes {
			for _, f := range r.Fleets {
				known[f.ID] = true
			}
		}
	}
	s.Edge.Nodes = slices.DeleteFunc(slices.Clone(s.Edge.Nodes), func(n router.NodeTraffic) bool { return !known[n.Fleet] })
	s.Fleets = slices.DeleteFunc(slices.Clone(s.Fleets), func(f fleetCount) bool { return !known[f.Fleet] })
	return s
}
