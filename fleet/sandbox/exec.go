package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/sandbox"
)

// Exec runs a command beside a node's own.
func (d *Driver) Exec(ctx context.Context, id fleet.NodeID, spec fleet.ExecSpec) (int, error) {
	r, ok, err := d.nodes.Ours(id)
	if err == nil && !ok {
		err = fleet.ErrNoNode
	}
	if err == nil {
		_, err = d.liveOf(r)
	}
	if errors.Is(err, sandbox.ErrGone) {
		err = fmt.Errorf("the node has ended: %w", fleet.ErrNoNode)
	}
	if err != nil {
		return 0, fmt.Errorf("exec in %s: %w", id.Node, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	exit, err := sandbox.ControlOf(d.nodes.Dir(id.Node)).Exec(ctx, sandbox.ExecSpec{
		Command: spec.Command, Env: environ(spec.Env), TTY: spec.TTY, Columns: spec.Window.Columns, Rows: spec.Window.Rows,
		Resize: local.Sizes(ctx, spec.Resize), Stdin: spec.Stdin, Stdout: spec.Stdout, Stderr: spec.Stderr,
	})
	if err != nil {
		return 0, fmt.Errorf("exec in %s: %w", id.Node, err)
	}
	return exit.Code, nil
}

func environ(env map[string]string) []string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}
