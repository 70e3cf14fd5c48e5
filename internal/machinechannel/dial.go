package machinechannel

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// Client speaks to a machine. It may be used by several at once.
type Client struct{ ssh *ssh.Client }

// Dial begins to speak over a control line, which it closes on error. A machine that has not booted so far does not answer: the context
// bounds the wait.
func Dial(ctx context.Context, line net.Conn) (*Client, error) {
	stop := context.AfterFunc(ctx, func() { _ = line.Close() })
	c, err := dial(line)
	if !stop() && err == nil {
		_ = c.Close()
		err = ctx.Err()
	}
	if err != nil {
		_ = line.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("speak with the machine: %w", err)
	}
	return c, nil
}

func dial(line net.Conn) (*Client, error) {
	head := make([]byte, 2*markSize)
	copy(head, mark[:])
	if _, err := rand.Read(head[markSize:]); err != nil {
		return nil, err
	}
	if _, err := line.Write(head); err != nil {
		return nil, err
	}
	if err := skipTo(line, head); err != nil {
		return nil, err
	}
	conn, channels, requests, err := ssh.NewClientConn(line, "machine", &ssh.ClientConfig{
		User: "release", HostKeyCallback: ssh.InsecureIgnoreHostKey(), // the line itself is the proof
	})
	if err != nil {
		return nil, err
	}
	return &Client{ssh.NewClient(conn, channels, requests)}, nil
}

// skipTo reads until the answer has come, byte by byte: what follows it is SSH's.
func skipTo(r io.Reader, want []byte) error {
	last := make([]byte, 0, 2*len(want))
	var b [1]byte
	for !bytes.HasSuffix(last, want) {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
		if len(last) == cap(last) {
			last = last[:copy(last, last[len(last)-len(want)+1:])]
		}
		last = append(last, b[0])
	}
	return nil
}

// Close ends the connection, and the commands that were run by it.
func (c *Client) Close() error { return c.ssh.Close() }

// Stop asks the services to end by a signal, a name without SIG. It does not wait for that.
func (c *Client) Stop(ctx context.Context, signal string) error {
	answered := make(chan error, 1)
	go func() {
		ok, _, err := c.ssh.SendRequest(stopRequest, true, []byte(signal))
		if err == nil && !ok {
			err = errors.New("the machine refused")
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		if err != nil {
			return fmt.Errorf("ask the machine to stop: %w", err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Command is one to run in the machine.
type Command struct {
	Args          []string
	Env           map[string]string // over that of the services
	TTY           bool
	Columns, Rows int           // with TTY: the size at the start
	Resize        <-chan [2]int // with TTY: later sizes, columns and rows; may be nil
	Stdin         io.Reader     // nil: none
	Stdout        io.Writer     // nil: thrown away
	Stderr        io.Writer     // nil: thrown away; with TTY all is on Stdout
}

// Run runs a command and gives its exit code, 128 and the signal for one that a signal ended. The end of the context ends the command.
func (c *Client) Run(ctx context.Context, cmd Command) (int, error) {
	l := within(ctx, c.ssh)
	defer l.over()
	code := 0
	s, err := c.ssh.NewSession()
	if err == nil {
		defer s.Close()
		l.of(s)
		code, err = run(s, cmd)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("run a command in the machine: %w", err)
	}
	return code, nil
}

func run(s *ssh.Session, cmd Command) (int, error) {
	for name, value := range cmd.Env {
		if err := s.Setenv(name, value); err != nil {
			return 0, err
		}
	}
	if cmd.TTY {
		if err := s.RequestPty("xterm", cmd.Rows, cmd.Columns, ssh.TerminalModes{}); err != nil {
			return 0, err
		}
	}
	line, err := json.Marshal(cmd.Args)
	if err != nil {
		return 0, err
	}
	s.Stdout, s.Stderr = orNobody(cmd.Stdout), orNobody(cmd.Stderr)
	in, err := s.StdinPipe()
	if err != nil {
		return 0, err
	}
	if err := s.Start(string(line)); err != nil {
		return 0, err
	}
	go func() { // not waited for: it may read a terminal
		if cmd.Stdin != nil {
			_, _ = io.Copy(in, cmd.Stdin)
		}
		_ = in.Close()
	}()
	ended := make(chan struct{})
	defer close(ended)
	go follow(s, cmd.Resize, ended)
	return exitCode(s.Wait())
}

// follow passes new sizes of a terminal on.
func follow(s *ssh.Session, sizes <-chan [2]int, ended <-chan struct{}) {
	for sizes != nil {
		select {
		case size, open := <-sizes:
			if !open {
				return
			}
			_ = s.WindowChange(size[1], size[0])
		case <-ended:
			return
		}
	}
}

// exitCode reads what Wait says. The machine gives a code for every end, so what else comes is a connection that broke.
func exitCode(err error) (int, error) {
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return exit.ExitStatus(), nil
	}
	return 0, err
}

func orNobody(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// Times.
const (
	absentPause = 100 * time.Millisecond // between looks for somebody at the other end
	linger      = 300 * time.Millisecond // without output, after a command ended whose descendants keep its streams open
)
