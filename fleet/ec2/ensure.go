package ec2

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// launchWidth is how many instances are asked for at once. EC2 limits RunInstances to a few requests a second for an account, after a burst;
// beyond that the SDK waits.
const launchWidth = 8

// Ensure launches the nodes that are not there, all at once, waits until they run, and attaches them to the fleet's group. Any number of
// calls may be under way for a fleet; what each node needs they share.
func (d *Driver) Ensure(ctx context.Context, spec fleet.Spec) ([]fleet.Node, error) {
	if len(spec.Nodes) == 0 {
		return nil, nil
	}
	if err := supported(spec); err != nil {
		return nil, err
	}
	doing := "ensure fleet " + spec.Fleet.String()
	w, leave, err := d.enter(spec.Fleet)
	if err != nil {
		return nil, explain(doing, err)
	}
	defer leave()
	found, err := d.named(ctx, spec)
	if err != nil {
		return nil, explain(doing, err)
	}
	errs := d.launchAll(ctx, w, spec, found)
	if err := d.started(ctx, w, spec, found); err != nil {
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

// named are the nodes of a spec that exist, by name.
func (d *Driver) named(ctx context.Context, spec fleet.Spec) (map[string]machine, error) {
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

// launchAll launches what is missing, adds it to found, and gives an error for each node that could not be, or one for all.
func (d *Driver) launchAll(ctx context.Context, w *work, spec fleet.Spec, found map[string]machine) []error {
	missing := slices.DeleteFunc(slices.Clone(spec.Nodes), func(n fleet.NodeSpec) bool { _, there := found[n.Name]; return there })
	if len(missing) == 0 {
		return nil
	}
	place, err := d.place(ctx, spec)
	if err != nil {
		return []error{explain("choose where "+spec.Fleet.String()+" runs", err)}
	}
	image, err := d.ground(ctx, w, spec, place)
	if err != nil {
		return []error{explain("make what the nodes of "+spec.Fleet.String()+" are launched from", err)}
	}
	made := make([]machine, len(missing))
	failed := make([]error, len(missing))
	var group errgroup.Group
	group.SetLimit(launchWidth)
	for i, n := range missing {
		group.Go(func() error {
			made[i], failed[i] = d.launch(ctx, w, launch{spec: spec, node: n, place: place, image: image})
			failed[i] = explain("boot node "+n.Name, failed[i])
			return nil
		})
	}
	group.Wait() //nolint:errcheck // the functions return none
	for i, n := range missing {
		if failed[i] == nil {
			found[n.Name] = made[i]
		}
	}
	return slices.DeleteFunc(failed, func(err error) bool { return err == nil })
}

// started waits until the nodes run, or ended, has the group hold those that run, and leaves each name one instance.
func (d *Driver) started(ctx context.Context, w *work, spec fleet.Spec, found map[string]machine) error {
	waiting, stop := w.until(ctx)
	defer stop()
	for {
		pending := false
		for _, m := range found {
			pending = pending || m.state == types.InstanceStateNamePending
		}
		if !pending {
			if err := d.join(ctx, spec.Fleet, found); err != nil {
				return err
			}
			return d.untwin(ctx, w, spec.Fleet, found)
		}
		if err := d.pause(waiting); err != nil { // not shorter: a list that began a pause ago has what was launched before it
			return err
		}
		all, err := d.glance(ctx, w, spec.Fleet)
		if err == nil {
			all, err = d.single(ctx, all)
		}
		if err != nil {
			return err
		}
		refresh(found, all)
	}
}

// refresh takes into found how its machines are now. One that ended and was removed by somebody else meanwhile is not waited for.
func refresh(found map[string]machine, all []machine) {
	now := map[string]machine{}
	for _, m := range all {
		now[m.node.ID.Node] = m
	}
	for name := range found {
		if m, there := now[name]; there {
			found[name] = m
		} else {
			delete(found, name)
		}
	}
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
