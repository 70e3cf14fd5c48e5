package qemu

import (
	"context"
	"errors"
	"fmt"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/internal/machinechannel"
	"github.com/bootandshoot/release/internal/unixsock"
)

// talk is the connection to a machine's control line. There can be but one, which all share who use it at a time.
type talk struct {
	path string
	turn chan struct{} // holds one value while somebody looks at what follows; a machine that boots keeps who dials waiting

	client *machinechannel.Client
	users  int
}

func newTalk(path string) *talk { return &talk{path: path, turn: make(chan struct{}, 1)} }

// use lends the connection.
func (t *talk) use(ctx context.Context, do func(*machinechannel.Client) error) error {
	c, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer t.release()
	return do(c)
}

func (t *talk) open(ctx context.Context) (*machinechannel.Client, error) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-t.turn }()
	if t.users == 0 {
		conn, err := unixsock.Dial(ctx, t.path)
		if err != nil {
			return nil, err
		}
		if t.client, err = machinechannel.Dial(ctx, conn); err != nil {
			return nil, err
		}
	}
	t.users++
	return t.client, nil
}

func (t *talk) release() {
	t.turn <- struct{}{} // nobody dials while there are users
	defer func() { <-t.turn }()
	if t.users--; t.users == 0 {
		_ = t.client.Close()
	}
}

func (t *talk) stop(ctx context.Context, signal string) error {
	return t.use(ctx, func(c *machinechannel.Client) error { return c.Stop(ctx, signal) })
}

// Exec runs a command in the machine, with the environment of its services.
func (d *Driver) Exec(ctx context.Context, id fleet.NodeID, spec fleet.ExecSpec) (int, error) {
	code, err := d.exec(ctx, id, spec)
	if err != nil {
		return 0, fmt.Errorf("exec in %s: %w", id.Node, err)
	}
	return code, nil
}

func (d *Driver) exec(ctx context.Context, id fleet.NodeID, spec fleet.ExecSpec) (code int, err error) {
	r, ok, err := d.nodes.Ours(id)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, fleet.ErrNoNode
	}
	l, err := d.liveOf(r)
	if errors.Is(err, errGone) {
		return 0, fmt.Errorf("the node has ended: %w", fleet.ErrNoNode)
	}
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err = l.talk.use(ctx, func(c *machinechannel.Client) (err error) {
		code, err = c.Run(ctx, machinechannel.Command{
			Args: spec.Command, Env: spec.Env, TTY: spec.TTY, Columns: spec.Window.Columns, Rows: spec.Window.Rows,
			Resize: local.Sizes(ctx, spec.Resize), Stdin: spec.Stdin, Stdout: spec.Stdout, Stderr: spec.Stderr,
		})
		return err
	})
	return code, err
}
