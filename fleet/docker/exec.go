package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
)

// Exec runs a command in the node's container. If ctx ends first the connection is cut, and the command is killed
// where the engine is on this machine and this process may; the engine itself cannot end one.
func (d *Driver) Exec(ctx context.Context, id fleet.NodeID, spec fleet.ExecSpec) (int, error) {
	c, err := d.container(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("run command in node %s: %w", id.Node, err)
	}
	made, err := d.engine.ContainerExecCreate(ctx, c.ID, container.ExecOptions{
		Cmd: spec.Command, Env: pairs(spec.Env), Tty: spec.TTY, ConsoleSize: consoleSize(spec),
		AttachStdin: spec.Stdin != nil, AttachStdout: true, AttachStderr: true,
	})
	if errdefs.IsConflict(err) || errdefs.IsNotFound(err) { // it does not run
		return 0, fmt.Errorf("run command in node %s: %w: %w", id.Node, fleet.ErrNoNode, err)
	}
	if err != nil {
		return 0, engineError(err, "run command in node %s", id.Node)
	}
	if spec.TTY { // before the start: engines before 23.0 take a size only when the command runs, and then at once
		sizing, stop := context.WithCancel(ctx)
		defer stop()
		go d.resize(sizing, made.ID, spec)
	}
	conn, err := d.engine.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{Tty: spec.TTY, ConsoleSize: consoleSize(spec)})
	if err != nil {
		return 0, engineError(err, "run command in node %s", id.Node)
	}
	defer conn.Close()
	if err := d.converse(ctx, made.ID, conn, spec); err != nil {
		return 0, engineError(err, "run command in node %s", id.Node)
	}
	code, err := d.execCode(ctx, made.ID)
	return code, engineError(err, "read exit of command in node %s", id.Node)
}

func consoleSize(spec fleet.ExecSpec) *[2]uint {
	if !spec.TTY || spec.Window.Rows <= 0 || spec.Window.Columns <= 0 {
		return nil
	}
	return &[2]uint{uint(spec.Window.Rows), uint(spec.Window.Columns)}
}

// converse copies input and output until the command closes its output. The copying of input is left behind when
// Stdin blocks; it ends with Stdin.
func (d *Driver) converse(ctx context.Context, execID string, conn types.HijackedResponse, spec fleet.ExecSpec) error {
	if spec.Stdin != nil {
		go func() {
			io.Copy(conn.Conn, spec.Stdin) //nolint:errcheck // a command that ends before its input is not an error
			conn.CloseWrite()              //nolint:errcheck // nor is one that is gone by now
		}()
	}
	copied := make(chan error, 1)
	go func() { copied <- output(conn.Reader, spec) }()
	select {
	case err := <-copied:
		return err
	case <-ctx.Done():
		conn.Close()
		<-copied
		d.killExec(execID)
		return ctx.Err()
	}
}

func output(from io.Reader, spec fleet.ExecSpec) error {
	stdout, stderr := orDiscard(spec.Stdout), orDiscard(spec.Stderr)
	var err error
	if spec.TTY {
		_, err = io.Copy(stdout, from)
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, from)
	}
	return err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// resize sets the terminal's size at the start, and then as often as it changes. The engine refuses until the command
// runs, so the first is tried for a while.
func (d *Driver) resize(ctx context.Context, execID string, spec fleet.ExecSpec) {
	size := spec.Window
	for try := 0; ; {
		var again <-chan time.Time
		if size.Rows > 0 && size.Columns > 0 {
			err := d.engine.ContainerExecResize(ctx, execID, container.ResizeOptions{Height: uint(size.Rows), Width: uint(size.Columns)})
			if err != nil && try < 50 {
				try++
				again = time.After(20 * time.Millisecond)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case next, ok := <-spec.Resize:
			if !ok {
				spec.Resize = nil
				continue
			}
			size, try = next, 0
		}
	}
}

// execCode waits for the engine to note the exit: it closes the output a moment earlier.
func (d *Driver) execCode(ctx context.Context, execID string) (int, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		in, err := d.engine.ContainerExecInspect(ctx, execID)
		if err != nil {
			return 0, err
		}
		if !in.Running {
			return in.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(wait):
		}
	}
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
