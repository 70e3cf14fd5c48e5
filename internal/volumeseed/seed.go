// Package volumeseed fills new volumes with what an image has where they are mounted.
package volumeseed

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// Fill fills a new volume with what the image has at a path, owners and modes included; nothing if the image has no folder
// there. Links are copied as they are, and the path is followed inside of the image only.
func Fill(root, at, data string) error {
	in, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer in.Close()
	from := strings.TrimPrefix(path.Clean(at), "/")
	if info, err := in.Stat(from); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil
	} else if err != nil {
		return err
	}
	below, err := in.OpenRoot(from)
	if err != nil {
		return err
	}
	defer below.Close()
	return copyInto(below, ".", data)
}

// copyInto copies a name with all below it. Folders get their modes after what is in them.
func copyInto(from *os.Root, name, to string) error {
	info, err := from.Lstat(name)
	if err != nil {
		return err
	}
	target := filepath.Join(to, name)
	switch {
	case info.IsDir():
		if err := os.MkdirAll(target, 0o700); err != nil {
			return err
		}
		entries, err := fs.ReadDir(from.FS(), name)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := copyInto(from, path.Join(name, e.Name()), to); err != nil {
				return err
			}
		}
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := from.Readlink(name)
		if err != nil {
			return err
		}
		if err := os.Symlink(link, target); err != nil {
			return err
		}
	case info.Mode().IsRegular():
		if err := copyFile(from, name, target); err != nil {
			return err
		}
	default:
		return nil // devices and sockets are nobody's data
	}
	return likeImage(info, target)
}

func copyFile(from *os.Root, name, target string) error {
	in, err := from.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// likeImage gives a copy the owner, mode and time of what it was copied from.
func likeImage(info fs.FileInfo, target string) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if err := os.Lchown(target, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	if err := syscall.Chmod(target, st.Mode&0o7777); err != nil {
		return err
	}
	return os.Chtimes(target, info.ModTime(), info.ModTime())
}
