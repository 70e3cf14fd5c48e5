package sandbox

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

// streamDelay is how long an ended sandbox waits for a Stdin that still blocks or a Stdout that still takes its time.
const streamDelay = 10 * time.Second

// ErrUnsure says of a Start that failed that its command may have run: the sandbox was ended after it had leave to run.
var ErrUnsure = errors.New("sandbox: the command may have run")

// Start starts a sandbox and returns once its command is started. A command that cannot be started (no such program,
// no such user) is no error: Wait then gives an Exit with code 126 or 127 and the reason. Errors are *fault.Error
// with a hint where the kernel or the machine's settings are in the way. The end of ctx kills an attached sandbox,
// and a detached one only while Start runs.
func Start(ctx context.Context, s Spec) (*Process, error) {
	p, err := start(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	return p, nil
}

// Run starts an attached sandbox and waits for its end. The end of ctx kills it; the error is then that of ctx.
func Run(ctx context.Context, s Spec) (Exit, error) {
	p, err := Start(ctx, s)
	if err != nil {
		return Exit{}, err
	}
	exit, err := p.Wait()
	if ctx.Err() != nil {
		return exit, fmt.Errorf("run in sandbox: %w", ctx.Err())
	}
	return exit, err
}

func start(ctx context.Context, s Spec) (*Process, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	l, err := newLaunch(s)
	if err != nil {
		return nil, err
	}
	defer l.closeChildEnds()
	p, err := l.clone(ctx)
	if err != nil {
		l.abandon()
		return nil, err
	}
	if err := l.bringUp(ctx, p); err != nil {
		_ = p.Kill()
		_, werr := p.Wait()
		switch unsure := errors.Is(err, ErrUnsure); {
		case ctx.Err() != nil && unsure:
			err = fmt.Errorf("%w: %w", ErrUnsure, ctx.Err())
		case ctx.Err() != nil:
			err = ctx.Err()
		}
		return nil, errors.Join(err, ignoreExit(werr))
	}
	if s.Detach == nil {
		p.release = context.AfterFunc(ctx, func() { _ = p.Kill() })
	}
	return p, nil
}

// ignoreExit drops what is expected of a sandbox that was just killed.
func ignoreExit(err error) error {
	if errors.Is(err, errNoExit) {
		return nil
	}
	return err
}

func (s *Spec) check() error {
	switch {
	case len(s.Command) == 0:
		return fault.New(fault.Invalid, "no command given")
	case len(s.Root.Lower) == 0 || s.Root.Upper == "" || s.Root.Work == "":
		return fault.New(fault.Invalid, "root needs a lower, an upper and a work folder")
	case s.Detach != nil && s.TTY != nil:
		return fault.New(fault.Invalid, "a detached sandbox has no terminal; commands run in it may")
	case s.Detach != nil && s.Detach.Dir == "":
		return fault.New(fault.Invalid, "a detached sandbox needs a folder")
	}
	for _, m := range s.Mounts {
		if !filepath.IsAbs(m.Target) || filepath.Clean(m.Target) == "/" {
			return fault.New(fault.Invalid, "mount target %q is not an absolute path below the root", m.Target)
		}
	}
	return nil
}
