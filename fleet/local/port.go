package local

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

// PortFree binds a port without listening, so that nobody ever reaches it: with SO_REUSEADDR that fails only if
// somebody listens, also on another of the machine's addresses when ours is all of them.
func PortFree(port int) error {
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
