package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/pause"
)

const (
	socketName = "control.sock"
	lockName   = "router.lock"
	tableName  = "table"
	idName     = "edge"
	pidName    = "router.pid"
	logName    = "router.log"
	certsName  = "certs"
)

// viaFd calls do with a path of name in dir that fits a socket address (108 bytes) however deep dir lies.
func viaFd(dir, name string, do func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return do(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name))
}

func dialControl(ctx context.Context, dir string) (conn net.Conn, err error) {
	err = viaFd(dir, socketName, func(path string) error {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}

// listenControl binds under another name and renames, so that the path always leads to a live socket or to the one
// before. The caller holds the folder's lock.
func listenControl(dir string) (l *net.UnixListener, err error) {
	const fresh = socketName + ".new"
	if err := os.Remove(filepath.Join(dir, fresh)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	err = viaFd(dir, fresh, func(path string) error {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(filepath.Join(dir, fresh), 0o600); err == nil {
		err = os.Rename(filepath.Join(dir, fresh), filepath.Join(dir, socketName))
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	return l, nil
}

// lockDir takes the lock that makes one router run in a folder. It is held until the file is closed by all processes
// that inherited it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fault.New(fault.Busy, "start router: one already runs in %s", dir).
				WithHint("release router status shows it, release router stop ends it")
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// waitUnlocked returns when no router holds the folder.
func waitUnlocked(ctx context.Context, dir string) error {
	for {
		f, err := lockDir(dir)
		if err == nil {
			return f.Close()
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if !fault.Is(err, fault.Busy) {
			return err
		}
		if err := pause.For(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the router in %s to end: %w", dir, err)
		}
	}
}
