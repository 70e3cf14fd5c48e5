package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/pid1"
	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// Control speaks to the init of a detached sandbox, or of one with Spec.Control, through its control socket. Each call is a
// connection of its own; one packet is one JSON message:
//
//	{"signal":15}                     the command gets the signal; answer {}
//	{"info":true}                     answer {"started":true}, with the command's PID in the sender's credentials
//	{"exec":{…}} and 3 descriptors    a command beside; answers {"started":true}, with a terminal's descriptor if one was
//	                                  asked for, then {"exit":{…}}; a closed connection ends the command
//
// {"error":"…"} answers what cannot be done.
type Control struct{ dir string }

// ControlOf is the control of the detached sandbox that keeps its state in dir.
func ControlOf(dir string) *Control { return &Control{dir} }

// dial goes through the folder's descriptor, since a socket's path holds only 107 bytes.
func (c *Control) dial(ctx context.Context) (*guest.Conn, error) {
	dir, err := os.Open(c.dir)
	if err != nil {
		return nil, fmt.Errorf("reach sandbox: %w", err)
	}
	defer dir.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reach sandbox: %w", err)
	}
	// A unix socket connects at once or, when the listener's queue is full, when that has room.
	path := filepath.Join(guest.FDPath(int(dir.Fd())), "control.sock")
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("reach sandbox: %w", err)
	}
	p, err := guest.NewConn(fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("reach sandbox: %w", err)
	}
	if err := p.PassCredentials(); err != nil {
		p.Close()
		return nil, fmt.Errorf("reach sandbox: %w", err)
	}
	return p, ctx.Err()
}

// ask sends one request and takes one answer.
func (c *Control) ask(ctx context.Context, m guest.Message) (guest.Message, int, error) {
	p, err := c.dial(ctx)
	if err != nil {
		return guest.Message{}, 0, err
	}
	defer p.Close()
	defer context.AfterFunc(ctx, p.Close)()
	if err := p.Send(m, 0); err != nil {
		return guest.Message{}, 0, err
	}
	answer, pid, files, err := p.Receive()
	guest.CloseAll(files)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return answer, pid, err
}

// Signal sends a signal to the command.
func (c *Control) Signal(ctx context.Context, s syscall.Signal) error {
	if _, _, err := c.ask(ctx, guest.Message{Signal: int(s)}); err != nil {
		return fmt.Errorf("send signal %s: %w", pid1.SignalName(s), err)
	}
	return nil
}

// CommandPID is the command's PID in the caller's numbering.
func (c *Control) CommandPID(ctx context.Context) (int, error) {
	_, pid, err := c.ask(ctx, guest.Message{Info: true})
	if err != nil {
		return 0, fmt.Errorf("ask sandbox: %w", err)
	}
	return pid, nil
}

// ExecSpec is a command to run beside the sandbox's own.
type ExecSpec struct {
	Command       []string
	Env           []string // added to the command's own environment
	User          string   // "": that of the sandbox's command; else as Spec.User has it
	TTY           bool
	Columns, Rows int           // with TTY: the size at the start
	Resize        <-chan [2]int // with TTY: later sizes, columns and rows; may be nil
	Stdin         io.Reader     // nil: none
	Stdout        io.Writer     // nil: thrown away
	Stderr        io.Writer     // nil: thrown away; with TTY all is on Stdout
}

// execLinger is how long output is still taken after a command ended whose descendants keep its streams open.
const execLinger = 200 * time.Millisecond

// Exec runs a command in the sandbox, as its user and within its limits, and waits for its end. The end of ctx, and
// that of this process, ends the command.
func (c *Control) Exec(ctx context.Context, s ExecSpec) (Exit, error) {
	p, err := c.dial(ctx)
	if err != nil {
		return Exit{}, err
	}
	defer p.Close()
	defer context.AfterFunc(ctx, p.Close)()
	exit, err := runExec(p, s)
	if ctx.Err() != nil {
		return Exit{}, ctx.Err()
	}
	return exit, err
}

func runExec(p *guest.Conn, s ExecSpec) (Exit, error) {
	io, err := newExecStreams(s)
	if err != nil {
		return Exit{}, err
	}
	defer io.close()
	request := &guest.ExecRequest{Command: s.Command, Env: s.Env, User: s.User, TTY: s.TTY, Columns: s.Columns, Rows: s.Rows}
	if err := p.Send(guest.Message{Exec: request}, 0, io.remoteFDs()...); err != nil {
		return Exit{}, err
	}
	guest.CloseAll(io.remote)
	io.remote = nil
	m, _, files, err := p.Receive()
	if err == nil && m.Error != "" {
		err = errors.New(m.Error)
	}
	if err == nil && s.TTY && len(files) != 1 {
		err = errors.New("the sandbox gave no terminal")
	}
	if err != nil {
		guest.CloseAll(files)
		return Exit{}, err
	}
	if s.TTY {
		io.useTerminal(files[0], s)
	}
	m, _, files, err = p.Receive()
	guest.CloseAll(files)
	if err != nil {
		return Exit{}, fmt.Errorf("the sandbox ended, or its init did: %w", err)
	}
	if m.Exit == nil {
		return Exit{}, errors.New("the sandbox gave no exit")
	}
	io.finish()
	return *m.Exit, nil
}
