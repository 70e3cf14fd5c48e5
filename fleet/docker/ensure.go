package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/pause"
)

// startWidth is how many nodes are made at once. The engine does most of a start under its own locks: more gains
// nothing (test/bench tries several).
const startWidth = 8

// site is what all nodes of one Ensure share.
type site struct {
	imageID string
	bridge  bridge
	reach   reach
	found   map[string]container.Summary // of the fleet, by node name
}

// Ensure makes the nodes that are not there, several at once. A container that was made but never started is started.
func (d *Driver) Ensure(ctx context.Context, spec fleet.Spec) ([]fleet.Node, error) {
	if len(spec.Nodes) == 0 {
		return nil, nil
	}
	s, err := d.survey(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("ensure fleet %s: %w", spec.Fleet, err)
	}
	nodes := make([]*fleet.Node, len(spec.Nodes))
	errs := make([]error, len(spec.Nodes))
	var group errgroup.Group
	group.SetLimit(startWidth)
	for i, n := range spec.Nodes {
		group.Go(func() error {
			node, err := d.ensureNode(ctx, spec, n, s)
			if err != nil {
				errs[i] = engineError(err, "boot node %s", n.Name)
				return nil
			}
			nodes[i] = &node
			return nil
		})
	}
	group.Wait() //nolint:errcheck // the functions return none
	d.ensured(spec.Image)
	var made []fleet.Node
	for _, n := range nodes {
		if n != nil {
			made = append(made, *n)
		}
	}
	return made, errors.Join(errs...)
}

// survey gathers what the nodes need, all at once.
func (d *Driver) survey(ctx context.Context, spec fleet.Spec) (s site, err error) {
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		s.imageID, err = d.imageID(gctx, spec)
		return err
	})
	group.Go(func() (err error) {
		s.bridge, err = d.bridge(gctx)
		return err
	})
	group.Go(func() (err error) {
		s.reach, err = d.reach(gctx)
		return err
	})
	group.Go(func() error {
		list, err := d.list(gctx, &spec.Fleet)
		s.found = make(map[string]container.Summary, len(list))
		for _, c := range list {
			s.found[c.Labels[dockerapi.LabelNode]] = c
		}
		return err
	})
	return s, group.Wait()
}

// ensureNode makes and starts one node, or returns it as it is. A container that never ran and cannot be started is
// made anew once: what it was made for, such as the network, may be gone.
func (d *Driver) ensureNode(ctx context.Context, spec fleet.Spec, n fleet.NodeSpec, s site) (fleet.Node, error) {
	if len(spec.Volumes) > 0 {
		d.volumes.Lock()
		defer d.volumes.Unlock()
	}
	if c, ok := s.found[n.Name]; ok {
		return d.adopt(ctx, spec, n, s, c.ID)
	}
	node, containerID, err := d.boot(ctx, spec, n, s)
	if err == nil || containerID == "" || silent(err) || ctx.Err() != nil {
		return node, err
	}
	return d.again(ctx, spec, n, s, containerID, err)
}

// boot makes and starts the container; its id is returned if it was made but not started.
func (d *Driver) boot(ctx context.Context, spec fleet.Spec, n fleet.NodeSpec, s site) (fleet.Node, string, error) {
	p, err := placeOf(s.bridge, s.reach, d.opts.PublishFrom, spec.Port, n.Slot)
	if err != nil {
		return fleet.Node{}, "", err
	}
	if err := d.giveVolumes(ctx, spec, n.Name); err != nil {
		return fleet.Node{}, "", err
	}
	containerID, err := d.create(ctx, spec, n, s, p)
	if errdefs.IsConflict(err) {
		node, err := d.adoptByName(ctx, spec, n, s)
		return node, "", err
	}
	if err != nil {
		return fleet.Node{}, "", err
	}
	if err := d.engine.ContainerStart(ctx, containerID, container.StartOptions{}); err != nil {
		return fleet.Node{}, containerID, err
	}
	c, err := d.engine.ContainerInspect(ctx, containerID)
	if err != nil {
		return fleet.Node{}, "", err
	}
	node, err := d.node(ctx, c, s.reach.host)
	return node, "", err
}

