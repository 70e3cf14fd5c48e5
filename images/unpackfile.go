package images

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// place is where an entry goes: a name in an open folder, and its path for messages.
type place struct {
	dir  *os.File
	base string
	path string
}

func (p place) fd() int { return int(p.dir.Fd()) }

// attrs is what an entry carries beside its content.
type attrs struct {
	mode     uint32 // 07777
	uid, gid int
	mtime    time.Time
	xattrs   map[string]string
}

func (u *unpacker) attrsOf(name string, h *tar.Header) attrs {
	a := attrs{mode: uint32(h.Mode) & 0o7777, uid: h.Uid, gid: h.Gid, mtime: h.ModTime}
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok {
			continue
		}
		if strings.Contains(attr, "overlay.") {
			u.skip(name, "extended attribute %s: it steers overlay mounts", attr)
			continue
		}
		if a.xattrs == nil {
			a.xattrs = map[string]string{}
		}
		a.xattrs[attr] = value
	}
	return a
}

// create makes the entry in place of whatever is there. A folder over a folder keeps what is in it.
func (u *unpacker) create(p place, h *tar.Header, a attrs, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return u.makeDir(p, a)
	case tar.TypeReg, tar.TypeCont:
		return u.makeFile(p, a, content)
	case tar.TypeLink:
		return u.makeHardLink(p, h.Linkname)
	case tar.TypeSymlink:
		if h.Linkname == "" {
			return refused("a link without target")
		}
		err := u.replacing(p, func() error { return unix.Symlinkat(h.Linkname, p.fd(), p.base) })
		return cmp.Or(err, u.setAttrs(p, a, true))
	case tar.TypeFifo:
		return u.makeNode(p, a, unix.S_IFIFO, 0)
	case tar.TypeChar, tar.TypeBlock:
		return u.makeDevice(p, h, a)
	}
	return refused("unknown type %q", h.Typeflag)
}

// replacing runs a system call that makes a name; when the name is taken it removes what is there and tries again.
func (u *unpacker) replacing(p place, make func() error) error {
	err := make()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if unix.Unlinkat(p.fd(), p.base, 0) != nil {
		// A folder. Its removal closes the parent kept open, so keep a descriptor of our own for the second try.
		if err := u.root.RemoveAll(p.path); err != nil {
			return err
		}
		u.forgetDirs(p.path)
	}
	return make()
}

func (u *unpacker) makeDir(p place, a attrs) error {
	err := unix.Mkdirat(p.fd(), p.base, 0o700)
	if errors.Is(err, unix.EEXIST) && !isDir(p) {
		err = u.replacing(p, func() error { return unix.Mkdirat(p.fd(), p.base, 0o700) })
	} else if errors.Is(err, unix.EEXIST) {
		err = nil
	}
	u.dirs[p.path] = a
	return err
}

