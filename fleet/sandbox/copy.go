package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/treecopy"
	"github.com/bootandshoot/release/sandbox"
)

// CopyOut reads files as the node sees them, or as it saw them when it ended. Nothing in the node is asked to do it, so it
// works with images that have no program for it.
func (d *Driver) CopyOut(ctx context.Context, id fleet.NodeID, name string) (io.ReadCloser, error) {
	root, err := d.openRoot(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("copy %s out of %s: %w", name, id.Node, err)
	}
	f, err := treecopy.Open(root, name)
	if treecopy.IsAbsent(err) {
		err = fault.New(fault.NotFound, "there is no %s: %w", name, err)
	}
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("copy out of %s: %w", id.Node, err)
	}
	return local.ReadFrom(ctx, func(w io.Writer) error {
		defer root.Close()
		defer f.Close()
		return treecopy.Write(w, f)
	}), nil
}

// openRoot opens the root of a node's files.
func (d *Driver) openRoot(ctx context.Context, id fleet.NodeID) (*os.File, error) {
	r, ok, err := d.nodes.Ours(id)
	if err == nil && !ok {
		err = fleet.ErrNoNode
	}
	if err != nil {
		return nil, err
	}
	l, err := d.liveOf(r)
	if errors.Is(err, sandbox.ErrGone) {
		return d.openLeft(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	root, err := os.Open(fmt.Sprintf("/proc/%d/root", r.PID))
	if errors.Is(err, os.ErrNotExist) {
		return d.openLeft(ctx, r) // it ends this moment
	}
	select {
	case <-l.process.Done(): // the number may be another process's by now
		if err == nil {
			_ = root.Close()
		}
		return d.openLeft(ctx, r)
	default:
		return root, err
	}
}

// openLeft opens what an ended node left.
func (d *Driver) openLeft(ctx context.Context, r record) (*os.File, error) {
	lower, err := d.opts.Images.RootfsReporting(ctx, images.Digest(r.Image), nil)
	if err != nil {
		return nil, err
	}
	return sandbox.View(d.inNode(r, "upper"), lower)
}
