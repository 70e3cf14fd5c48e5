package spread

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/pause"
)

// member is the driver of a node's host, with one of the optional interfaces.
func member[T any](ctx context.Context, d *Driver, id fleet.NodeID) (m T, err error) {
	h, err := d.at(ctx, id)
	if err != nil {
		return m, fmt.Errorf("find node %s: %w", id.Node, err)
	}
	m, ok := h.member.(T)
	if !ok {
		return m, fault.New(fault.Unsupported, "the driver of host %s cannot do that", h.name)
	}
	return m, nil
}

// Logs implements fleet.Logger.
func (d *Driver) Logs(ctx context.Context, id fleet.NodeID, opts fleet.LogOptions) (io.ReadCloser, error) {
	m, err := member[fleet.Logger](ctx, d, id)
	if err != nil {
		return nil, err
	}
	return m.Logs(ctx, id, opts)
}

// Exec implements fleet.Execer.
func (d *Driver) Exec(ctx context.Context, id fleet.NodeID, spec fleet.ExecSpec) (int, error) {
	m, err := member[fleet.Execer](ctx, d, id)
	if err != nil {
		return 0, err
	}
	return m.Exec(ctx, id, spec)
}

// Drift implements fleet.Drifter.
func (d *Driver) Drift(ctx context.Context, id fleet.NodeID, spec fleet.DriftSpec) (fleet.Drift, error) {
	m, err := member[fleet.Drifter](ctx, d, id)
	if err != nil {
		return fleet.Drift{}, err
	}
	return m.Drift(ctx, id, spec)
}

// CopyOut implements fleet.Copier.
func (d *Driver) CopyOut(ctx context.Context, id fleet.NodeID, path string) (io.ReadCloser, error) {
	m, err := member[fleet.Copier](ctx, d, id)
	if err != nil {
		return nil, err
	}
	return m.CopyOut(ctx, id, path)
}

// watchWithin is how long Watch waits for hosts: one that does not answer is watched when it does.
const watchWithin = 2 * time.Second

// Watch passes on the hints of all hosts, also of those that come later. It returns when those that answer are watched, so that what
// happens from then on gives a hint.
func (d *Driver) Watch(ctx context.Context) (<-chan fleet.FleetID, error) {
	hints := make(chan fleet.FleetID)
	r := relays{watched: map[*host]context.CancelFunc{}, hints: hints}
	d.mu.Lock()
	hosts, changed := d.sorted(), d.changed
	d.mu.Unlock()
	begun := r.follow(ctx, hosts)
	go func() {
		defer close(hints)
		defer r.group.Wait()
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			d.mu.Lock()
			hosts, changed = d.sorted(), d.changed
			d.mu.Unlock()
			r.follow(ctx, hosts)
		}
	}()
	limit := time.After(watchWithin)
	for _, b := range begun {
		select {
		case <-b:
		case <-limit:
			return hints, nil
		case <-ctx.Done():
			return hints, nil
		}
	}
	return hints, nil
}

// relays are the watches of hosts.
type relays struct {
	watched map[*host]context.CancelFunc
	group   sync.WaitGroup
	hints   chan<- fleet.FleetID
}

// follow watches the hosts that are new, and leaves those that are not there any more. What it returns is closed one by one when the
// new ones are watched, or could not be.
func (r *relays) follow(ctx context.Context, hosts []*host) (begun []<-chan struct{}) {
	stays := map[*host]bool{}
	for _, h := range hosts {
		stays[h] = true
		w, ok := h.member.(fleet.Watcher)
		if r.watched[h] != nil || !ok {
			continue
		}
		one, cancel := context.WithCancel(ctx)
		r.watched[h] = cancel
		begins := make(chan struct{})
		begun = append(begun, begins)
		r.group.Go(func() { relay(one, w, r.hints, sync.OnceFunc(func() { close(begins) })) })
	}
	for h, leave := range r.watched {
		if !stays[h] {
			leave()
			delete(r.watched, h)
		}
	}
	return begun
}

// relay passes on the hints of one host until ctx ends. It calls begins when it has asked the host.
func relay(ctx context.Context, w fleet.Watcher, hints chan<- fleet.FleetID, begins func()) {
	for ctx.Err() == nil {
		from, err := w.Watch(ctx)
		begins()
		if err == nil {
			for id := range from {
				select {
				case hints <- id:
				case <-ctx.Done():
				}
			}
		}
		_ = pause.For(ctx, retryAfter) // hints may be lost: the caller looks by itself too
	}
}

// closed is a host whose driver could not be made.
type closed struct{ err error }

func (c closed) Reachable(context.Context) error                            { return c.err }
func (c closed) Engine(context.Context) (string, error)                     { return "", c.err }
func (c closed) Close() error                                               { return nil }
func (c closed) Prepare(context.Context, fleet.Spec) error                  { return c.err }
func (c closed) Ensure(context.Context, fleet.Spec) ([]fleet.Node, error)   { return nil, c.err }
func (c closed) Remove(context.Context, fleet.NodeID, time.Duration) error  { return c.err }
func (c closed) Nodes(context.Context, fleet.FleetID) ([]fleet.Node, error) { return nil, c.err }
func (c closed) Destroy(context.Context, fleet.FleetID) error               { return c.err }
func (c closed) Fleets(context.Context) ([]fleet.Fleet, error)              { return nil, c.err }
