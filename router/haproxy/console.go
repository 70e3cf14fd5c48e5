package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

const (
	// maxLine bounds a line of commands and a payload: HAProxy takes what fits into one buffer (tune.bufsize, 16 KiB).
	maxLine = 8 << 10
	// maxReply bounds an answer: a line of statistics has some 600 bytes, and there may be many thousand servers.
	maxReply = 256 << 20
)

// silence is how long nothing may come while an answer is waited for: a HAProxy that was stopped (SIGSTOP) accepts
// connections and says nothing.
const silence = 5 * time.Second

// console is a master's command line. Each call is one connection, since a reload closes them all.
type console struct{ address string }

// ask sends a line, with its payload if it has one, and gives all that is answered.
func (c console) ask(ctx context.Context, line string) (string, error) {
	network := "tcp"
	if filepath.IsAbs(c.address) {
		network = "unix"
	}
	d := net.Dialer{Timeout: silence}
	conn, err := d.DialContext(ctx, network, c.address)
	if err != nil {
		return "", c.unreachable(ctx, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(silence)) // fails on a closed connection only, which the next line finds
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return "", c.unreachable(ctx, err)
	}
	// The master answers as long as it is asked: it must see that nothing more will come.
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return "", c.unreachable(ctx, err)
		}
	}
	b, err := io.ReadAll(io.LimitReader(patient{conn}, maxReply))
	if err != nil {
		return "", c.unreachable(ctx, err)
	}
	return string(b), nil
}

// patient reads as long as something comes.
type patient struct{ net.Conn }

func (p patient) Read(b []byte) (int, error) {
	_ = p.SetReadDeadline(time.Now().Add(silence)) // as in ask
	return p.Conn.Read(b)
}

// unreachable says why nobody answered.
func (c console) unreachable(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("ask haproxy at %s: %w", c.address, ctx.Err())
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, "ask haproxy at %s: %w", c.address, err).
			WithHint("let the agent's user open the socket: haproxy -S %s,mode,660,group,GROUP", c.address)
	}
	hint := "start it with: haproxy -W -S %s -f …"
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
		hint = "see whether haproxy still runs, with -S %s"
	}
	return unavailable(err, "ask haproxy at %s: %v", c.address, err).WithHint(hint, c.address)
}

// unavailable is an error that says that the edge does not answer, now.
func unavailable(cause error, format string, args ...any) *fault.Error {
	e := fault.New(fault.Unavailable, format, args...)
	e.Cause = errors.Join(router.ErrUnavailable, cause)
	return e
}

// errGone: the worker that was asked is no more, or only finishes what it has, since a reload or restart came between.
var errGone = errors.New("the worker has ended")

// worker is the command line of one worker, behind the master's.
type worker struct {
	console
	pid int
}

// ask is that of the master, for this worker.
func (w worker) ask(ctx context.Context, command string) (string, error) {
	out, err := w.console.ask(ctx, fmt.Sprintf("@!%d %s", w.pid, command))
	if err != nil {
		return "", err
	}
	return out, w.refused(command, out)
}

// dumps asks for several things at once. Where an answer is missing the worker ended before.
func (w worker) dumps(ctx context.Context, commands ...string) ([]string, error) {
	var line []string
	for _, c := range commands {
		line = append(line, fmt.Sprintf("@!%d %s", w.pid, c))
	}
	out, err := w.console.ask(ctx, strings.Join(line, "; "))
	if err == nil {
		err = w.refused(commands[0], out)
	}
	if err != nil {
		return nil, err
	}
	answers := splitAnswers(out)
	if len(answers) != len(commands) {
		return nil, errGone
	}
	return answers, nil
}

// splitAnswers gives what was said to each of several commands. An empty line ends each answer, and is all there is of one
// that says nothing, as of a map without entries. What has no such end was cut off, and is left out.
func splitAnswers(out string) []string {
	var answers []string
	var b strings.Builder
	for line := range strings.Lines(out) {
		if line != "\n" {
			b.WriteString(line)
			continue
		}
		answers = append(answers, b.String())
		b.Reset()
	}
	return answers
}

// dump is dumps for one thing.
func (w worker) dump(ctx context.Context, command string) (string, error) {
	out, err := w.dumps(ctx, command)
	if err != nil {
		return "", err
	}
	return out[0], nil
}

// tell runs commands that say nothing when they succeed, as many at a time as fit. notice says which answers are no
// complaint.
func (w worker) tell(ctx context.Context, commands []string, notice func(string) bool) error {
	for len(commands) > 0 {
		n, line := 0, ""
		for n < len(commands) && (n == 0 || len(line)+len(commands[n]) < maxLine) {
			line += fmt.Sprintf("@!%d %s; ", w.pid, commands[n])
			n++
		}
		out, err := w.console.ask(ctx, strings.TrimSuffix(line, "; "))
		if err != nil {
			return err
		}
		if err := w.refused(commands[0], out); err != nil {
			return err
		}
		for said := range strings.Lines(out) {
			if said = strings.TrimSpace(said); said != "" && !notice(said) {
				return fault.New(fault.Failed, "tell haproxy %q: %s", commands[0], said)
			}
		}
		commands = commands[n:]
	}
	return nil
}

// refused finds the answers that are no worker's.
func (w worker) refused(command, out string) error {
	if out == "" {
		return errGone
	}
	for line := range strings.Lines(out) {
		switch {
		case strings.HasPrefix(line, "Can't find the target"), strings.HasPrefix(line, "Proxy is disabled"):
			return errGone
		case strings.HasPrefix(line, "Permission denied"):
			return fault.New(fault.Denied, "tell haproxy at %s %q: permission denied", w.address, strings.Fields(command)[0]).
				WithHint("the master socket needs level admin, which is its default: haproxy -S %s,level,admin", w.address)
		case strings.HasPrefix(line, "Unknown command"):
			return fault.New(fault.Unsupported, "tell haproxy at %s %q: it does not know that command", w.address, command).
				WithHint("HAProxy 2.6 or later is needed")
		}
	}
	return nil
}
