package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/filelock"
	"github.com/bootandshoot/release/internal/removal"
)

// Adopt makes root, a folder that holds just what the layer unpacks to, the layer's LayerRoot by renaming it: who wrote
// the files of a layer before the layer need not unpack it again. The folder must be as LayerRoot would make it: owners,
// modes, attributes, the layer's time on everything. Entries that this process could not make are listed in skipped.
//
// The folder is gone afterwards; where it lies on another file system than the store it is left, and nothing happens:
// LayerRoot unpacks then. The caller has a Hold.
func (s *Store) Adopt(ctx context.Context, l Layer, root string, skipped []Skipped) error {
	if err := s.rename(ctx, l, root, skipped); err != nil {
		return fmt.Errorf("adopt folder of layer %s: %w", l.Digest.Short(), err)
	}
	return nil
}

func (s *Store) rename(ctx context.Context, l Layer, root string, skipped []Skipped) error {
	ids, err := currentIDs()
	if err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	dir := s.path(rootfsDir, ids.variant, layerPrefix+l.diffID().Hex())
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return diskError(err, "make folder")
	}
	unlock, err := lockFile(ctx, dir+".lock", filelock.Exclusive)
	if err != nil {
		return err
	}
	defer unlock()
	if ready(dir, boot) {
		return removal.Tree(root)
	}
	temp := dir + ".tmp"
	if err := errors.Join(removeRoot(dir), removal.Tree(temp)); err != nil {
		return err
	}
	if err := os.Mkdir(temp, 0o755); err != nil {
		return diskError(err, "make folder")
	}
	err = os.Rename(root, filepath.Join(temp, "root"))
	if errors.Is(err, unix.EXDEV) {
		return os.Remove(temp)
	}
	if err == nil {
		err = writeLayerMeta(temp, boot, skipped)
	}
	if err == nil {
		err = os.Rename(temp, dir)
	}
	if err != nil {
		return errors.Join(err, removal.Tree(temp))
	}
	return nil
}

// writeLayerMeta completes the folder of one layer. It has no list of layers: it is no root that another may be made from.
func writeLayerMeta(temp, boot string, skipped []Skipped) error {
	data, err := json.Marshal(meta{Schema: metaSchema, Boot: boot, Skipped: skipped})
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(temp, rootMeta), data, 0o644)
}
