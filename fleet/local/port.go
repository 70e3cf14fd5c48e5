package local

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

// Ports are the ports on 127.0.0.1 at which nodes are reached, one a slot.
type Ports struct{ First, Count int }

// OrDefault is 20000 to 29999 where none are given.
func (p Ports) OrDefault() Ports {
	if p.First == 0 {
		return Ports{First: 20_000, Count: 10_000}
	}
	return p
}

// Place gives the node of a slot its port and address; 0 and "" when the image declares no port. It fails when the slot has no place,
// or another program holds it.
func (p Ports) Place(slot, declared int) (port int, address string, err error) {
	if slot < 0 || slot >= p.Count || p.First+slot > math.MaxUint16 {
		return 0, "", fault.New(fault.NoSpace, "slot %d is outside of the port range %d-%d", slot, p.First, p.First+p.Count-1).
			WithHint("give agent.yaml a larger range in `ports`")
	}
	if declared == 0 {
		return 0, "", nil
	}
	port = p.First + slot
	if err := portFree(port); err != nil {
		return 0, "", err
	}
	return port, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
}

// portFree binds a port without listening, so that nobody ever reaches it: with SO_REUSEADDR that fails only if
// somebody listens, also on another of the machine's addresses when ours is all of them.
func portFree(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("check port %d: %w", port, err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("check port %d: %w", port, err)
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Port: port})
	if errors.Is(err, unix.EADDRINUSE) {
		return fault.New(fault.Exists, "port %d is taken by another program", port).
			WithHint("see who has it: ss -ltnp 'sport = :%d'; or give agent.yaml another range in `ports`", port)
	}
	if err != nil {
		return fmt.Errorf("check port %d: %w", port, err)
	}
	return nil
}
