package machinechannel

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// port is a virtio port: what is written while nobody is at the other end waits, what is read is the end of the file.
type port struct {
	mu    sync.Mutex
	some  *sync.Cond
	conn  net.Conn
	ended bool
}

func newPort(t *testing.T) (p *port, path string) {
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	p = &port{}
	p.some = sync.NewCond(&p.mu)
	go func() {
		for { // one at a time, as QEMU does
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			for p.conn != nil && !p.ended {
				p.some.Wait()
			}
			p.conn = conn
			p.mu.Unlock()
			p.some.Broadcast()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended = true
		if p.conn != nil {
			_ = p.conn.Close()
		}
		p.some.Broadcast()
	})
	return p, path
}

func (p *port) Read(b []byte) (int, error) {
	p.mu.Lock()
	c := p.conn
	p.mu.Unlock()
	if c == nil {
		return 0, io.EOF
	}
	n, err := c.Read(b)
	if err != nil {
		p.mu.Lock()
		p.conn = nil
		p.mu.Unlock()
		p.some.Broadcast()
		err = io.EOF
	}
	return n, err
}

func (p *port) Write(b []byte) (int, error) {
	for {
		p.mu.Lock()
		for p.conn == nil && !p.ended {
			p.some.Wait()
		}
		c := p.conn
		p.mu.Unlock()
		if c == nil {
			return 0, os.ErrClosed
		}
		if n, err := c.Write(b); err == nil {
			return n, nil
		}
		time.Sleep(time.Millisecond) // until the reader has noticed
	}
}

// host is a Machine of this machine's own processes.
type host struct{ stopped chan string }

func (h host) Stop(signal string) error {
	if signal == "NONE" {
		return errors.New("no such signal")
	}
	h.stopped <- signal
	return nil
}

func (h host) CopyOut(path string, to io.Writer) error {
	switch path {
	case "/none":
		return fs.ErrNotExist
	case "/torn":
		_, _ = io.WriteString(to, "half of it")
		return errors.New("the disk is bad")
	}
	_, err := io.Copy(to, io.LimitReader(endless{}, 5<<20)) // more than SSH lets be under way
	return err
}

// endless is as many bytes as anybody wants.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func (h host) Start(args, env []string, files [3]*os.File, terminal bool) (Process, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "OWN=of-services"}, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: terminal}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return process{cmd}, nil
}

type process struct{ cmd *exec.Cmd }

func (p process) Kill() { _ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) }

func (p process) Wait() Exit {
	_ = p.cmd.Wait()
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return Exit{Code: 128 + int(status.Signal())}
	}
	return Exit{Code: status.ExitStatus()}
}

func serveHost(t *testing.T) (h host, path string) {
	p, path := newPort(t)
	h = host{stopped: make(chan string, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = Serve(ctx, p, h) }()
	t.Cleanup(func() { cancel(); <-done })
	return h, path
}

func dialPath(t *testing.T, path string) *Client {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
