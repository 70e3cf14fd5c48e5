package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// Explain wraps an error of the engine's API with what was being done, and classes it: an engine that does not
// answer is fleet.ErrUnavailable, so that its nodes count as unknown and not as dead.
func Explain(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "permission denied while trying to connect"):
		return Unavailable(fault.Denied, what, err).WithHint("add yourself to the group that may use the engine, then log in again: sudo usermod -aG docker $USER")
	case strings.Contains(err.Error(), "x509: ") || strings.Contains(err.Error(), "tls: "):
		return Unavailable(fault.Denied, what, err).WithHint("the certificates do not fit: is the CA that of the engine, and does the engine's certificate name its address?")
	case strings.Contains(err.Error(), "command [ssh "):
		return Unavailable(fault.Unavailable, what, err).WithHint("try it as the user of the agent: ssh -o BatchMode=yes HOST docker version")
	case Silent(err):
		return Unavailable(fault.Unavailable, what, err).WithHint("is the Docker engine running, and DOCKER_HOST right? try: docker version")
	case strings.Contains(err.Error(), "no space left on device"):
		return fault.New(fault.NoSpace, "%s: %w", what, err).WithHint("free space on the engine's disk; docker system df shows what takes it")
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Unavailable keeps both the engine's error and fleet.ErrUnavailable findable.
func Unavailable(code fault.Code, what string, err error) *fault.Error {
	return fault.New(code, "%s: %w", what, fmt.Errorf("%w: %w", fleet.ErrUnavailable, err))
}

// Silent reports whether err says that the engine did not answer, or stopped in the middle of its answer.
func Silent(err error) bool {
	var network net.Error
	return client.IsErrConnectionFailed(err) || errdefs.IsUnavailable(err) || errors.As(err, &network) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(err.Error(), "containerd.sock") // the engine answers but cannot reach its own runtime
}
