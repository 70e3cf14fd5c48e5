// Package unixsock listens on and dials unix sockets at paths of any length. The kernel takes 108 bytes; a longer
// path is reached through its folder's descriptor under /proc/self/fd.
package unixsock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// longest is what sun_path takes, its closing zero excluded.
const longest = 107

// Listen makes a socket at path with mode 0600 (its folder should be 0700 already), in place of a stale one that nobody answers. A socket that answers
// gives an error that is fs.ErrExist.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if c, err := Dial(ctx, path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, os.ErrExist)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: remove stale socket: %w", path, err)
	}
	short, done, err := shorten(path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	defer done()
	var c net.ListenConfig
	l, err := c.Listen(ctx, "unix", short)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return &listener{Listener: l, path: path}, nil
}

// listener removes its socket by the real path when it is closed.
type listener struct {
	net.Listener
	path string
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	_ = os.Remove(l.path)
	return err
}

// Dial connects to the socket at path.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	short, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", short)
}

// shorten gives a name of path that the kernel takes, valid until done.
func shorten(path string) (short string, done func(), err error) {
	if len(path) <= longest {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { _ = dir.Close() }, nil
}
