package spread

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/bootandshoot/release/fleet"
)

// Prepare brings the image to all hosts that may boot it, at the same time. One that does not answer is passed over, as long as
// another one does: it gets the image with its first node.
func (d *Driver) Prepare(ctx context.Context, spec fleet.Spec) error {
	return d.PrepareReporting(ctx, spec, nil)
}

// PrepareReporting implements fleet.ProgressPreparer: how far the slowest host is.
func (d *Driver) PrepareReporting(ctx context.Context, spec fleet.Spec, report func(fleet.Progress)) error {
	hosts, err := d.chosen(spec)
	if err != nil {
		return err
	}
	s := &slowest{report: report, done: make([]int64, len(hosts)), ended: make([]bool, len(hosts))}
	err = each(hosts, func(i int, h *host) error {
		err := h.do(ctx, 0, func(ctx context.Context) error { return prepare(ctx, h, spec, s.of(i)) })
		s.end(i, err)
		return on(h, err)
	})
	var away *fleet.HostsAway
	if errors.As(err, &away) && len(away.Hosts) < len(hosts) && err == error(away) {
		d.opts.Log.InfoContext(ctx, "image is not on every host", "image", spec.Image, "error", err)
		return nil
	}
	return err
}

func prepare(ctx context.Context, h *host, spec fleet.Spec, report func(fleet.Progress)) error {
	if p, ok := h.member.(fleet.ProgressPreparer); ok && report != nil {
		return p.PrepareReporting(ctx, spec, report)
	}
	return h.member.Prepare(ctx, spec)
}

// on names the host in an error; that of one that is away has its name already.
func on(h *host, err error) error {
	var away *fleet.HostsAway
	if err == nil || errors.As(err, &away) {
		return err
	}
	return fmt.Errorf("on host %s: %w", h.name, err)
}

// slowest reports how far the last of several is.
type slowest struct {
	report func(fleet.Progress)
	mu     sync.Mutex
	last   fleet.Progress
	done   []int64
	ended  []bool
}

// of takes the progress of one; nil when nobody is told.
func (s *slowest) of(i int) func(fleet.Progress) {
	if s.report == nil {
		return nil
	}
	return func(p fleet.Progress) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done[i] = p.Done
		if s.last.Total == 0 {
			s.last.Total = p.Total
		}
		s.last.Doing = p.Doing
		s.tell()
	}
}

// end takes one out that has come to its end; what another one waits for is not its matter.
func (s *slowest) end(i int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[i] = true
	if s.last.Total > 0 && (err == nil || slices.Contains(s.ended, false)) {
		s.tell()
	}
}

func (s *slowest) tell() {
	least := s.last.Total
	for i, done := range s.done {
		if !s.ended[i] {
			least = min(least, done)
		}
	}
	s.last.Done = max(s.last.Done, least)
	s.report(s.last)
}

// Ensure boots each node on its host.
func (d *Driver) Ensure(ctx context.Context, spec fleet.Spec) ([]fleet.Node, error) {
	if len(spec.Nodes) == 0 {
		return nil, nil
	}
	hosts := d.all()
	parts, errs := d.divide(spec, hosts, d.free(spec))
	var mu sync.Mutex
	var nodes []fleet.Node
	err := each(hosts, func(_ int, h *host) error {
		part := spec
		if part.Nodes = parts[h.name]; len(part.Nodes) == 0 {
			return nil
		}
		return h.do(ctx, 0, func(ctx context.Context) error {
			made, err := h.member.Ensure(ctx, part)
			mu.Lock()
			defer mu.Unlock()
			nodes = append(nodes, d.named(h, made)...)
			return on(h, err)
		})
	})
	order := map[string]int{}
	for i, n := range spec.Nodes {
		order[n.Name] = i
	}
	slices.SortFunc(nodes, func(a, b fleet.Node) int { return order[a.ID.Node] - order[b.ID.Node] })
	if len(errs) == 0 {
		return nodes, err
	}
	return nodes, errors.Join(append(errs, err)...)
}

// divide gives each node to its host. One without is given to the host that has it, else by its slot to one that is free, so that
// everybody gives it to the same one.
func (d *Driver) divide(spec fleet.Spec, hosts, free []*host) (parts map[string][]fleet.NodeSpec, errs []error) {
	parts = map[string][]fleet.NodeSpec{}
	for _, n := range spec.Nodes {
		name := n.Host
		switch h := d.of(n.Name); {
		case name != "":
		case h != nil:
			name = h.name
		case len(free) == 0:
			errs = append(errs, fmt.Errorf("boot node %s: %w: no host may have it", n.Name, fleet.ErrUnavailable))
			continue
		default:
			name = free[n.Slot%len(free)].name
		}
		if !slices.ContainsFunc(hosts, func(h *host) bool { return h.name == name }) {
			errs = append(errs, fmt.Errorf("boot node %s: %w: there is no host %s", n.Name, fleet.ErrUnavailable, name))
			continue
		}
		parts[name] = append(parts[name], n)
	}
	return parts, errs
}

// named says of a host's nodes that they are there, by the host's name here.
func (d *Driver) named(h *host, nodes []fleet.Node) []fleet.Node {
	for i := range nodes {
		nodes[i].Host = h.name
	}
	d.seen(h, nodes...)
	return nodes
}
