package docker

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/dockerapi"
)

// Exec runs a command in the node's container. If ctx ends first the connection is cut, and the command is killed
// where the engine is on this machine and this process may; the engine itself cannot end one.
func (d *Driver) Exec(ctx context.Context, id fleet.NodeID, spec fleet.ExecSpec) (int, error) {
	c, err := d.container(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("run command in node %s: %w", id.Node, err)
	}
	return dockerapi.Exec(ctx, d.engine, c.ID, id.Node, spec, d.killExec)
}

// killExec ends a command whose caller is gone, so that commands that hang, such as probes, do not pile up. The
// process is opened first and then asked for again, so that it is the one that the engine means.
func (d *Driver) killExec(execID string) {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	err := func() error {
		if r, err := d.reach(ctx); err != nil || !r.near || r.publish {
			return errors.Join(err, errors.New("the engine's processes are not this machine's"))
		}
		in, err := d.engine.ContainerExecInspect(ctx, execID)
		if err != nil || !in.Running || in.Pid == 0 {
			return err
		}
		fd, err := unix.PidfdOpen(in.Pid, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if in, err = d.engine.ContainerExecInspect(ctx, execID); err != nil || !in.Running {
			return err
		}
		return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}()
	if err != nil {
		d.log.DebugContext(ctx, "could not kill a command whose caller is gone", "exec", execID, "error", err)
	}
}
