package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/pause"
)

// removeWidth is how many containers are removed at once.
const removeWidth = 8

// The engine may let go of a removed container's address a moment after it said that the container is removed.
const (
	releaseTries = 20
	releaseWait  = 50 * time.Millisecond
)

// Remove asks the node to end with the signal its container was made with, waits up to grace (rounded up to whole
// seconds), kills it and removes the container with its anonymous volumes.
func (d *Driver) Remove(ctx context.Context, id fleet.NodeID, grace time.Duration) error {
	c, err := d.container(ctx, id)
	if errors.Is(err, fleet.ErrNoNode) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove node %s: %w", id.Node, err)
	}
	if c.State != nil && c.State.Running && grace > 0 {
		err := d.engine.ContainerStop(ctx, c.ID, container.StopOptions{Timeout: new(seconds(grace))})
		if err != nil && !errdefs.IsNotFound(err) {
			return engineError(err, "stop node %s", id.Node)
		}
	}
	d.keepTail(ctx, c.ID, id, fleet.Kind(c.Config.Labels[dockerapi.LabelKind]))
	return engineError(d.removeContainer(ctx, c.ID), "remove node %s", id.Node)
}

// container finds a node's container. A container of that name that is not ours counts as none.
func (d *Driver) container(ctx context.Context, id fleet.NodeID) (container.InspectResponse, error) {
	if err := d.greet(ctx); err != nil {
		return container.InspectResponse{}, err
	}
	c, err := d.engine.ContainerInspect(ctx, id.Node)
	switch {
	case errdefs.IsNotFound(err):
		return c, fmt.Errorf("%w: %s", fleet.ErrNoNode, id.Node)
	case err != nil:
		return c, engineError(err, "inspect container %s", id.Node)
	case c.ContainerJSONBase == nil || c.Config == nil || !d.isNode(c.Config.Labels, id):
		return c, fmt.Errorf("%w: %s", fleet.ErrNoNode, id.Node)
	}
	return c, nil
}

// removeContainer kills and removes; absent is success, and a removal under way is waited for.
func (d *Driver) removeContainer(ctx context.Context, containerID string) error {
	err := d.engine.ContainerRemove(ctx, containerID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsConflict(err) { // somebody else is removing it
		return d.waitRemoved(ctx, containerID)
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

func (d *Driver) waitRemoved(ctx context.Context, containerID string) error {
	done, errs := d.engine.ContainerWait(ctx, containerID, container.WaitConditionRemoved)
	select {
	case <-done:
		return nil
	case err := <-errs:
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
}

// Destroy kills and removes all containers of the fleet, then images of ours that nothing uses any more, and with the
// last fleet the network.
func (d *Driver) Destroy(ctx context.Context, id fleet.FleetID) error {
	list, err := d.list(ctx, &id)
	if err != nil {
		return fmt.Errorf("destroy fleet %s: %w", id, err)
	}
	errs := make([]error, len(list))
	var group errgroup.Group
	group.SetLimit(removeWidth)
	for i, c := range list {
		group.Go(func() error {
			d.keepTail(ctx, c.ID, fleet.NodeID{Fleet: id, Node: c.Labels[dockerapi.LabelNode]}, fleet.Kind(c.Labels[dockerapi.LabelKind]))
			errs[i] = engineError(d.removeContainer(ctx, c.ID), "remove node %s", c.Labels[dockerapi.LabelNode])
			return nil
		})
	}
	group.Wait() //nolint:errcheck // the functions return none
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("destroy fleet %s: %w", id, err)
	}
	if err := d.sweep(ctx); err != nil {
		return fmt.Errorf("destroy fleet %s: %w", id, err)
	}
	return nil
}

// sweep removes our images that no container of ours uses and no Ensure is awaited for, and with the last container the
// network. What the engine says is in use stays: somebody was quicker.
func (d *Driver) sweep(ctx context.Context) error {
	left, err := d.list(ctx, nil)
	if err != nil {
		return err
	}
	used := d.awaitedImages()
	for _, c := range left {
		used[c.Labels[dockerapi.LabelImage]] = true
	}
	if err := d.sweepImages(ctx, used); err != nil || len(left) > 0 {
		return err
	}
	return d.removeBridge(ctx)
}

func (d *Driver) sweepImages(ctx context.Context, used map[string]bool) error {
	list, err := d.engine.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return engineError(err, "list images")
	}
	for _, im := range list {
		for _, ref := range slices.Concat(im.RepoDigests, im.RepoTags) {
			digest, ok := d.digestOf(ref)
			if !ok || used[digest] {
				continue
			}
			d.forgetImage(digest)
			_, err := d.engine.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
			if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
				return engineError(err, "remove image %s", ref)
			}
		}
	}
	return nil
}

func (d *Driver) removeBridge(ctx context.Context) error {
	d.making.Lock()
	defer d.making.Unlock()
	b, err := d.findBridge(ctx, d.bridgeName())
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return engineError(err, "find network %s", d.bridgeName())
	}
	d.forgetBridge()
	for try := 0; ; try++ {
		err := d.engine.NetworkRemove(ctx, b.name)
		switch {
		case err == nil || errdefs.IsNotFound(err):
			return nil
		case !inUse(err):
			return engineError(err, "remove network %s", b.name)
		case try == releaseTries:
			d.log.InfoContext(ctx, "network stays: something is attached to it", "network", b.name, "error", err)
			return nil
		}
		if err := pause.For(ctx, releaseWait); err != nil {
			return engineError(err, "remove network %s", b.name)
		}
	}
}
