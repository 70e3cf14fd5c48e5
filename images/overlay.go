package images

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/filelock"
	"github.com/bootandshoot/release/internal/removal"
)

// opaqueXattr marks a folder that hides what lower layers have in it (the kernel's Documentation/filesystems/overlayfs.rst).
const opaqueXattr = "user.overlay.opaque"

// layerPrefix tells the folders of single layers from those of whole roots.
const layerPrefix = "layer-"

// LayerRoot is the folder with one layer unpacked as the lower folder of an overlay: what the layer removes is marked
// as the kernel's overlay does with the option userxattr. It is shared and kept like a Rootfs; the layer names the
// folders above its entries, for it cannot see those of the layers below.
func (s *Store) LayerRoot(ctx context.Context, l Layer) (string, error) {
	ids, err := currentIDs()
	if err != nil {
		return "", err
	}
	boot, err := bootID()
	if err != nil {
		return "", err
	}
	dir := s.path(rootfsDir, ids.variant, layerPrefix+l.diffID().Hex())
	if ready(dir, boot) {
		return filepath.Join(dir, "root"), nil
	}
	release, err := s.Hold(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", diskError(err, "unpack layer %s", l.Digest.Short())
	}
	unlock, err := lockFile(ctx, dir+".lock", filelock.Exclusive)
	if err != nil {
		return "", err
	}
	defer unlock()
	if !ready(dir, boot) {
		if err := s.makeLayerRoot(ctx, l, ids, boot, dir); err != nil {
			return "", fmt.Errorf("unpack layer %s: %w", l.Digest.Short(), err)
		}
	}
	return filepath.Join(dir, "root"), nil
}

// makeLayerRoot unpacks beside dir and renames. The caller has the folder's flock and a hold.
func (s *Store) makeLayerRoot(ctx context.Context, l Layer, ids idSpace, boot, dir string) error {
	temp := dir + ".tmp"
	if err := errors.Join(removeRoot(dir), removal.Tree(temp)); err != nil {
		return err
	}
	err := s.unpackOverlay(ctx, l, ids, boot, temp)
	if err == nil {
		failpoint.Pass(failpoint.RootUnpacked)
		err = os.Rename(temp, dir)
		failpoint.Pass(failpoint.RootRenamed)
	}
	if err != nil {
		return errors.Join(err, removal.Tree(temp))
	}
	return nil
}

func (s *Store) unpackOverlay(ctx context.Context, l Layer, ids idSpace, boot, temp string) error {
	if err := os.MkdirAll(filepath.Join(temp, "root"), 0o755); err != nil {
		return diskError(err, "make folder")
	}
	root, err := os.OpenRoot(filepath.Join(temp, "root"))
	if err != nil {
		return err
	}
	defer root.Close()
	u := newUnpacker(root, ids, s.limits)
	u.overlay = true
	defer u.close()
	u.dirs["."] = attrs{mode: 0o755, mtime: time.Unix(0, 0)}
	if err := s.unpackLayer(ctx, u, l); err != nil {
		return err
	}
	if err := u.finish(); err != nil {
		return err
	}
	return writeLayerMeta(temp, boot, u.skipped)
}

// mark writes what a layer removes for the kernel to see: a device 0:0, which everybody may make, or an attribute of
// the folder.
func (u *unpacker) mark(dir, target string, whole bool) error {
	if whole {
		a, ok := u.dirs[dir]
		if !ok || dir == "." {
			return refused("it empties the folder %s, which the layer does not name", dir)
		}
		a.xattrs = maps.Clone(a.xattrs)
		if a.xattrs == nil {
			a.xattrs = map[string]string{}
		}
		a.xattrs[opaqueXattr] = "y"
		u.dirs[dir] = a
		return nil
	}
	name := path.Join(dir, target)
	if u.seen[name] {
		return nil // removed below, and made anew in this layer
	}
	parent, err := u.parent(dir)
	if err != nil {
		return err
	}
	err = unix.Mknodat(int(parent.Fd()), target, unix.S_IFCHR, 0)
	if err != nil {
		return fault.New(fault.Unsupported, "mark %s as removed: %w", name, err).WithHint("Linux 5.8 or newer is needed")
	}
	return nil
}
