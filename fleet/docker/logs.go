package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
)

// Logs reads the node's output back from the engine, which keeps the last 30 MB of a node until it is removed.
func (d *Driver) Logs(ctx context.Context, id fleet.NodeID, opts fleet.LogOptions) (io.ReadCloser, error) {
	c, err := d.container(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read log of node %s: %w", id.Node, err)
	}
	r, err := d.output(ctx, c.ID, opts)
	if beingRemoved(err) {
		return nil, fmt.Errorf("read log of node %s: %w", id.Node, fleet.ErrNoNode)
	}
	if err != nil {
		return nil, engineError(err, "read log of node %s", id.Node)
	}
	return r, nil
}

// beingRemoved says whether an error is that a container is on its way out, or gone since it was listed.
func beingRemoved(err error) bool {
	return err != nil && (errdefs.IsNotFound(err) || strings.Contains(err.Error(), "marked for removal"))
}

// output reads a container's output. Errors are the engine's.
func (d *Driver) output(ctx context.Context, containerID string, opts fleet.LogOptions) (io.ReadCloser, error) {
	ask := container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: opts.Follow, Tail: "all"}
	if opts.Tail > 0 {
		ask.Tail = strconv.Itoa(opts.Tail)
	}
	if !opts.Since.IsZero() {
		ask.Since = fmt.Sprintf("%d.%09d", opts.Since.Unix(), opts.Since.Nanosecond())
	}
	raw, err := d.engine.ContainerLogs(ctx, containerID, ask)
	if err != nil {
		return nil, err
	}
	return dockerapi.Lines(raw), nil
}

const (
	// tailMost is how many lines at most are asked for when a node is removed, and tailWithin how long that may take.
	tailMost   = 20_000
	tailWithin = 5 * time.Second
)

// keepTail hands on the end of a node's output before its container is removed. A node is removed all the same when that fails.
func (d *Driver) keepTail(ctx context.Context, containerID string, id fleet.NodeID, kind fleet.Kind) {
	if d.opts.Tails == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tailWithin)
	defer cancel()
	r, err := d.output(ctx, containerID, fleet.LogOptions{Tail: tailMost})
	if err == nil {
		err = errors.Join(d.opts.Tails.Keep(id, kind, r), r.Close())
	}
	if err != nil && !errdefs.IsNotFound(err) {
		d.log.WarnContext(ctx, "cannot keep the end of a log", "node", id.Node, "error", err)
	}
}
