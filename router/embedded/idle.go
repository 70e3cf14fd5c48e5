package embedded

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Idle connections go from a process to its successor over a socket of their own, one message each: its descriptor, and as
// JSON where it belongs. What has begun to come on a connection stays with it, in the kernel; only plain connections can
// go, since keys of TLS cannot.

// idleConn is what a successor is told of a connection.
type idleConn struct {
	Listen string         `json:"listen"`
	Peer   netip.AddrPort `json:"peer"` // by a PROXY protocol header, or its own
}

const maxIdleMessage = 512

// idleSender is the predecessor's end.
type idleSender struct {
	mu   sync.Mutex
	conn *net.UnixConn
}

// give hands one connection over; false leaves it here.
func (s *idleSender) give(c *h1conn) bool {
	message, err := json.Marshal(idleConn{Listen: c.l.address, Peer: c.x.peer})
	if err != nil {
		return false
	}
	sent := false
	err = c.raw.Control(func(fd uintptr) {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, _, werr := s.conn.WriteMsgUnix(message, unix.UnixRights(int(fd)), nil)
		sent = werr == nil
	})
	if err != nil || !sent {
		return false
	}
	_ = c.tcp.Close() // the successor has a descriptor of its own: the connection goes on
	return true
}

func (s *idleSender) close() { _ = s.conn.Close() }

// giveAway hands an idle connection to the process after this one, if there is one that takes it.
func (e *engine) giveAway(c *h1conn) bool {
	s := e.successor.Load()
	if s == nil {
		return false
	}
	if !s.give(c) {
		e.successor.CompareAndSwap(s, nil) // it is gone: clients are told to connect anew
		return false
	}
	e.conns.Add(-1)
	return true
}

// receiveIdle serves the connections that the predecessor hands over, until it is done.
func (e *engine) receiveIdle(from *net.UnixConn) {
	defer from.Close()
	b, oob := make([]byte, maxIdleMessage), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := from.ReadMsgUnix(b, oob)
		if err != nil || n == 0 {
			return
		}
		c, where, err := openIdle(b[:n], oob[:oobn])
		if err != nil {
			e.log.Warn("a connection was not taken over", "error", err)
			continue
		}
		l := e.listeners.at(where.Listen)
		if l == nil {
			_ = c.Close()
			continue
		}
		e.conns.Add(1)
		go l.serve(c, &where.Peer)
	}
}

func openIdle(message, oob []byte) (*net.TCPConn, idleConn, error) {
	var where idleConn
	controls, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(controls) != 1 {
		return nil, where, fmt.Errorf("take over a connection: no descriptor came with it: %v", err)
	}
	fds, err := unix.ParseUnixRights(&controls[0])
	if err != nil || len(fds) != 1 {
		return nil, where, fmt.Errorf("take over a connection: no descriptor came with it: %v", err)
	}
	f := os.NewFile(uintptr(fds[0]), "connection")
	defer f.Close()
	if err := json.Unmarshal(message, &where); err != nil {
		return nil, where, fmt.Errorf("take over a connection: %w", err)
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, where, fmt.Errorf("take over a connection: %w", err)
	}
	c, ok := conn.(*net.TCPConn)
	if !ok {
		_ = conn.Close()
		return nil, where, fmt.Errorf("take over a connection: it is no TCP connection")
	}
	return c, where, nil
}

// idlePair is a connected pair of sockets that keep messages apart.
func idlePair() (mine *net.UnixConn, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(pair[0]), "idle connections")
	defer f.Close()
	theirs = os.NewFile(uintptr(pair[1]), "idle connections")
	conn, err := net.FileConn(f)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}
