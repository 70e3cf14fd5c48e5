// Package filelock locks files among goroutines and processes, by flock(2). The kernel drops a lock with the last process
// that has the file open, so nothing is left of one that was killed.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/pause"
)

// ErrLocked says that another process, or another part of this one, has the lock.
var ErrLocked = errors.New("locked by another process")

// Sharing is who may have a lock at the same time.
type Sharing int

// Kinds of locks: any number of shared ones, or one that is exclusive.
const (
	Exclusive Sharing = unix.LOCK_EX
	Shared    Sharing = unix.LOCK_SH
)

// Lock opens a file, or makes it with the mode, and waits for a lock on it until ctx ends. The lock holds as long as the file
// is open. Who has it exclusively may rename or remove the file: whoever waits for it then gets the one that is there. It
// polls, because a flock that waits cannot be cancelled.
func Lock(ctx context.Context, path string, mode os.FileMode, how Sharing) (*os.File, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		f, err := TryLock(path, mode, how)
		if !errors.Is(err, ErrLocked) {
			return f, err
		}
		if err := pause.For(ctx, wait); err != nil {
			return nil, fmt.Errorf("wait for lock %s: %w", path, err)
		}
	}
}

// TryLock is Lock that does not wait: ErrLocked when somebody else has a lock that excludes this one.
func TryLock(path string, mode os.FileMode, how Sharing) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, mode)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if err := Try(f, how); err != nil {
			_ = f.Close()
			return nil, err
		}
		if StillThere(f, path) {
			return f, nil
		}
		_ = f.Close()
	}
}

// Try takes a lock on an open file, or is ErrLocked.
func Try(f *os.File, how Sharing) error {
	for {
		switch err := unix.Flock(int(f.Fd()), int(how)|unix.LOCK_NB); {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		default:
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}

// StillThere reports whether an open file is still the one at path: who had it locked may have moved or removed it.
func StillThere(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}