// create makes the container. An image or network that somebody removed in the meantime is brought back once.
func (d *Driver) create(ctx context.Context, spec fleet.Spec, n fleet.NodeSpec, s site, p place) (string, error) {
	w := describe(d.opts.Installation, s.imageID, spec, n, p)
	if len(spec.Volumes) > 0 {
		w.host.Mounts = d.mounts(spec)
		w.config.Labels[labelAlone] = strings.Join(d.alone(spec), " ")
	}
	made, err := d.engine.ContainerCreate(ctx, w.config, w.host, w.network, nil, n.Name)
	if errdefs.IsNotFound(err) {
		d.forgetImage(spec.Image)
		id, prepareErr := d.imageID(ctx, spec)
		if prepareErr != nil {
			return "", prepareErr
		}
		w.config.Image = id
		made, err = d.engine.ContainerCreate(ctx, w.config, w.host, w.network, nil, n.Name)
	}
	for _, warning := range made.Warnings {
		d.log.DebugContext(ctx, "engine warns", "node", n.Name, "warning", warning)
	}
	return made.ID, err
}

// A name is taken before its container can be seen, when another call makes it at the same time.
const (
	nameTries = 100
	nameWait  = 20 * time.Millisecond
)

// adoptByName is adopt for a name that the engine says is taken.
func (d *Driver) adoptByName(ctx context.Context, spec fleet.Spec, n fleet.NodeSpec, s site) (fleet.Node, error) {
	for try := 0; ; try++ {
		c, err := d.engine.ContainerInspect(ctx, n.Name)
		switch {
		case err == nil && !d.isNode(c.Config.Labels, fleet.NodeID{Fleet: spec.Fleet, Node: n.Name}):
			return fleet.Node{}, fault.New(fault.Exists, "the container name is taken by another").WithHint("see whose it is: docker inspect %s", n.Name)
		case err == nil:
			return d.adopt(ctx, spec, n, s, c.ID)
		case !errdefs.IsNotFound(err) || try == nameTries:
			return fleet.Node{}, err
		}
		if err := pause.For(ctx, nameWait); err != nil {
			return fleet.Node{}, err
		}
	}
}

// adopt returns the node of an existing container; one that was made but never started is started first.
func (d *Driver) adopt(ctx context.Context, spec fleet.Spec, n fleet.NodeSpec, s site, containerID string) (fleet.Node, error) {
	c, err := d.engine.ContainerInspect(ctx, containerID)
	if err != nil {
		return fleet.Node{}, err
	}
	if !neverStarted(c.State) {
		return d.node(ctx, c, s.reach.host)
	}
	if err := d.giveVolumes(ctx, spec, n.Name); err != nil {
		return fleet.Node{}, err
	}
	if err := d.engine.ContainerStart(ctx, containerID, container.StartOptions{}); err != nil {
		if silent(err) || ctx.Err() != nil {
			return fleet.Node{}, err
		}
		return d.again(ctx, spec, n, s, containerID, err)
	}
	if c, err = d.engine.ContainerInspect(ctx, containerID); err != nil {
		return fleet.Node{}, err
	}
	return d.node(ctx, c, s.reach.host)
}

// again looks at a container whose start failed. A command that cannot be run is a node that ended; for any other
// reason the container is made anew, and a second failure is the engine's.
func (d *Driver) again(ctx context.Context, spec fleet.Spec, n fleet.NodeSpec, s site, containerID string, cause error) (fleet.Node, error) {
	c, err := d.engine.ContainerInspect(ctx, containerID)
	if err != nil {
		return fleet.Node{}, errors.Join(cause, err)
	}
	if !neverStarted(c.State) {
		return d.node(ctx, c, s.reach.host)
	}
	d.log.InfoContext(ctx, "container did not start, making it anew", "node", n.Name, "error", cause)
	if err := d.removeContainer(ctx, containerID); err != nil {
		return fleet.Node{}, errors.Join(cause, err)
	}
	d.forgetBridge()
	if s.bridge, err = d.bridge(ctx); err != nil {
		return fleet.Node{}, err
	}
	node, _, err := d.boot(ctx, spec, n, s)
	return node, err
}
