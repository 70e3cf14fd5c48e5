package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bootandshoot/release/internal/removal"
)

// rootsOf finds the roots of a stack of layers in all variants.
func (s *Store) rootsOf(chain string) ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(globEscape(s.path(rootfsDir)), "*", chain))
	if err != nil {
		return nil, fmt.Errorf("find roots: %w", err)
	}
	return dirs, nil
}

// invalidateRoot makes a root such as Rootfs does not take. One whose files belong to ids that this process lacks may be made
// invalid all the same.
func invalidateRoot(dir string) error {
	err := os.Remove(filepath.Join(dir, rootMeta))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// deleteRoot deletes a root with the lock beside it. What belongs to ids that this process lacks is left to a collection
// that has them.
func deleteRoot(dir string) error {
	err := removeRoot(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	_ = os.Remove(strings.TrimSuffix(dir, ".tmp") + ".lock")
	return nil
}

// removeRoot deletes an unpacked root. It becomes invalid first, so that a crash leaves nothing that looks whole.
func removeRoot(dir string) error {
	if err := os.Remove(filepath.Join(dir, rootMeta)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove root %s: %w", dir, err)
	}
	return removal.Tree(dir)
}
