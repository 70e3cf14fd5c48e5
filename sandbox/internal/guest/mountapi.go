package guest

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// This file wraps the kernel's mount API of Linux 5.2 and later. Mounts are made first and put into place by
// descriptor afterwards, when the sandbox's root is the root: links in an image then lead nowhere else.

// newFS makes a mount of a fresh file system that is not in the tree yet. Options are "key=value" or "flag".
func newFS(kind string, attrs int, options ...[2]string) (int, error) {
	ctx, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", kind, err)
	}
	defer unix.Close(ctx)
	for _, o := range options {
		if err := unix.FsconfigSetString(ctx, o[0], o[1]); err != nil {
			return -1, fmt.Errorf("mount %s: option %s=%s: %w", kind, o[0], o[1], err)
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, fmt.Errorf("mount %s: %w", kind, err)
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", kind, err)
	}
	return fd, nil
}

// cloneTree makes a mount of what is at a path now, with all that is mounted below it.
func cloneTree(path string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("bind %s: %w", path, err)
	}
	return fd, nil
}

// setReadOnly makes a mount, and all below it, read-only and without set-user-id programs and devices.
func setReadOnly(fd int, path string) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("make %s read-only: %w", path, err)
	}
	return nil
}

// place puts a mount into the tree and closes its descriptor.
func place(fd int, target string) error {
	defer unix.Close(fd)
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount at %s: %w", target, err)
	}
	return nil
}

// FDPath is a path that leads through a descriptor: short, and free of characters that mount options give a meaning to.
func FDPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// openPath opens a folder only to name it.
func openPath(dir string) (int, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return fd, nil
}
