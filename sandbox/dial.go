package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// dialTime bounds a connection to a loopback: the kernel answers at once unless a listener's queue is full.
const dialTime = 5 * time.Second

// Dial connects to a TCP port of the loopback that the sandbox sees, at 127.0.0.1 or else at ::1. An error means that
// nobody listens there, or that the sandbox ended.
func (p *Process) Dial(ctx context.Context, port int) (net.Conn, error) {
	conn, err := p.dial(ctx, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}, unix.AF_INET)
	if errors.Is(err, unix.ECONNREFUSED) {
		var second error
		if conn, second = p.dial(ctx, &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}}, unix.AF_INET6); second == nil {
			return conn, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("connect to port %d in sandbox: %w", port, err)
	}
	return conn, nil
}

func (p *Process) dial(ctx context.Context, to unix.Sockaddr, family int) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fd, err := p.socket(family)
	if err != nil {
		return nil, err
	}
	wait := dialTime
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, max(time.Until(deadline), time.Millisecond))
	}
	limit := unix.NsecToTimeval(wait.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	if err := unix.Connect(fd, to); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EINPROGRESS) { // what a connect says whose time is over
			err = os.ErrDeadlineExceeded
		}
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	return net.FileConn(f)
}

// socket makes a socket in the sandbox's network, where it stays whoever uses it. The thread that went there for it is
// never used again.
func (p *Process) socket(family int) (fd int, err error) {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return -1, ErrGone
	}
	type made struct {
		fd  int
		err error
	}
	reply := make(chan made, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the end of the goroutine ends the thread
		m := made{fd: -1, err: ErrGone}
		if err := raw.Control(func(pidfd uintptr) {
			if m.err = unix.Setns(int(pidfd), unix.CLONE_NEWNET); m.err == nil {
				m.fd, m.err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			}
		}); err != nil {
			m.err = ErrGone // it was waited for
		}
		reply <- m
	}()
	m := <-reply
	switch {
	case errors.Is(m.err, unix.ESRCH):
		return -1, ErrGone
	case m.err != nil && !errors.Is(m.err, ErrGone):
		return -1, fmt.Errorf("enter the sandbox's network: %w", m.err)
	}
	return m.fd, m.err
}
