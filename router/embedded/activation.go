package embedded

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// given is a listening socket that a service manager opened and handed in, so that no connection is refused while no router
// runs. It serves the listen address that it is bound to whenever the table has that, and stays open when not.
type given struct {
	name    string // the manager's, for the log
	file    *os.File
	address *net.TCPAddr
}

// activated takes the sockets that the service manager hands in. [sd_listen_fds(3)]
func activated() ([]given, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(v); err != nil { // they are not for a successor
			return nil, fmt.Errorf("take sockets from the service manager: %w", err)
		}
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		return nil, fmt.Errorf("take sockets from the service manager: LISTEN_FDS: %w", err)
	}
	var list []given
	for i := range n {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		g, err := newGiven(name, os.NewFile(uintptr(firstFd+i), name))
		if err != nil {
			return nil, fmt.Errorf("take socket %d (%s) from the service manager: %w", i, name, err)
		}
		list = append(list, g)
	}
	return list, nil
}

// newGiven keeps the file. It goes around Fd, which would put a socket that others have too into blocking mode.
func newGiven(name string, f *os.File) (given, error) {
	g := given{name: name, file: f}
	raw, err := f.SyscallConn()
	if err != nil {
		return g, err
	}
	if err := raw.Control(func(fd uintptr) { unix.CloseOnExec(int(fd)) }); err != nil {
		return g, err
	}
	l, err := net.FileListener(f) // a copy
	if err != nil {
		return g, fmt.Errorf("it does not listen: %w", err)
	}
	defer l.Close()
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return g, fmt.Errorf("it listens on %s and not on TCP", l.Addr().Network())
	}
	g.address = address
	return g, nil
}

// fits says whether the socket is what listening on the address would give.
func (g *given) fits(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != strconv.Itoa(g.address.Port) {
		return false
	}
	if host == "" {
		return g.address.IP.IsUnspecified()
	}
	return g.address.IP.Equal(net.ParseIP(host))
}

// listenTCP listens on the address, by a socket of the service manager if it gave one for it.
func (s *listeners) listenTCP(address string) (*net.TCPListener, error) {
	for i := range s.given {
		if g := &s.given[i]; g.fits(address) {
			l, err := net.FileListener(g.file)
			if err != nil {
				return nil, err
			}
			return l.(*net.TCPListener), nil
		}
	}
	return listenTCP(address)
}

// SyscallConn is for duplicate.
func (g *given) SyscallConn() (syscall.RawConn, error) { return g.file.SyscallConn() }

// notify tells the service manager something, if it wants to know. [sd_notify(3)]
func notify(text string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	if name[0] == '@' {
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(text)); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}
