package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	dockerswarm "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/pause"
)

// lookEvery is the pause between two looks at what the Swarm is about to change.
const lookEvery = 100 * time.Millisecond

// Ensure creates the services that are not there, one after the other, and waits until their tasks run, or have ended.
func (d *Driver) Ensure(ctx context.Context, spec fleet.Spec) ([]fleet.Node, error) {
	if len(spec.Nodes) == 0 {
		return nil, nil
	}
	s, err := d.survey(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("ensure fleet %s: %w", spec.Fleet, err)
	}
	failed, err := d.placeAll(ctx, spec, s)
	if err != nil {
		return nil, fmt.Errorf("ensure fleet %s: %w", spec.Fleet, err)
	}
	nodes, err := d.started(ctx, spec, failed)
	var errs []error
	for _, n := range spec.Nodes {
		errs = append(errs, failed[n.Name])
	}
	return nodes, errors.Join(append(errs, err)...)
}

// survey gathers what the services need.
func (d *Driver) survey(ctx context.Context, spec fleet.Spec) (s site, err error) {
	if err := supported(spec); err != nil {
		return s, err
	}
	if err := d.remembers(ctx, spec); err != nil {
		return s, err
	}
	if s.image, s.auth, err = d.image(ctx, spec.Image, false, nil); err != nil {
		return s, err
	}
	s.secrets, err = d.secrets(ctx, spec.Cluster.Secrets)
	return s, err
}

// placeAll creates what is missing, and gives an error for each node that could not be, by name.
func (d *Driver) placeAll(ctx context.Context, spec fleet.Spec, s site) (failed map[string]error, err error) {
	done, err := d.placing.Lock(ctx, spec.Fleet.String()) // so that each sees where the others are
	if err != nil {
		return nil, err
	}
	defer done()
	label := dockerapi.LabelFleet + "=" + spec.Fleet.String()
	have, err := d.services(ctx, label)
	if err != nil {
		return nil, err
	}
	tasks, err := d.tasks(ctx, label)
	if err != nil {
		return nil, err
	}
	failed = map[string]error{}
	for _, n := range spec.Nodes {
		i := slices.IndexFunc(have, func(s dockerswarm.Service) bool { return s.Spec.Name == n.Name })
		var err error
		switch {
		case i < 0:
			err = d.place(ctx, spec, n, s)
		case keptOff(have[i], tasks, spec):
			err = d.settle(ctx, spec, n, s, true)
		}
		if err != nil {
			failed[n.Name] = fmt.Errorf("boot node %s: %w", n.Name, err)
		}
	}
	return failed, nil
}

// create makes the service of a node, unless it is there.
func (d *Driver) create(ctx context.Context, spec fleet.Spec, n fleet.NodeSpec, s site, avoid []string) error {
	service, err := d.describe(spec, n, s, avoid)
	if err != nil {
		return err
	}
	return d.ask(ctx, func(ctx context.Context, c *client.Client) error {
		_, err := c.ServiceCreate(ctx, service, dockerswarm.ServiceCreateOptions{EncodedRegistryAuth: s.auth})
		switch {
		case errdefs.IsConflict(err) || err != nil && strings.Contains(err.Error(), "name conflicts"):
			return d.mine(ctx, c, n.Name)
		case err != nil && len(service.TaskTemplate.Networks) > 0 && strings.HasSuffix(err.Error(), " not found"): // by no code of its own
			return fault.New(fault.NotFound, "create service: %w", err).
				WithHint("make the network: docker network create --driver overlay --attachable NAME; docker network ls shows which there are")
		case errdefs.IsInvalidArgument(err):
			return fault.New(fault.Invalid, "create service: %w", err).WithHint("see fleet.swarm in release.yaml")
		}
		return err
	}, "create service %s", n.Name)
}

