package images

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

// unpacker applies layers to a folder that nobody else writes to. Parents of an entry are resolved by os.Root, which
// follows links only within the folder; everything at the last component is done on the parent's descriptor and
// follows nothing.
type unpacker struct {
	root    *os.Root
	overlay bool // one layer by itself, as the lower folder of an overlay: removals are marked
	ids     idSpace
	limits  Limits
	entries int
	devices int
	skipped []Skipped
	buf     []byte
	read    *readCount // nil: nobody wants to know

	dirs map[string]attrs // what folders get at the end, when nothing is written into them any more
	seen map[string]bool  // paths of the layer under way and their parents: its whiteouts spare them

	parentPath string // parent of the last entry, kept open
	parentFile *os.File
}

// Skipped is something of an image that its unpacked root lacks.
type Skipped struct {
	Path string `json:"path"`
	What string `json:"what"`
}

// maxSkipped bounds the list of what was left out.
const maxSkipped = 1000

// maxName bounds names of entries: longer paths cannot be used anyway (PATH_MAX).
const maxName = 4096

// bookkeeping is how names begin that an old union file system left at the top of layers.
const bookkeeping = ".wh..wh."

func newUnpacker(root *os.Root, ids idSpace, limits Limits) *unpacker {
	return &unpacker{root: root, ids: ids, limits: limits, buf: make([]byte, 256<<10), dirs: map[string]attrs{}}
}

func (u *unpacker) close() { u.forgetParent() }

func (u *unpacker) skip(name, format string, args ...any) {
	if len(u.skipped) < maxSkipped {
		u.skipped = append(u.skipped, Skipped{Path: name, What: fmt.Sprintf(format, args...)})
	}
}

// layer applies one layer, given as an uncompressed tar of size bytes by a reader that checks it: what goes wrong with a
// damaged layer is said as its damage.
func (u *unpacker) layer(ctx context.Context, r io.Reader, size int64, want Digest) error {
	in := bufio.NewReaderSize(countedReader{contextReader{ctx, r}, u.read}, copyBuffer)
	err := u.unpackTar(in, size)
	if fault.Is(err, fault.NoSpace) || fault.Is(err, fault.Denied) || ctx.Err() != nil {
		return fmt.Errorf("unpack layer %s: %w", want.Short(), cmp.Or(ctx.Err(), err))
	}
	if _, restErr := io.CopyBuffer(io.Discard, onlyReader{in}, u.buf); restErr != nil {
		err = restErr
	}
	if err != nil {
		return fmt.Errorf("unpack layer %s: %w", want.Short(), err)
	}
	return nil
}

// countedReader says how much is read.
type countedReader struct {
	r     io.Reader
	count *readCount
}

func (c countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.count.add(n)
	return n, err
}

// unpackTar applies the entries of a layer of size bytes.
func (u *unpacker) unpackTar(in io.Reader, size int64) error {
	u.seen = map[string]bool{}
	for tr := tar.NewReader(in); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fault.New(fault.Invalid, "read tar: %w", err)
		}
		if err := u.entry(h, tr, size); err != nil {
			return diskError(err, "entry %q", shorten(h.Name))
		}
	}
}

func shorten(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}

func refused(format string, args ...any) error {
	return fault.New(fault.Invalid, "refused: "+format, args...)
}

// entry applies one entry of a layer that is layerSize bytes long.
func (u *unpacker) entry(h *tar.Header, content io.Reader, layerSize int64) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if u.entries++; u.entries > u.limits.Entries {
		return refused("more than %d entries", u.limits.Entries)
	}
	if h.Size > layerSize {
		return refused("it claims %d bytes, the whole layer has %d", h.Size, layerSize)
	}
	name, err := entryPath(h.Name)
	if err != nil {
		return err
	}
	dir, base := path.Dir(name), path.Base(name)
	if strings.HasPrefix(name, bookkeeping) && base != opaqueName {
		return nil
	}
	if target, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		return u.whiteout(dir, target)
	}
	u.see(name)
	a := u.attrsOf(name, h)
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return refused("the root is a folder")
		}
		u.dirs["."] = a
		return nil
	}
	parent, err := u.parent(dir)
	if err != nil {
		return err
	}
	return u.create(place{dir: parent, base: base, path: name}, h, a, content)
}

// entryPath is the clean path of an entry within the root.
func entryPath(name string) (string, error) {
	switch {
	case len(name) > maxName:
		return "", refused("its name has %d bytes", len(name))
	case name == "" || strings.ContainsRune(name, 0):
		return "", refused("its name is empty or has a zero byte")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", refused("its name leads upward")
		}
	}
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	return cmp.Or(clean, "."), nil
}

func (u *unpacker) see(name string) {
	for ; !u.seen[name]; name = path.Dir(name) {
		u.seen[name] = true
	}
}

// parent opens the folder dir within the root and keeps it open for the next entry. Folders that no entry made are
// made as plain ones.
func (u *unpacker) parent(dir string) (*os.File, error) {
	if u.parentFile != nil && u.parentPath == dir {
		return u.parentFile, nil
	}
	f, err := u.openDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		if err := u.makeParents(dir); err != nil {
			return nil, err
		}
		f, err = u.openDir(dir)
	}
	if err != nil {
		return nil, err
	}
	u.forgetParent()
	u.parentPath, u.parentFile = dir, f
	return f, nil
}

func (u *unpacker) openDir(dir string) (*os.File, error) {
	f, err := u.root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return f, err
	}
	return nil, refused("its folder %s is not one of the root: %w", dir, err)
}

func (u *unpacker) makeParents(dir string) error {
	parts := strings.Split(dir, "/")
	for i := range parts {
		prefix := path.Join(parts[:i+1]...)
		if _, err := u.root.Stat(prefix); err == nil {
			continue
		} else if !errors.Is(err, os.ErrNotExist) {
			return refused("its folder %s is not one of the root: %w", prefix, err)
		}
		if err := u.root.Mkdir(prefix, 0o700); err != nil {
			return refused("its folder %s is not one of the root: %w", prefix, err)
		}
		u.dirs[prefix] = attrs{mode: 0o755, mtime: time.Unix(0, 0)}
	}
	return nil
}

// forgetParent closes the folder kept open: after a removal its path may mean another.
func (u *unpacker) forgetParent() {
	if u.parentFile != nil {
		_ = u.parentFile.Close()
		u.parentFile = nil
	}
}

// whiteout removes what lower layers have at a path: target within dir, or all of dir.
func (u *unpacker) whiteout(dir, target string) error {
	whole := whiteoutPrefix+target == opaqueName
	switch {
	case target == "" || target == "." || target == "..":
		return refused("it removes no proper name")
	}
	if u.overlay {
		return u.mark(dir, target, whole)
	}
	f, err := u.root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return refused("its folder %s is not one of the root: %w", dir, err)
	}
	defer f.Close()
	if whole {
		return u.clearLower(f, dir)
	}
	if name := path.Join(dir, target); !u.seen[name] {
		return u.removeAll(name)
	}
	return nil
}

// clearLower removes everything in a folder that the layer under way did not bring.
func (u *unpacker) clearLower(f *os.File, dir string) error {
	children, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, c := range children {
		name := path.Join(dir, c.Name())
		if !u.seen[name] {
			err = u.removeAll(name)
		} else if c.IsDir() {
			err = u.clearLowerPath(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) clearLowerPath(dir string) error {
	f, err := u.root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return u.clearLower(f, dir)
}

func (u *unpacker) removeAll(name string) error {
	u.forgetParent()
	u.forgetDirs(name)
	return u.root.RemoveAll(name)
}
