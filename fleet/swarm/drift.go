package swarm

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
)

var _ fleet.Drifter = (*Driver)(nil)

// Drift implements fleet.Drifter, where Exec would run a command: programs and files. What the container was given is the service's, which
// the Swarm keeps. Elsewhere the error is fault.Unsupported.
func (d *Driver) Drift(ctx context.Context, id fleet.NodeID, spec fleet.DriftSpec) (fleet.Drift, error) {
	engine, containerID, err := d.container(ctx, id)
	if err != nil {
		return fleet.Drift{}, fmt.Errorf("compare %s with its image: %w", id.Node, err)
	}
	c, err := engine.ContainerInspect(ctx, containerID)
	switch {
	case errdefs.IsNotFound(err):
		return fleet.Drift{}, fmt.Errorf("compare %s with its image: %w: %w", id.Node, fleet.ErrNoNode, err)
	case err != nil:
		return fleet.Drift{}, explain(err, "compare %s with its image", id.Node)
	}
	programs, files, err := dockerapi.Drift(ctx, engine, c, id.Node, spec, false)
	if err != nil {
		return fleet.Drift{}, err
	}
	return spec.Found(slices.Concat(programs, files)), nil
}
