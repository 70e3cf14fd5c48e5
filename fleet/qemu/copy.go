package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/machinechannel"
)

// CopyOut reads files as the machine sees them, by our own program in it, so it works with images that have none for it. What a machine wrote
// is in its memory: one that has ended has no files.
func (d *Driver) CopyOut(ctx context.Context, id fleet.NodeID, name string) (io.ReadCloser, error) {
	r, err := d.copyOut(ctx, id, name)
	if err != nil {
		return nil, fmt.Errorf("copy %s out of %s: %w", name, id.Node, err)
	}
	return r, nil
}

func (d *Driver) copyOut(ctx context.Context, id fleet.NodeID, name string) (io.ReadCloser, error) {
	r, ok, err := d.nodes.Ours(id)
	if err == nil && !ok {
		err = fleet.ErrNoNode
	}
	if err != nil {
		return nil, err
	}
	l, err := d.liveOf(r)
	if errors.Is(err, errGone) {
		return nil, fmt.Errorf("the machine has ended, and its files were in its memory: %w", fleet.ErrNoNode)
	}
	if err != nil {
		return nil, err
	}
	c, err := l.talk.open(ctx)
	if err != nil {
		return nil, err
	}
	files, err := c.CopyOut(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fault.New(fault.NotFound, "there is no %s: %w", name, err)
	case errors.Is(err, machinechannel.ErrTooOld):
		err = fault.New(fault.Unsupported, "the image was baked by an older release: %w", err).WithHint("bake and launch it again")
	}
	if err != nil {
		l.talk.release()
		return nil, err
	}
	return &borrowed{ReadCloser: files, back: sync.OnceFunc(l.talk.release)}, nil
}

// borrowed is files on their way over a connection that is given back then.
type borrowed struct {
	io.ReadCloser
	back func()
}

func (b *borrowed) Close() error {
	defer b.back()
	return b.ReadCloser.Close()
}
