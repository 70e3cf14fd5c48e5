package docker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/pause"
)

// Bounds of the wait before the engine is asked for events again.
const (
	reconnectFirst = 100 * time.Millisecond
	reconnectMost  = 5 * time.Second
)

// Watch follows the engine's events. When the engine went away and came back, all fleets are sent: what happened in
// between is not known.
func (d *Driver) Watch(ctx context.Context) (<-chan fleet.FleetID, error) {
	hints := make(chan fleet.FleetID)
	found := make(chan fleet.FleetID)
	go coalesce(ctx, found, hints)
	first := d.subscribe(ctx)
	go d.follow(ctx, first, found)
	return hints, nil
}

// stream is one connection for events.
type stream struct {
	messages <-chan events.Message
	errs     <-chan error
	cancel   context.CancelFunc
}

// subscribe returns when the engine has taken the subscription, or failed to.
func (d *Driver) subscribe(ctx context.Context) stream {
	ctx, cancel := context.WithCancel(ctx)
	if err := d.greet(ctx); err != nil {
		failed := make(chan error, 1)
		failed <- err
		return stream{errs: failed, cancel: cancel}
	}
	f := d.ours(nil)
	f.Add("type", string(events.ContainerEventType))
	for _, a := range []events.Action{events.ActionStart, events.ActionDie, events.ActionDestroy} {
		f.Add("event", string(a))
	}
	messages, errs := d.engine.Events(ctx, events.ListOptions{Filters: filters.Args(f)})
	return stream{messages: messages, errs: errs, cancel: cancel}
}

// follow reads events until ctx ends, and connects again when the connection breaks. It closes found.
func (d *Driver) follow(ctx context.Context, s stream, found chan<- fleet.FleetID) {
	defer close(found)
	level := slog.LevelInfo // an engine that stays away, or lets us not in, is told of once
	for wait := reconnectFirst; ; wait = min(2*wait, reconnectMost) {
		began := d.now()
		seen, err := d.read(ctx, s, found)
		s.cancel()
		if ctx.Err() != nil {
			return
		}
		if seen {
			wait = reconnectFirst
		}
		if seen || d.now().Sub(began) > reconnectMost {
			level = slog.LevelInfo
		}
		d.log.Log(ctx, level, "events of the docker engine broke off", "error", err, "retry_in", wait)
		level = slog.LevelDebug
		if pause.For(ctx, wait) != nil {
			return
		}
		s = d.subscribe(ctx)
		d.sendAll(ctx, found)
	}
}

// read passes on the events of one connection until it breaks, and says whether there were any.
func (d *Driver) read(ctx context.Context, s stream, found chan<- fleet.FleetID) (seen bool, err error) {
	for {
		select {
		case m := <-s.messages:
			seen = true
			id, err := fleet.ParseFleetID(m.Actor.Attributes[dockerapi.LabelFleet])
			if err != nil {
				continue // not a node of ours in spite of its label: nothing to look at
			}
			select {
			case found <- id:
			case <-ctx.Done():
				return seen, ctx.Err()
			}
		case err := <-s.errs:
			return seen, fmt.Errorf("read events: %w", err)
		case <-ctx.Done():
			return seen, ctx.Err()
		}
	}
}

// sendAll hints at all fleets. An engine that is still away is asked again by the next round.
func (d *Driver) sendAll(ctx context.Context, found chan<- fleet.FleetID) {
	fleets, err := d.Fleets(ctx)
	if err != nil {
		return
	}
	for _, f := range fleets {
		select {
		case found <- f.ID:
		case <-ctx.Done():
			return
		}
	}
}

// coalesce passes ids from in to out and holds back none that differ: a slow reader gets each waiting fleet once, and
// the engine's events never wait for it. It closes out when in is closed or ctx ends.
func coalesce(ctx context.Context, in <-chan fleet.FleetID, out chan<- fleet.FleetID) {
	defer close(out)
	var queue []fleet.FleetID
	waiting := map[fleet.FleetID]bool{}
	for {
		var to chan<- fleet.FleetID
		var next fleet.FleetID
		if len(queue) > 0 {
			to, next = out, queue[0]
		}
		select {
		case id, ok := <-in:
			if !ok {
				return
			}
			if !waiting[id] {
				waiting[id] = true
				queue = append(queue, id)
			}
		case to <- next:
			delete(waiting, next)
			queue = queue[1:]
		case <-ctx.Done():
			return
		}
	}
}
