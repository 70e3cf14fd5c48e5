package machinechannel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// stuck is a line to a machine that answers nothing from some moment on.
type stuck struct {
	net.Conn
	from, closed chan struct{}
	once         sync.Once
}

func (s *stuck) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	select {
	case <-s.from:
		<-s.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (s *stuck) Write(b []byte) (int, error) {
	select {
	case <-s.from:
		<-s.closed
		return 0, net.ErrClosed
	default:
		return s.Conn.Write(b)
	}
}

func (s *stuck) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// What is asked of a machine whose kernel is stuck ends with its context all the same.
func TestStuckMachine(t *testing.T) {
	_, path := serveHost(t)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	line := &stuck{Conn: conn, from: make(chan struct{}), closed: make(chan struct{})}
	c, err := Dial(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	close(line.from)
	ended := make(chan error, 2)
	go func() { _, err := c.Run(ctx, Command{Args: []string{"true"}}); ended <- err }()
	go func() { _, err := c.CopyOut(ctx, "/"); ended <- err }()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
}

// Whatever the one before left on the line, the next one speaks.
func TestConnectionsFollowEachOther(t *testing.T) {
	_, path := serveHost(t)
	for i := range 20 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		switch i % 4 {
		case 0: // leaves in the middle of a mark
			_, _ = conn.Write(mark[:7])
		case 1: // and in the middle of a question
			c, err := Dial(t.Context(), conn)
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = c.Run(t.Context(), Command{Args: []string{"yes"}, Stdout: io.Discard}) }()
			time.Sleep(time.Duration(i) * time.Millisecond)
		case 2: // or says nothing that is meant
			_, _ = conn.Write(bytes.Repeat([]byte("nonsense"), 10_000))
		}
		_ = conn.Close()
		var out bytes.Buffer
		c := dialPath(t, path)
		if code, err := c.Run(t.Context(), Command{Args: []string{"echo", "here"}, Stdout: &out}); err != nil || code != 0 || out.String() != "here\n" {
			t.Fatalf("connection %d: %d, %v, %q", i, code, err, out.String())
		}
		_ = c.Close()
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	ours, theirs := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, ours); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