// mine refuses a service that has a node's name and is not ours.
func (d *Driver) mine(ctx context.Context, c *client.Client, name string) error {
	have, _, err := c.ServiceInspectWithRaw(ctx, name, dockerswarm.ServiceInspectOptions{})
	if err == nil && have.Spec.Labels[dockerapi.LabelInstallation] != d.opts.Installation {
		return fault.New(fault.Exists, "create service %s: another one has the name", name).WithHint("see whose it is: docker service inspect %s", name)
	}
	return err
}

// noHost is how a task's error begins that the Swarm finds no host for.
const noHost = "no suitable node"

// placed waits until a node's task has a host; false when the Swarm says that there is none for it.
func (d *Driver) placed(ctx context.Context, node string) (bool, error) {
	for {
		tasks, err := d.tasks(ctx, dockerapi.LabelNode+"="+node)
		if err != nil {
			return false, err
		}
		for _, t := range tasks {
			switch {
			case t.NodeID != "" || t.over():
				return true, nil
			case strings.HasPrefix(t.Status.Err, noHost):
				return false, nil
			}
		}
		if err := pause.For(ctx, lookEvery); err != nil {
			return false, err
		}
	}
}

// started waits until the nodes that have not failed run or have ended. One that the Swarm has no host for is an error when that
// lasts, and its service is removed: when hosts come back the next one is placed.
func (d *Driver) started(ctx context.Context, spec fleet.Spec, failed map[string]error) ([]fleet.Node, error) {
	began := d.now()
	for {
		listed, err := d.list(ctx, spec.Fleet)
		if err != nil {
			return nil, fmt.Errorf("ensure fleet %s: %w", spec.Fleet, err)
		}
		p := progressOf(listed, spec, failed)
		span := d.now().Sub(began)
		if span > 2*vanished && len(p.unseen) > 0 { // a service without a task would be listed by now
			return p.nodes, fault.New(fault.Failed, "boot nodes of %s: the services of %s are not there any more", spec.Fleet, strings.Join(p.unseen, ", "))
		}
		if !p.waits && len(p.unseen) == 0 && (len(p.homeless) == 0 || span >= d.opts.Room) {
			return p.nodes, d.giveUp(ctx, p.homeless)
		}
		if err := pause.For(ctx, lookEvery); err != nil {
			return p.nodes, fmt.Errorf("wait for nodes of %s to start: %w", spec.Fleet, err)
		}
	}
}

// progress is how far the nodes of a spec are.
type progress struct {
	nodes    []fleet.Node // they run, or have ended
	homeless []task       // the Swarm has no host for them
	waits    bool         // others are on their way
	unseen   []string     // names of those that the Swarm has no task for
}

// progressOf looks how far the nodes of a spec are, of those that have not failed.
func progressOf(listed []task, spec fleet.Spec, failed map[string]error) (p progress) {
	for _, n := range spec.Nodes {
		i := slices.IndexFunc(listed, func(t task) bool { return t.node.ID.Node == n.Name })
		switch {
		case i < 0 && failed[n.Name] == nil:
			p.unseen = append(p.unseen, n.Name)
		case i < 0:
		case listed[i].running() || listed[i].node.Presence == fleet.Gone:
			p.nodes = append(p.nodes, listed[i].node)
		case strings.HasPrefix(listed[i].Status.Err, noHost):
			p.homeless = append(p.homeless, listed[i])
		default:
			p.waits = true
		}
	}
	return p
}

// giveUp removes the services of nodes that the Swarm has no host for, and says so.
func (d *Driver) giveUp(ctx context.Context, homeless []task) error {
	var errs []error
	for _, t := range homeless {
		errs = append(errs, fault.New(fault.NoSpace, "boot node %s: the Swarm has no host for it: %s", t.node.ID.Node, t.Status.Err).
			WithHint("docker node ls shows the hosts; fleet.swarm.constraints in release.yaml says which may be used"), d.end(ctx, t.node.ID.Node))
	}
	return errors.Join(errs...)
}
