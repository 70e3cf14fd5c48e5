package docker

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/errdefs"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// CopyOut reads files of the node's container, also when it has ended. A link is followed.
func (d *Driver) CopyOut(ctx context.Context, id fleet.NodeID, name string) (io.ReadCloser, error) {
	c, err := d.container(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("copy %s out of %s: %w", name, id.Node, err)
	}
	from := name
	st, err := d.engine.ContainerStatPath(ctx, c.ID, from)
	if err == nil && st.LinkTarget != "" {
		from = st.LinkTarget
	}
	if err == nil {
		var r io.ReadCloser
		if r, _, err = d.engine.CopyFromContainer(ctx, c.ID, from); err == nil {
			return r, nil
		}
	}
	if errdefs.IsNotFound(err) {
		return nil, fault.New(fault.NotFound, "copy out of %s: there is no %s: %w", id.Node, name, err)
	}
	return nil, engineError(err, "copy %s out of %s", name, id.Node)
}
