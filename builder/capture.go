package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// leftOut are the folders whose content belongs to a running system and not to an image.
var leftOut = [...]string{"dev", "proc", "run", "sys", "tmp"}

// capturing turns the upper folder of an overlay into entries of a layer.
//
// The kernel's overlay has two marks (Documentation/filesystems/overlayfs.rst): a character device 0:0 stands for a
// name that is gone, the attribute overlay.opaque=y for a folder that hides what is below it.
type capturing struct {
	upper string
	lower *tree // with one id only: tells the owners of what was there before
	list  []piece
}

// capture makes a layer of what a command changed; nil when that is nothing.
func (b *bake) capture(ctx context.Context, st *state, upper, by string) (*images.Descriptor, error) {
	c := &capturing{upper: upper}
	if b.lacksIDs() {
		var err error
		if c.lower, err = st.look(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.folder(ctx, "."); err != nil {
		return nil, fmt.Errorf("capture changes: %w", err)
	}
	if len(c.list) == 0 {
		return nil, nil
	}
	c.settleLinks()
	w, err := writePieces(ctx, b.store, b.epoch, c.list)
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	l, err := w.Commit(by)
	if err != nil {
		return nil, err
	}
	return &l.Descriptor, nil
}

// folder takes what is in a folder.
func (c *capturing) folder(ctx context.Context, rel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(c.upper, rel))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(rel, e.Name())
		if rel == "." && slices.Contains(leftOut[:], e.Name()) {
			continue
		}
		if err := c.name(ctx, name); err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
	}
	return nil
}

// name takes one name and, if it is a folder, what is in it.
func (c *capturing) name(ctx context.Context, rel string) error {
	at := filepath.Join(c.upper, rel)
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil {
		return err
	}
	e := images.Entry{Path: rel, Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid)}
	c.correct(&e)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.dir(ctx, e, at)
	case unix.S_IFREG:
		return c.file(e, at, &st)
	case unix.S_IFLNK:
		target, err := os.Readlink(at)
		if err != nil {
			return err
		}
		e.Type, e.Link, e.Mode = images.Symlink, target, 0o777
	case unix.S_IFIFO:
		e.Type = images.Fifo
	case unix.S_IFSOCK:
		return nil // its server is gone
	case unix.S_IFCHR, unix.S_IFBLK:
		major, minor := unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
		e.Type, e.Major, e.Minor = images.CharDevice, int64(major), int64(minor)
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			e.Type = images.BlockDevice
		} else if major == 0 && minor == 0 {
			e = images.Entry{Path: rel, Type: images.Whiteout}
		}
	}
	c.list = append(c.list, piece{Entry: e})
	return nil
}

// correct gives an entry the owner that is recorded below. With one id only nothing on the disk has another owner, and no
// command can have changed one. A file that a command moved becomes root's: its old name is not known.
func (c *capturing) correct(e *images.Entry) {
	if c.lower == nil {
		return
	}
	e.UID, e.GID = 0, 0
	if n := c.lower.lookup(e.Path); n != nil {
		e.UID, e.GID = n.uid, n.gid
		e.Mode |= n.mode & 0o6000 // unpacking left them out for the same reason
	}
}

func (c *capturing) dir(ctx context.Context, e images.Entry, at string) error {
	xattrs, opaque, err := readXattrs(at)
	if err != nil {
		return err
	}
	e.Type, e.Xattrs = images.Dir, xattrs
	c.list = append(c.list, piece{Entry: e})
	if opaque {
		c.list = append(c.list, piece{Entry: images.Entry{Path: e.Path, Type: images.Opaque}})
	}
	return c.folder(ctx, e.Path)
}

func (c *capturing) file(e images.Entry, at string, st *unix.Stat_t) error {
	xattrs, _, err := readXattrs(at)
	if err != nil {
		return err
	}
	e.Type, e.Size, e.Xattrs = images.File, st.Size, xattrs
	if st.Nlink > 1 {
		e.Link = fmt.Sprintf("%d:%d", st.Dev, st.Ino) // until settleLinks
	}
	c.list = append(c.list, piece{Entry: e, open: func() (io.ReadCloser, error) {
		return os.OpenFile(at, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NOATIME, 0)
	}})
	return nil
}

// settleLinks puts entries in order and makes the first name of each file the file and its others links to it.
func (c *capturing) settleLinks() {
	slices.SortStableFunc(c.list, func(a, b piece) int { return compare(a.Path, b.Path) })
	first := map[string]string{}
	for i := range c.list {
		p := &c.list[i]
		if p.Type != images.File || p.Link == "" {
			continue
		}
		id := p.Link
		p.Link = ""
		if name, ok := first[id]; ok {
			p.Entry = images.Entry{Path: p.Path, Type: images.HardLink, Mode: p.Mode, UID: p.UID, GID: p.GID, Link: name}
			p.open = nil
			continue
		}
		first[id] = p.Path
	}
}

// readXattrs reads the attributes that belong to the image, and whether the folder is opaque.
func readXattrs(at string) (kept map[string]string, opaque bool, err error) {
	names, err := listXattrs(at)
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		overlay := strings.HasPrefix(name, "user.overlay.") || strings.HasPrefix(name, "trusted.overlay.")
		if !overlay && !keepXattr(name) {
			continue
		}
		value, err := getXattr(at, name)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("read attribute %s: %w", name, err)
		}
		switch {
		case !overlay:
			if kept == nil {
				kept = map[string]string{}
			}
			kept[name] = value
		case strings.HasSuffix(name, ".opaque"):
			opaque = value == "y"
		case strings.HasSuffix(name, ".redirect"), strings.HasSuffix(name, ".metacopy"):
			return nil, false, fault.New(fault.Unsupported, "the kernel's overlay keeps %s here, which a layer cannot say", name).
				WithHint("turn it off: modprobe overlay redirect_dir=N metacopy=N")
		}
	}
	return kept, opaque, nil
}

func listXattrs(at string) ([]string, error) {
	buf := make([]byte, 1<<10)
	for {
		n, err := unix.Llistxattr(at, buf)
		switch {
		case errors.Is(err, unix.ERANGE):
			buf = make([]byte, 64<<10) // the kernel's limit
			continue
		case errors.Is(err, unix.ENOTSUP):
			return nil, nil
		case err != nil:
			return nil, &fs.PathError{Op: "listxattr", Path: at, Err: err}
		}
		list := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
		slices.Sort(list)
		return list, nil
	}
}

func getXattr(at, name string) (string, error) {
	buf := make([]byte, 1<<10)
	n, err := unix.Lgetxattr(at, name, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10) // the kernel's limit
		n, err = unix.Lgetxattr(at, name, buf)
	}
	return string(buf[:max(n, 0)]), err
}
