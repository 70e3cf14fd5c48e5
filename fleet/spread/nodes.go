package spread

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootandshoot/release/fleet"
)

// Nodes lists the fleet's nodes on all hosts that answer, by name.
func (d *Driver) Nodes(ctx context.Context, id fleet.FleetID) ([]fleet.Node, error) {
	var mu sync.Mutex
	var nodes []fleet.Node
	err := each(d.all(), func(_ int, h *host) error {
		var found []fleet.Node
		err := h.do(ctx, answerWithin, func(ctx context.Context) (err error) {
			found, err = h.member.Nodes(ctx, id)
			return err
		})
		if err != nil {
			return asAway(h, err)
		}
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, d.named(h, found)...)
		return nil
	})
	slices.SortFunc(nodes, func(a, b fleet.Node) int { return strings.Compare(a.ID.Node, b.ID.Node) })
	return nodes, err
}

// asAway is what a listing says of a host that could not list: whatever the reason, its nodes are unknown.
func asAway(h *host, err error) error {
	return join([]error{&fleet.HostsAway{Hosts: []string{h.name}, Err: cause(err)}})
}

// cause is the error of a host without the host's name.
func cause(err error) error {
	if away, ok := err.(*fleet.HostsAway); ok { //nolint:errorlint // as do returned it
		return away.Err
	}
	return err
}

// Fleets lists the fleets on all hosts that answer.
func (d *Driver) Fleets(ctx context.Context) ([]fleet.Fleet, error) {
	var mu sync.Mutex
	count := map[fleet.FleetID]int{}
	err := each(d.all(), func(_ int, h *host) error {
		var found []fleet.Fleet
		err := h.do(ctx, answerWithin, func(ctx context.Context) (err error) {
			found, err = h.member.Fleets(ctx)
			return err
		})
		if err != nil {
			return asAway(h, err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, fl := range found {
			count[fl.ID] += fl.Nodes
		}
		return nil
	})
	var fleets []fleet.Fleet
	for id, n := range count {
		fleets = append(fleets, fleet.Fleet{ID: id, Nodes: n})
	}
	slices.SortFunc(fleets, func(a, b fleet.Fleet) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return fleets, err
}

// Remove removes a node from its host. One that was not seen anywhere is removed from wherever it may be.
func (d *Driver) Remove(ctx context.Context, id fleet.NodeID, grace time.Duration) error {
	hosts := d.all()
	if h := d.of(id.Node); h != nil {
		hosts = []*host{h}
	}
	err := each(hosts, func(_ int, h *host) error {
		return on(h, h.do(ctx, 0, func(ctx context.Context) error { return h.member.Remove(ctx, id, grace) }))
	})
	if err == nil {
		d.forget(id.Node)
	}
	return err
}

// Destroy destroys the fleet on all hosts that answer.
func (d *Driver) Destroy(ctx context.Context, id fleet.FleetID) error {
	return each(d.all(), func(_ int, h *host) error {
		return on(h, h.do(ctx, 0, func(ctx context.Context) error { return h.member.Destroy(ctx, id) }))
	})
}
