package images

import (
	"context"
	"errors"
	"os"

	"github.com/bootandshoot/release/internal/filelock"
)

// lock takes the store's exclusive lock, under which index.json and pins are read, changed and written.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	return lockFile(ctx, s.path("lock"), filelock.Exclusive)
}

// Hold keeps all processes from deleting content of the store until release is called or the process ends. Who
// relies on content that no image references yet takes it first: a bake from before it looks for cached layers
// until after its Put, a run on an unpinned root until it ends. Holds do not exclude each other.
func (s *Store) Hold(ctx context.Context) (release func(), err error) {
	return lockFile(ctx, s.path("hold"), filelock.Shared)
}

// tryExclusive takes the right to delete content, or returns filelock.ErrLocked when somebody holds.
func (s *Store) tryExclusive() (release func(), err error) {
	return tryLockFile(s.path("hold"), filelock.Exclusive)
}

// lockFile waits for a lock on path until ctx ends.
func lockFile(ctx context.Context, path string, how filelock.Sharing) (unlock func(), err error) {
	f, err := filelock.Lock(ctx, path, 0o644, how)
	return unlocking(f, err)
}

// tryLockFile takes a lock on path or returns filelock.ErrLocked.
func tryLockFile(path string, how filelock.Sharing) (unlock func(), err error) {
	f, err := filelock.TryLock(path, 0o644, how)
	return unlocking(f, err)
}

func unlocking(f *os.File, err error) (unlock func(), _ error) {
	switch {
	case errors.Is(err, filelock.ErrLocked):
		return nil, err
	case err != nil:
		return nil, diskError(err, "lock the image store")
	}
	return func() { _ = f.Close() }, nil
}
