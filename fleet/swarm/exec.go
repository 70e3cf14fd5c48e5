package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	dockerswarm "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/fault"
)

// Exec runs a command in a node's container, where the engine of its host is one that the agent reaches: a manager, or one of
// Options.Engines. A command whose caller is gone runs on.
func (d *Driver) Exec(ctx context.Context, id fleet.NodeID, spec fleet.ExecSpec) (int, error) {
	engine, container, err := d.container(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("run command in node %s: %w", id.Node, err)
	}
	return dockerapi.Exec(ctx, engine, container, id.Node, spec, nil)
}

// CopyOut reads files of a node's container, where Exec would run a command.
func (d *Driver) CopyOut(ctx context.Context, id fleet.NodeID, name string) (io.ReadCloser, error) {
	engine, container, err := d.container(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("copy %s out of %s: %w", name, id.Node, err)
	}
	return dockerapi.CopyOut(ctx, engine, container, id.Node, name)
}

// container finds a node's container, and the engine that has it.
func (d *Driver) container(ctx context.Context, id fleet.NodeID) (*client.Client, string, error) {
	t, err := d.kept(ctx, id)
	if err != nil {
		return nil, "", err
	}
	at := t.Status.ContainerStatus
	if at == nil || at.ContainerID == "" {
		return nil, "", fmt.Errorf("%w: %s", fleet.ErrNoNode, id.Node)
	}
	engine, err := d.engineOf(ctx, t.NodeID)
	if engine != nil || err != nil {
		return engine, at.ContainerID, err
	}
	host := t.NodeID
	if hosts, err := d.hosts(ctx); err == nil && hosts[host].name != "" {
		host = hosts[host].name
	}
	return nil, "", fault.New(fault.Unsupported, "its host %s is none of the engines that the agent reaches, and a manager reaches into containers of its own host only", host).
		WithHint("name that engine in agent.yaml: swarm: {engines: [\"tcp://%s:2376\"]} · or on the host: docker exec %s", host, at.ContainerID[:min(12, len(at.ContainerID))])
}

// kept is the newest task of a node whose service is there.
func (d *Driver) kept(ctx context.Context, id fleet.NodeID) (task, error) {
	label := dockerapi.LabelNode + "=" + id.Node
	services, err := d.services(ctx, label)
	if err != nil {
		return task{}, err
	}
	tasks, err := d.tasks(ctx, label)
	if err != nil {
		return task{}, err
	}
	i := slices.IndexFunc(tasks, func(t task) bool {
		return slices.ContainsFunc(services, func(s dockerswarm.Service) bool { return s.ID == t.ServiceID })
	})
	if i < 0 {
		return task{}, fmt.Errorf("%w: %s", fleet.ErrNoNode, id.Node)
	}
	return tasks[i], nil
}

// engineOf is the engine that is a host of the Swarm, by its id there; nil when it is none of those that the agent reaches. One that
// does not answer may be it: then that is the error.
func (d *Driver) engineOf(ctx context.Context, host string) (*client.Client, error) {
	type answer struct {
		from *manager
		host string
		err  error
	}
	answers := make(chan answer)
	all := slices.Concat(d.managers, d.engines)
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, m := range all {
		go func() {
			a := answer{from: m}
			a.err = m.ask(asking, true, func(ctx context.Context, c *client.Client) error {
				info, err := c.Info(ctx)
				a.host = info.Swarm.NodeID
				return err
			})
			select {
			case answers <- a:
			case <-asking.Done():
			}
		}()
	}
	var silent []error
	for range all {
		select {
		case a := <-answers:
			if a.err == nil && a.host == host {
				return a.from.client, nil
			}
			if a.err != nil {
				silent = append(silent, explain(a.err, "ask engine %s which host it is", a.from.client.DaemonHost()))
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, errors.Join(silent...)
}
