package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/removal"
)

// workDir is where one bake works. Its file lock is held as long as the bake lives, so that another one can tell what a
// killed bake left.
type workDir struct {
	path string
	lock *os.File
}

// workspace gives the bake's work folder, made at the first call.
func (b *bake) workspace() (*workDir, error) {
	if b.work != nil {
		return b.work, nil
	}
	for range 10 {
		w, err := makeWork(b.cache.path("work"))
		if err != nil {
			return nil, fmt.Errorf("make work folder: %w", err)
		}
		if w != nil {
			b.work = w
			return w, nil
		}
	}
	return nil, errors.New("make work folder: other bakes remove it again and again")
}

// makeWork makes a folder and locks it; nil when a sweep came between.
func makeWork(parent string) (*workDir, error) {
	path, err := os.MkdirTemp(parent, "bake-")
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil || !stillThere(lock, lock.Name()) {
		_ = lock.Close()
		return nil, nil
	}
	return &workDir{path: path, lock: lock}, nil
}

// remove deletes the folder. The lock goes last: a half-removed folder is then nobody's.
func (w *workDir) remove() error {
	return errors.Join(removal.Tree(w.path), w.lock.Close())
}

// dir makes a folder of its own in the work folder.
func (w *workDir) dir(pattern string) (string, error) {
	d, err := os.MkdirTemp(w.path, pattern)
	if err != nil {
		return "", fmt.Errorf("make work folder: %w", err)
	}
	return d, nil
}

// spool gives an empty temporary file that has no name.
func (b *bake) spool() (*os.File, error) {
	w, err := b.workspace()
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(w.path, "spool-")
	if err != nil {
		return nil, fmt.Errorf("make temporary file: %w", err)
	}
	return f, os.Remove(f.Name())
}

// sweepWork removes the work folders of bakes that do not live any more. What belongs to ids that this process has not
// stays for a bake that has them.
func (b *bake) sweepWork(ctx context.Context) {
	dirs, err := filepath.Glob(filepath.Join(b.cache.path("work"), "bake-*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		if ctx.Err() != nil {
			return
		}
		if abandoned(dir) {
			b.endMachines(ctx, dir)
			if err := removal.Tree(dir); err != nil {
				b.log.Debug("leave the work folder of an earlier bake", "folder", dir, "error", err)
			}
		}
	}
}

// abandoned reports whether no living bake has the folder's lock.
func abandoned(dir string) bool {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false
	}
	defer lock.Close()
	return unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
