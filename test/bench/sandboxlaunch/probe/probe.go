// Package probe asks a service until it answers, the same way on both sides of the measurement.
package probe

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	patience = 30 * time.Second
	interval = 2 * time.Millisecond
)

// Await returns when a GET is answered with 200. The connection is made in the caller's thread, so that a thread in
// another network asks there.
func Await(address string) error {
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(interval) {
		if last = ask(address); last == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer: %w", address, last)
}

func ask(address string) error {
	tcp, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Port: tcp.Port}
	copy(to.Addr[:], tcp.IP.To4())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return err
	}
	if err := unix.Connect(fd, to); err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		return err
	}
	buf := make([]byte, 256)
	n, err := unix.Read(fd, buf)
	if err == nil && !strings.HasPrefix(string(buf[:max(n, 0)]), "HTTP/1.1 200") {
		err = errors.New("it answers something else")
	}
	return err
}

// Loopback raises lo; in the machine's own network it is up already, and the try is no error.
func Loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	return nil
}
