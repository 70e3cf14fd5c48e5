package swarm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	dockerswarm "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/pause"
)

// removeWidth is how many services are removed at once.
const removeWidth = 8

// Remove removes the node's service and waits until its task has ended: the Swarm stops it with the signal and the grace that it was
// booted with. On a host that is down nothing is waited for.
func (d *Driver) Remove(ctx context.Context, id fleet.NodeID, _ time.Duration) error {
	tasks, err := d.tasks(ctx, dockerapi.LabelNode+"="+id.Node)
	if err != nil {
		return fmt.Errorf("remove node %s: %w", id.Node, err)
	}
	if err := d.remove(ctx, id, tasks); err != nil {
		return fmt.Errorf("remove node %s: %w", id.Node, err)
	}
	return nil
}

// Destroy removes all services of the fleet, several at once.
func (d *Driver) Destroy(ctx context.Context, id fleet.FleetID) error {
	label := dockerapi.LabelFleet + "=" + id.String()
	services, err := d.services(ctx, label)
	if err != nil {
		return fmt.Errorf("destroy fleet %s: %w", id, err)
	}
	tasks, err := d.tasks(ctx, label)
	if err != nil {
		return fmt.Errorf("destroy fleet %s: %w", id, err)
	}
	nodes := map[string][]task{} // by name; those whose services are removed already too
	for _, s := range services {
		nodes[s.Spec.Name] = nil
	}
	for _, t := range tasks {
		nodes[t.node.ID.Node] = append(nodes[t.node.ID.Node], t)
	}
	errs := make(chan error, len(nodes))
	var group errgroup.Group
	group.SetLimit(removeWidth)
	for name, tasks := range nodes {
		group.Go(func() error {
			if err := d.remove(ctx, fleet.NodeID{Fleet: id, Node: name}, tasks); err != nil {
				errs <- fmt.Errorf("remove node %s: %w", name, err)
			}
			return nil
		})
	}
	group.Wait() //nolint:errcheck // the functions return none
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	if err := errors.Join(all...); err != nil {
		return fmt.Errorf("destroy fleet %s: %w", id, err)
	}
	return nil
}

// remove ends a node and keeps the end of its output. tasks are the node's.
func (d *Driver) remove(ctx context.Context, id fleet.NodeID, tasks []task) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of the log too, when the node could not be removed
	kept := d.keepTail(ctx, id, tasks)
	if err := d.end(ctx, id.Node); err != nil {
		return err
	}
	for _, t := range tasks {
		if err := d.gone(ctx, t, lookEvery); err != nil {
			return err
		}
	}
	kept()
	return nil
}

// end removes a service of ours; absent is success.
func (d *Driver) end(ctx context.Context, name string) error {
	return d.ask(ctx, func(ctx context.Context, c *client.Client) error {
		have, _, err := c.ServiceInspectWithRaw(ctx, name, dockerswarm.ServiceInspectOptions{})
		if err == nil && have.Spec.Name == name && have.Spec.Labels[dockerapi.LabelInstallation] == d.opts.Installation {
			err = c.ServiceRemove(ctx, have.ID)
		}
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}, "remove service %s", name)
}

// gone waits until a task has ended, or its host is down.
func (d *Driver) gone(ctx context.Context, t task, every time.Duration) error {
	for {
		var now dockerswarm.Task
		absent := false
		err := d.ask(ctx, func(ctx context.Context, c *client.Client) (err error) {
			now, _, err = c.TaskInspectWithRaw(ctx, t.ID)
			if absent = errdefs.IsNotFound(err); absent {
				return nil
			}
			return err
		}, "wait for the end of task %s", t.ID)
		if err != nil || absent || ended(now.Status.State) || now.NodeID == "" {
			return err
		}
		hosts, err := d.hosts(ctx)
		if err != nil || hosts[now.NodeID].lost() {
			return err
		}
		if err := pause.For(ctx, every); err != nil {
			return fmt.Errorf("wait for the end of task %s: %w", t.ID, err)
		}
	}
}
