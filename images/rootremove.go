package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/removal"
)

// removeRoots deletes the roots of a stack of layers in all variants. The caller has the exclusive hold. A root whose
// files belong to ids that this process lacks is only made invalid, for a sweep that has them.
func (s *Store) removeRoots(chain string) (int, error) {
	dirs, err := filepath.Glob(filepath.Join(globEscape(s.path(rootfsDir)), "*", chain))
	if err != nil {
		return 0, fmt.Errorf("remove roots: %w", err)
	}
	removed := 0
	for _, dir := range dirs {
		switch err := removeRoot(dir); {
		case errors.Is(err, fs.ErrPermission):
			continue
		case err != nil:
			return removed, err
		}
		_ = os.Remove(dir + ".lock")
		removed++
	}
	return removed, nil
}

// sweepRoots deletes roots that no image uses and leftovers of unpacking. The caller has the exclusive hold, so no
// root is under way.
func (s *Store) sweepRoots(ctx context.Context, used references, young time.Time, swept *Swept) error {
	dirs, err := filepath.Glob(filepath.Join(globEscape(s.path(rootfsDir)), "*", "*"))
	if err != nil {
		return fmt.Errorf("sweep roots: %w", err)
	}
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if strings.HasSuffix(dir, ".lock") || inUse(dir, used, young) {
			continue
		}
		switch err := removeRoot(dir); {
		case errors.Is(err, fs.ErrPermission):
			continue // files of another variant's ids: a sweep inside that namespace deletes them
		case err != nil:
			return err
		}
		_ = os.Remove(strings.TrimSuffix(dir, ".tmp") + ".lock")
		swept.Roots++
	}
	return nil
}

func inUse(dir string, used references, young time.Time) bool {
	info, err := os.Stat(filepath.Join(dir, rootMeta))
	if err != nil || strings.HasSuffix(dir, ".tmp") {
		return false
	}
	return used.chains[filepath.Base(dir)] || !info.ModTime().Before(young)
}

// removeRoot deletes an unpacked root. It becomes invalid first, so that a crash leaves nothing that looks whole.
func removeRoot(dir string) error {
	if err := os.Remove(filepath.Join(dir, rootMeta)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove root %s: %w", dir, err)
	}
	return removal.Tree(dir)
}
