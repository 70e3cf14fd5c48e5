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

// Watch passes on the hints of all hosts, also of those that come later.
func (d *Driver) Watch(ctx context.Context) (<-chan fleet.FleetID, error) {
	hints := make(chan fleet.FleetID)
	go func() {
		defer close(hints)
		var group sync.WaitGroup
		defer group.Wait()
		watched := map[*host]context.CancelFunc{}
		for {
			d.mu.Lock()
			hosts, changed := d.sorted(), d.changed
			d.mu.Unlock()
			d.follow(ctx, hosts, watched, &group, hints)
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}()
	return hints, nil
}

// follow watches the hosts that are new, and leaves those that are not there any more.
func (d *Driver) follow(ctx context.Context, hosts []*host, watched map[*host]context.CancelFunc, group *sync.WaitGroup, hints chan<- fleet.FleetID) {
	stays := map[*host]bool{}
	for _, h := range hosts {
		stays[h] = true
		w, ok := h.member.(fleet.Watcher)
		if watched[h] != nil || !ok {
			continue
		}
		one, cancel := context.WithCancel(ctx)
		watched[h] = cancel
		group.Go(func() { relay(one, w, hints) })
	}
	for h, leave := range watched {
		if !stays[h] {
			leave()
			delete(watched, h)
		}
	}
	if ctx.Err() != nil {
		for _, leave := range watched {
			leave()
		}
	}
}

// relay passes on the hints of one host until ctx ends.
func relay(ctx context.Context, w fleet.Watcher, hints chan<- fleet.FleetID) {
	for ctx.Err() == nil {
		from, err := w.Watch(ctx)
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
