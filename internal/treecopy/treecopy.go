// Package treecopy reads files below a root as a tar stream, without a program in that root: how files leave a node.
package treecopy

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Open opens a path as a process with that root would, for Write alone: links are followed, and lead out of the root nowhere.
func Open(root *os.File, name string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(root.Fd()), name, &how)
		if err == nil {
			return os.NewFile(uintptr(fd), path.Base(path.Clean(name))), nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) { // something on the way was renamed meanwhile
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

// IsAbsent says of an error of Open that there is no such path.
func IsAbsent(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

// Write writes what Open has found under its last name, with all that is below it on the same file system. Sockets, pipes and devices have
// no content and are left out.
func Write(to io.Writer, f *os.File) error {
	c := &copier{to: tar.NewWriter(to)}
	if err := c.start(int(f.Fd()), f.Name()); err != nil {
		return err
	}
	return c.to.Close()
}

// copier writes files into an archive.
type copier struct {
	to *tar.Writer
	fs uint64 // the file system of the folder that it began with: others, such as /proc, are left out
}

// start adds what an O_PATH descriptor stands for under a name.
func (c *copier) start(fd int, as string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("read %s: %w", as, err)
	}
	c.fs = st.Dev
	return c.addAt(fd, "", as, &st)
}

// addAt adds name in a folder; name "" is what the descriptor itself stands for.
func (c *copier) addAt(dir int, name, as string, st *unix.Stat_t) error {
	h := &tar.Header{Name: as, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.addFolder(dir, name, h, st)
	case unix.S_IFREG:
		return c.addFile(dir, name, h)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return fmt.Errorf("read link %s: %w", as, err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(buf[:n])
		return c.to.WriteHeader(h)
	}
	return nil // sockets, pipes and devices have no content
}

// reopen opens name in a folder for reading, or what an O_PATH descriptor stands for.
func reopen(dir int, name string, flags int) (*os.File, error) {
	flags |= unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK
	at, as := dir, name
	if name == "" {
		at, as = unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", dir)
	} else {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat(at, as, flags, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), as), nil
}

func (c *copier) addFile(dir int, name string, h *tar.Header) error {
	f, err := reopen(dir, name, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // the node removed it this moment
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", h.Name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := c.to.WriteHeader(h); err != nil {
		return err
	}
	// One that grows is as long as it was; one that shrinks cannot be read whole.
	if _, err := io.CopyN(c.to, f, h.Size); err != nil {
		return fmt.Errorf("read %s: %w", h.Name, err)
	}
	return nil
}

func (c *copier) addFolder(dir int, name string, h *tar.Header, st *unix.Stat_t) error {
	if st.Dev != c.fs {
		return nil
	}
	f, err := reopen(dir, name, unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", h.Name, err)
	}
	defer f.Close()
	h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(h.Name, "/")+"/"
	if err := c.to.WriteHeader(h); err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("read %s: %w", h.Name, err)
	}
	for _, inner := range names {
		var st unix.Stat_t
		err := unix.Fstatat(int(f.Fd()), inner, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil {
			err = c.addAt(int(f.Fd()), inner, h.Name+inner, &st)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
