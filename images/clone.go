package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// errClone says that a root could not be cloned (too many links, too many open folders): unpack all layers instead.
var errClone = errors.New("clone root")

// clone makes the tree at from again, with folders of its own and hard links to its files. Folders get their
// attributes with finish, like those of layers.
func (u *unpacker) clone(ctx context.Context, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("%w: %w", errClone, err)
	}
	defer src.Close()
	dst, err := u.root.Open(".")
	if err != nil {
		return fmt.Errorf("%w: %w", errClone, err)
	}
	defer dst.Close()
	return u.cloneDir(ctx, src, dst, ".")
}

func (u *unpacker) cloneDir(ctx context.Context, src, dst *os.File, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a, err := readAttrs(src)
	if err != nil {
		return fmt.Errorf("%w: %w", errClone, err)
	}
	u.dirs[name] = a
	for {
		children, err := src.ReadDir(1024)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errClone, err)
		}
		for _, c := range children {
			if err := u.cloneEntry(ctx, src, dst, c, name); err != nil {
				return err
			}
		}
	}
}

func (u *unpacker) cloneEntry(ctx context.Context, src, dst *os.File, c os.DirEntry, dir string) error {
	if !c.IsDir() {
		if err := unix.Linkat(int(src.Fd()), c.Name(), int(dst.Fd()), c.Name(), 0); err != nil {
			return fmt.Errorf("%w: %w", errClone, err)
		}
		return nil
	}
	if err := unix.Mkdirat(int(dst.Fd()), c.Name(), 0o700); err != nil {
		return fmt.Errorf("%w: %w", errClone, err)
	}
	subSrc, err := openDirAt(src, c.Name())
	if err != nil {
		return fmt.Errorf("%w: %w", errClone, err)
	}
	defer subSrc.Close()
	subDst, err := openDirAt(dst, c.Name())
	if err != nil {
		return fmt.Errorf("%w: %w", errClone, err)
	}
	defer subDst.Close()
	return u.cloneDir(ctx, subSrc, subDst, path.Join(dir, c.Name()))
}

func openDirAt(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// readAttrs reads what a folder has.
func readAttrs(dir *os.File) (attrs, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return attrs{}, err
	}
	a := attrs{mode: st.Mode & 0o7777, uid: int(st.Uid), gid: int(st.Gid), mtime: time.Unix(st.Mtim.Unix())}
	list := make([]byte, 64<<10)
	n, err := unix.Flistxattr(int(dir.Fd()), list)
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	a.xattrs = map[string]string{}
	for _, name := range splitNames(list[:n]) {
		value := make([]byte, 64<<10)
		n, err := unix.Fgetxattr(int(dir.Fd()), name, value)
		if err != nil {
			return a, err
		}
		a.xattrs[name] = string(value[:n])
	}
	return a, nil
}

// splitNames takes apart a list of names that each end with a zero byte.
func splitNames(list []byte) []string {
	var names []string
	for start, i := 0, 0; i < len(list); i++ {
		if list[i] == 0 {
			names = append(names, string(list[start:i]))
			start = i + 1
		}
	}
	return names
}
