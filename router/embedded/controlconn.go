package embedded

import (
	"errors"
	"io"
	"net"
	"syscall"
	"unsafe"
)

// controlListener gives connections that do not tell Go's scheduler of their system calls, as source does: under full load the
// process would lose its one processor to another thread in the middle of each, and all requests would move to that thread.
type controlListener struct{ *net.UnixListener }

// Accept implements net.Listener.
func (l controlListener) Accept() (net.Conn, error) {
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &unheardConn{UnixConn: conn, raw: raw}, nil
}

type unheardConn struct {
	*net.UnixConn
	raw syscall.RawConn
}

// Read implements io.Reader.
func (c *unheardConn) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	if failed := c.raw.Read(func(fd uintptr) bool {
		n, err = unheard(syscall.SYS_READ, fd, b)
		return !errors.Is(err, syscall.EAGAIN)
	}); failed != nil {
		return 0, failed
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// Write implements io.Writer.
func (c *unheardConn) Write(b []byte) (sent int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	if failed := c.raw.Write(func(fd uintptr) bool {
		for err = nil; sent < len(b) && err == nil; {
			var n int
			n, err = unheard(syscall.SYS_WRITE, fd, b[sent:])
			sent += n
		}
		return !errors.Is(err, syscall.EAGAIN)
	}); failed != nil {
		err = failed
	}
	return sent, err
}

// unheard makes a system call with a descriptor that does not block and memory.
func unheard(call, fd uintptr, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
