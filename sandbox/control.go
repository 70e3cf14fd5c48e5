package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Control speaks to the init of a detached sandbox through its control socket. Each call is a connection of its own; one packet is
// one JSON message:
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
func (c *Control) dial(ctx context.Context) (*packetConn, error) {
	dir, err := os.Open(c.dir)
	if err != nil {
		return nil, fmt.Errorf("reach sandbox: %w", err)
	}
	defer dir.Close()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixpacket", filepath.Join(fdPath(int(dir.Fd())), "control.sock"))
	if err != nil {
		return nil, fmt.Errorf("reach sandbox: %w", err)
	}
	p := &packetConn{conn.(*net.UnixConn)}
	if err := p.passCredentials(); err != nil {
		p.close()
		return nil, fmt.Errorf("reach sandbox: %w", err)
	}
	return p, nil
}

// ask sends one request and takes one answer.
func (c *Control) ask(ctx context.Context, m message) (message, int, error) {
	p, err := c.dial(ctx)
	if err != nil {
		return message{}, 0, err
	}
	defer p.close()
	defer context.AfterFunc(ctx, p.close)()
	if err := p.send(m, 0); err != nil {
		return message{}, 0, err
	}
	answer, pid, files, err := p.receive()
	closeAll(files)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return answer, pid, err
}

// Signal sends a signal to the command.
func (c *Control) Signal(ctx context.Context, s syscall.Signal) error {
	if _, _, err := c.ask(ctx, message{Signal: int(s)}); err != nil {
		return fmt.Errorf("send signal %s: %w", signalName(s), err)
	}
	return nil
}

// CommandPID is the command's PID in the caller's numbering.
func (c *Control) CommandPID(ctx context.Context) (int, error) {
	_, pid, err := c.ask(ctx, message{Info: true})
	if err != nil {
		return 0, fmt.Errorf("ask sandbox: %w", err)
	}
	return pid, nil
}

// ExecSpec is a command to run beside the sandbox's own.
type ExecSpec struct {
	Command       []string
	Env           []string // added to the command's own environment
	TTY           bool
	Columns, Rows int           // with TTY: the size at the start
	Resize        <-chan [2]int // with TTY: later sizes, columns and rows; may be nil
	Stdin         io.Reader     // nil: none
	Stdout        io.Writer     // nil: thrown away
	Stderr        io.Writer     // nil: thrown away; with TTY all is on Stdout
}

// execLinger is how long output is still taken after a command ended whose descendants keep its streams open.
const execLinger = 200 * time.Millisecond

// Exec runs a command in the sandbox, as its user and within its limits, and waits for its end. The end of ctx, and that of
// this process, ends the command.
func (c *Control) Exec(ctx context.Context, s ExecSpec) (Exit, error) {
	p, err := c.dial(ctx)
	if err != nil {
		return Exit{}, err
	}
	defer p.close()
	defer context.AfterFunc(ctx, p.close)()
	exit, err := runExec(p, s)
	if ctx.Err() != nil {
		return Exit{}, ctx.Err()
	}
	return exit, err
}

func runExec(p *packetConn, s ExecSpec) (Exit, error) {
	io, err := newExecStreams(s)
	if err != nil {
		return Exit{}, err
	}
	defer io.close()
	request := &execRequest{Command: s.Command, Env: s.Env, TTY: s.TTY, Columns: s.Columns, Rows: s.Rows}
	if err := p.send(message{Exec: request}, 0, io.remoteFDs()...); err != nil {
		return Exit{}, err
	}
	closeAll(io.remote)
	io.remote = nil
	m, _, files, err := p.receive()
	if err == nil && m.Error != "" {
		err = errors.New(m.Error)
	}
	if err == nil && s.TTY && len(files) != 1 {
		err = errors.New("the sandbox gave no terminal")
	}
	if err != nil {
		closeAll(files)
		return Exit{}, err
	}
	if s.TTY {
		io.useTerminal(files[0], s)
	}
	m, _, files, err = p.receive()
	closeAll(files)
	if err != nil {
		return Exit{}, fmt.Errorf("the sandbox ended, or its init did: %w", err)
	}
	if m.Exit == nil {
		return Exit{}, errors.New("the sandbox gave no exit")
	}
	io.finish()
	return *m.Exit, nil
}

// setWindow tells a terminal its size.
func setWindow(f *os.File, columns, rows int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ierr error
	err = raw.Control(func(fd uintptr) {
		ierr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(columns), Row: uint16(rows)})
	})
	return errors.Join(err, ierr)
}
