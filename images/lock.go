package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errLocked says that another process, or another part of this one, has the lock.
var errLocked = errors.New("locked by another process")

// lock takes the store's exclusive lock, under which index.json and pins are read, changed and written.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	return lockFile(ctx, s.path("lock"), unix.LOCK_EX)
}

// Hold keeps all processes from deleting content of the store until release is called or the process ends. Who
// relies on content that no image references yet takes it first: a bake from before it looks for cached layers
// until after its Put, a run on an unpinned root until it ends. Holds do not exclude each other.
func (s *Store) Hold(ctx context.Context) (release func(), err error) {
	return lockFile(ctx, s.path("hold"), unix.LOCK_SH)
}

// tryExclusive takes the right to delete content, or returns errLocked when somebody holds.
func (s *Store) tryExclusive() (release func(), err error) {
	return tryLockFile(s.path("hold"), unix.LOCK_EX)
}

// lockFile waits for a flock on path until ctx ends. It polls, because a blocking flock cannot be cancelled.
func lockFile(ctx context.Context, path string, how int) (unlock func(), err error) {
	wait := time.Millisecond
	for {
		unlock, err = tryLockFile(path, how)
		if !errors.Is(err, errLocked) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for lock %s: %w", path, ctx.Err())
		case <-time.After(wait):
			wait = min(2*wait, 20*time.Millisecond)
		}
	}
}

// tryLockFile takes a flock on path or returns errLocked. The file may be removed by who has it exclusively, so a
// lock on a file that is no longer at path does not count.
func tryLockFile(path string, how int) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, diskError(err, "lock %s", path)
		}
		if err := flock(f, how); err != nil {
			_ = f.Close()
			return nil, err
		}
		if samePlace(f, path) {
			return func() { _ = f.Close() }, nil
		}
		_ = f.Close()
	}
}

func flock(f *os.File, how int) error {
	for {
		switch err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return errLocked
		default:
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}

func samePlace(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}