func isDir(p place) bool {
	var st unix.Stat_t
	err := unix.Fstatat(p.fd(), p.base, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

func (u *unpacker) makeFile(p place, a attrs, content io.Reader) error {
	var fd int
	err := u.replacing(p, func() (err error) {
		const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
		fd, err = unix.Openat(p.fd(), p.base, flags, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), p.path)
	_, err = io.CopyBuffer(writerOnly{f}, content, u.buf)
	if err := cmp.Or(err, f.Close()); err != nil {
		return err
	}
	return u.setAttrs(p, a, false)
}

func (u *unpacker) makeHardLink(p place, link string) error {
	target, err := entryPath(link)
	if err != nil {
		return refused("a hard link to %q: %w", shorten(link), err)
	}
	if target == p.path {
		return refused("a hard link to itself")
	}
	dir, err := u.openDir(path.Dir(target))
	if err != nil {
		return refused("a hard link to %q: %w", target, err)
	}
	defer dir.Close()
	t := place{dir: dir, base: path.Base(target), path: target}
	if target == "." || isDir(t) {
		return refused("a hard link to the folder %q", target)
	}
	err = u.replacing(p, func() error { return unix.Linkat(t.fd(), t.base, p.fd(), p.base, 0) })
	if errors.Is(err, unix.ENOENT) {
		return refused("a hard link to %q, which is not there", target)
	}
	return err
}

func (u *unpacker) makeDevice(p place, h *tar.Header, a attrs) error {
	if u.devices++; u.devices > u.limits.Devices {
		return refused("more than %d devices", u.limits.Devices)
	}
	kind, name := uint32(unix.S_IFCHR), "character"
	if h.Typeflag == tar.TypeBlock {
		kind, name = unix.S_IFBLK, "block"
	}
	if h.Devmajor == 0 && h.Devminor == 0 {
		u.skip(p.path, "device 0:0: overlay mounts take it for a removal")
		return nil
	}
	if h.Devmajor < 0 || h.Devmajor > 0xfff || h.Devminor < 0 || h.Devminor > 0xfffff {
		return refused("device %d:%d does not exist", h.Devmajor, h.Devminor)
	}
	err := u.makeNode(p, a, kind, unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	if errors.Is(err, unix.EPERM) {
		u.skip(p.path, "%s device %d:%d: this process may not make devices", name, h.Devmajor, h.Devminor)
		return nil
	}
	return err
}

func (u *unpacker) makeNode(p place, a attrs, kind uint32, dev uint64) error {
	err := u.replacing(p, func() error { return unix.Mknodat(p.fd(), p.base, kind|0o600, int(dev)) })
	return cmp.Or(err, u.setAttrs(p, a, false))
}

// setAttrs gives a name owner, extended attributes, mode and time, in the order in which none undoes another.
func (u *unpacker) setAttrs(p place, a attrs, link bool) error {
	mode, err := u.setOwner(p, a)
	if err != nil {
		return err
	}
	for _, attr := range slices.Sorted(maps.Keys(a.xattrs)) {
		err := unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", p.fd(), p.base), attr, []byte(a.xattrs[attr]), 0)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EACCES) {
			u.skip(p.path, "extended attribute %s: %v", attr, err)
		} else if err != nil {
			return fmt.Errorf("set extended attribute %s: %w", attr, err)
		}
	}
	t := unix.Timespec{Sec: a.mtime.Unix(), Nsec: int64(a.mtime.Nanosecond())}
	if err := unix.UtimesNanoAt(p.fd(), p.base, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW); err != nil || link {
		return err
	}
	return unix.Fchmodat(p.fd(), p.base, mode, 0)
}

// setOwner gives a name its owner and returns the mode that it may have: without setuid and setgid when the owner is
// out of reach, since they would mean another owner's rights.
func (u *unpacker) setOwner(p place, a attrs) (mode uint32, err error) {
	if !u.ids.chown {
		if a.uid != 0 || a.gid != 0 {
			return a.mode &^ 0o6000, nil
		}
		return a.mode, nil
	}
	err = unix.Fchownat(p.fd(), p.base, a.uid, a.gid, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) {
		u.skip(p.path, "owner %d:%d: not among the ids of this process", a.uid, a.gid)
		return a.mode &^ 0o6000, nil
	}
	return a.mode, err
}

// finish gives all folders their attributes, innermost first, so that a closed folder hides no other.
func (u *unpacker) finish() error {
	u.forgetParent()
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(u.dirs))) {
		if err := u.finishDir(name); err != nil {
			return diskError(err, "unpack folder %s", name)
		}
	}
	return nil
}

func (u *unpacker) finishDir(name string) error {
	f, err := u.root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return u.setAttrs(place{dir: f, base: ".", path: name}, u.dirs[name], false)
}

// forgetDirs drops the attributes of a folder that is gone and of those in it: what takes its place, such as a link to
// another folder, must not get them.
func (u *unpacker) forgetDirs(name string) {
	maps.DeleteFunc(u.dirs, func(dir string, _ attrs) bool { return dir == name || strings.HasPrefix(dir, name+"/") })
}
