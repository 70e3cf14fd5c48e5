package docker

import (
	"context"
	"fmt"
	"slices"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
)

// Drift implements fleet.Drifter. Besides files and programs it compares what the container was given with what the spec says.
func (d *Driver) Drift(ctx context.Context, id fleet.NodeID, spec fleet.DriftSpec) (fleet.Drift, error) {
	c, err := d.container(ctx, id)
	if err != nil {
		return fleet.Drift{}, fmt.Errorf("compare %s with its image: %w", id.Node, err)
	}
	reach, err := d.reach(ctx)
	if err != nil {
		return fleet.Drift{}, fmt.Errorf("compare %s with its image: %w", id.Node, err)
	}
	programs, files, err := dockerapi.Drift(ctx, d.engine, c, id.Node, spec, reach.near && !reach.publish)
	if err != nil {
		return fleet.Drift{}, err
	}
	settings, err := d.changedSettings(ctx, c, spec)
	if err != nil {
		return fleet.Drift{}, fmt.Errorf("compare %s with its image: %w", id.Node, err)
	}
	return spec.Found(slices.Concat(programs, settings, files)), nil
}
