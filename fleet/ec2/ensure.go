package ec2

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// launchWidth is how many instances are asked for at once. EC2 limits RunInstances to a few requests a second for an account, after a burst;
// beyond that the SDK waits.
const launchWidth = 8

// Ensure launches the nodes that are not there, waits until they run, and attaches them to the fleet's group.
func (d *Driver) Ensure(ctx context.Context, spec fleet.Spec) ([]fleet.Node, error) {
	if len(spec.Nodes) == 0 {
		return nil, nil
	}
	if err := supported(spec); err != nil {
		return nil, err
	}
	defer d.alone(spec.Fleet)()
	doing := "ensure fleet " + spec.Fleet.String()
	found, err := d.found(ctx, spec)
	if err != nil {
		return nil, explain(doing, err)
	}
	if slices.ContainsFunc(spec.Nodes, func(n fleet.NodeSpec) bool { _, there := found[n.Name]; return !there }) {
		if err := d.ground(ctx, spec); err != nil {
			return nil, explain(doing, err)
		}
	}
	errs := d.launchAll(ctx, spec, found)
	if err := d.started(ctx, spec, found); err != nil {
		errs = append(errs, explain(doing, err))
	}
	var nodes []fleet.Node
	for _, n := range spec.Nodes {
		if m, ok := found[n.Name]; ok {
			nodes = append(nodes, m.node)
		}
	}
	return nodes, errors.Join(errs...)
}

// alone waits until no other call of this process ensures the fleet; the answer lets the next one go on. (Processes are kept apart by
// client tokens.)
func (d *Driver) alone(id fleet.FleetID) (done func()) {
	d.mu.Lock()
	lock := d.ensuring[id]
	if lock == nil {
		lock = &sync.Mutex{}
		d.ensuring[id] = lock
	}
	d.mu.Unlock()
	lock.Lock()
	return lock.Unlock
}

// found are the named nodes that exist.
func (d *Driver) found(ctx context.Context, spec fleet.Spec) (map[string]machine, error) {
	all, err := d.machines(ctx, &spec.Fleet)
	if err != nil {
		return nil, err
	}
	found := map[string]machine{}
	for _, m := range all {
		if slices.ContainsFunc(spec.Nodes, func(n fleet.NodeSpec) bool { return n.Name == m.node.ID.Node }) {
			found[m.node.ID.Node] = m
		}
	}
	return found, nil
}

// launchAll launches what is missing, adds it to found, and gives an error for each node that could not be.
func (d *Driver) launchAll(ctx context.Context, spec fleet.Spec, found map[string]machine) (errs []error) {
	made := make([]*machine, len(spec.Nodes))
	failed := make([]error, len(spec.Nodes))
	var group errgroup.Group
	group.SetLimit(launchWidth)
	for i, n := range spec.Nodes {
		if _, there := found[n.Name]; there {
			continue
		}
		group.Go(func() error {
			m, err := d.launch(ctx, spec, n)
			if err != nil {
				failed[i] = explain("boot node "+n.Name, err)
				return nil
			}
			made[i] = &m
			return nil
		})
	}
	group.Wait() //nolint:errcheck // the functions return none
	for i, m := range made {
		if m != nil {
			found[spec.Nodes[i].Name] = *m
		}
		if failed[i] != nil {
			errs = append(errs, failed[i])
		}
	}
	return errs
}

// started waits until the nodes run, or ended, and has the group hold those that run.
func (d *Driver) started(ctx context.Context, spec fleet.Spec, found map[string]machine) error {
	for {
		waits := false
		for _, m := range found {
			waits = waits || m.state == types.InstanceStateNamePending
		}
		if !waits {
			return d.join(ctx, spec.Fleet, found)
		}
		if err := d.pause(ctx); err != nil {
			return err
		}
		now, err := d.found(ctx, spec)
		if err != nil {
			return err
		}
		for name, m := range now {
			if _, ours := found[name]; ours {
				found[name] = m
			}
		}
		// One that ended and was removed by somebody else in the meantime is not waited for.
		for name := range found {
			if _, there := now[name]; !there {
				delete(found, name)
			}
		}
	}
}

// remember keeps a launched node for as long as lists may lack it.
func (d *Driver) remember(m machine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recent[m.id] = recent{m.node, time.Now().Add(consistent)}
}

// badSlot is an error for a slot that no machine can have.
func badSlot(n fleet.NodeSpec) error {
	return fault.New(fault.Invalid, "boot node %s: slot %d is not from 0 to %d", n.Name, n.Slot, mostSlot)
}

// mostSlot bounds what is spread: more nodes than an account runs.
const mostSlot = 1 << 20

// lacks is whether AWS says that it has no such machine there now.
func lacks(code string) bool {
	return strings.HasPrefix(code, "Insufficient") || code == "SpotMaxPriceTooLow" || code == "MaxSpotInstanceCountExceeded" || code == "Unsupported"
}
