package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrClosed: the other side is gone.
var ErrClosed = errors.New("the other side closed the connection")

// maxPacket bounds a packet; the kernel's default send buffer takes as much.
const maxPacket = 160 << 10

// Conn sends and receives messages, with descriptors and a PID, over a SOCK_SEQPACKET socket. It is made of package
// os alone, since package net is not for the init.
type Conn struct{ f *os.File }

// NewConn takes a socket's descriptor over.
func NewConn(fd int) (*Conn, error) {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil { // or a wait would take a thread and could not be ended
		return nil, fmt.Errorf("open channel: %w", err)
	}
	return &Conn{os.NewFile(uintptr(fd), "channel")}, nil
}

// Send sends a message; pid, when not 0, is a process of the sender's PID namespace that the receiver gets to see in
// its own numbering.
func (p *Conn) Send(m Message, pid int, files ...int) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(data) > maxPacket {
		return fmt.Errorf("send message: %d bytes are more than the %d that fit", len(data), maxPacket)
	}
	var oob []byte
	if pid != 0 {
		oob = append(oob, unix.UnixCredentials(&unix.Ucred{Pid: int32(pid)})...)
	}
	if len(files) > 0 {
		oob = append(oob, unix.UnixRights(files...)...)
	}
	raw, err := p.f.SyscallConn()
	if err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	var serr error
	err = raw.Write(func(fd uintptr) bool {
		serr = retry(func() error { return unix.Sendmsg(int(fd), data, oob, nil, unix.MSG_NOSIGNAL) })
		return !errors.Is(serr, unix.EAGAIN)
	})
	if err := errors.Join(err, serr); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// Receive waits for a message. The PID is 0 when none came along; descriptors are the caller's to close. The error
// wraps ErrClosed at the end.
func (p *Conn) Receive() (m Message, pid int, files []*os.File, err error) {
	data, oob, err := p.read()
	if err != nil {
		return Message{}, 0, nil, fmt.Errorf("receive message: %w", err)
	}
	pid, files = ancillary(oob)
	if err := json.Unmarshal(data, &m); err != nil {
		CloseAll(files)
		return Message{}, 0, nil, fmt.Errorf("decode message: %w", err)
	}
	return m, pid, files, nil
}

// read takes one packet, whose length it asks for first.
func (p *Conn) read() (data, oob []byte, err error) {
	raw, err := p.f.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	oob = make([]byte, 256)
	var n, oobn int
	var rerr error
	err = raw.Read(func(fd uintptr) bool {
		rerr = retry(func() (err error) {
			n, _, _, _, err = unix.Recvmsg(int(fd), make([]byte, 1), nil, unix.MSG_PEEK|unix.MSG_TRUNC)
			if err != nil || n == 0 {
				return err
			}
			data = make([]byte, n)
			n, oobn, _, _, err = unix.Recvmsg(int(fd), data, oob, unix.MSG_CMSG_CLOEXEC)
			return err
		})
		return !errors.Is(rerr, unix.EAGAIN)
	})
	switch {
	case err != nil:
		return nil, nil, err
	case errors.Is(rerr, unix.ECONNRESET), rerr == nil && n == 0:
		return nil, nil, ErrClosed
	case rerr != nil:
		return nil, nil, rerr
	}
	return data[:n], oob[:oobn], nil
}

func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// PassCredentials makes received messages carry the sender's PID.
func (p *Conn) PassCredentials() error {
	raw, err := p.f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	return errors.Join(err, serr)
}

// CloseWrite lets the other side see the end.
func (p *Conn) CloseWrite() {
	if raw, err := p.f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
}

// Close closes the connection; a wait on it ends.
func (p *Conn) Close() { _ = p.f.Close() }

func ancillary(oob []byte) (pid int, files []*os.File) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, nil
	}
	for i := range msgs {
		if cred, err := unix.ParseUnixCredentials(&msgs[i]); err == nil {
			pid = int(cred.Pid)
		}
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			for _, fd := range fds {
				files = append(files, os.NewFile(uintptr(fd), "received"))
			}
		}
	}
	return pid, files
}

// CloseAll closes files whose closing cannot fail in a way that matters.
func CloseAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
