package dockerapi

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/pause"
)

// Exec runs a command in the container of a node. If ctx ends first the connection is cut, and kill is told the id of the command's
// execution: the engine itself cannot end one. kill may be nil.
func Exec(ctx context.Context, engine *client.Client, id, node string, spec fleet.ExecSpec, kill func(execID string)) (int, error) {
	made, err := engine.ContainerExecCreate(ctx, id, container.ExecOptions{
		Cmd: spec.Command, Env: Pairs(spec.Env), Tty: spec.TTY, ConsoleSize: consoleSize(spec),
		AttachStdin: spec.Stdin != nil, AttachStdout: true, AttachStderr: true,
	})
	if errdefs.IsConflict(err) || errdefs.IsNotFound(err) { // it does not run
		return 0, fmt.Errorf("run command in node %s: %w: %w", node, fleet.ErrNoNode, err)
	}
	if err != nil {
		return 0, Explain(err, "run command in node %s", node)
	}
	if spec.TTY { // before the start: engines before 23.0 take a size only when the command runs, and then at once
		sizing, stop := context.WithCancel(ctx)
		defer stop()
		go resize(sizing, engine, made.ID, spec)
	}
	conn, err := engine.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{Tty: spec.TTY, ConsoleSize: consoleSize(spec)})
	if err != nil {
		return 0, Explain(err, "run command in node %s", node)
	}
	defer conn.Close()
	if err := converse(ctx, made.ID, conn, spec, kill); err != nil {
		return 0, Explain(err, "run command in node %s", node)
	}
	code, err := execCode(ctx, engine, made.ID)
	return code, Explain(err, "read exit of command in node %s", node)
}

func consoleSize(spec fleet.ExecSpec) *[2]uint {
	if !spec.TTY || spec.Window.Rows <= 0 || spec.Window.Columns <= 0 {
		return nil
	}
	return &[2]uint{uint(spec.Window.Rows), uint(spec.Window.Columns)}
}

// converse copies input and output until the command closes its output. The copying of input is left behind when
// Stdin blocks; it ends with Stdin.
func converse(ctx context.Context, execID string, conn types.HijackedResponse, spec fleet.ExecSpec, kill func(string)) error {
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
		if kill != nil {
			kill(execID)
		}
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
func resize(ctx context.Context, engine *client.Client, execID string, spec fleet.ExecSpec) {
	size := spec.Window
	for try := 0; ; {
		var again <-chan time.Time
		if size.Rows > 0 && size.Columns > 0 {
			err := engine.ContainerExecResize(ctx, execID, container.ResizeOptions{Height: uint(size.Rows), Width: uint(size.Columns)})
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
func execCode(ctx context.Context, engine *client.Client, execID string) (int, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		in, err := engine.ContainerExecInspect(ctx, execID)
		if err != nil {
			return 0, err
		}
		if !in.Running {
			return in.ExitCode, nil
		}
		if err := pause.For(ctx, wait); err != nil {
			return 0, err
		}
	}
}

// CopyOut reads files of the container of a node, also when it has ended. A link is followed.
func CopyOut(ctx context.Context, engine *client.Client, id, node, name string) (io.ReadCloser, error) {
	from := name
	st, err := engine.ContainerStatPath(ctx, id, from)
	if err == nil && st.LinkTarget != "" {
		from = st.LinkTarget
	}
	if err == nil {
		var r io.ReadCloser
		if r, _, err = engine.CopyFromContainer(ctx, id, from); err == nil {
			return r, nil
		}
	}
	if errdefs.IsNotFound(err) {
		return nil, fault.New(fault.NotFound, "copy out of %s: there is no %s: %w", node, name, err)
	}
	return nil, Explain(err, "copy %s out of %s", name, node)
}
