package docker

import (
	"context"
	"fmt"
	"io"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
)

// CopyOut reads files of the node's container, also when it has ended. A link is followed.
func (d *Driver) CopyOut(ctx context.Context, id fleet.NodeID, name string) (io.ReadCloser, error) {
	c, err := d.container(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("copy %s out of %s: %w", name, id.Node, err)
	}
	return dockerapi.CopyOut(ctx, d.engine, c.ID, id.Node, name)
}
