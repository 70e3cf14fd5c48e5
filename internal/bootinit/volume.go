package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/volumeseed"
)

// mountData mounts a data volume within the new root. A link in the image may lead elsewhere in it, but not out of it.
func mountData(v volume, root string) error {
	device, err := labelled(v.label)
	if err != nil {
		return err
	}
	const aside = "/volume"
	options := ""
	if v.seed {
		options = "discard" // its file gives back the space of what was removed
	}
	if err := (mount{device, aside, "ext4", unix.MS_NODEV | unix.MS_NOSUID, options}).do(); err != nil {
		return err
	}
	if v.seed {
		if err := errors.Join(grow(device, aside), seed(root, v.path, aside)); err != nil {
			return fmt.Errorf("make the volume %s ready: %w", v.label, err)
		}
	}
	within, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer within.Close()
	name := v.path[1:]
	if err := within.MkdirAll(name, 0o755); err != nil {
		return fmt.Errorf("make %s for the volume %s: %w", v.path, v.label, err)
	}
	dir, err := within.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return mount{aside, fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), "", unix.MS_MOVE, ""}.do()
}

// Attributes of the root of a volume.
const (
	seeding = "trusted.release.seeding" // it was empty, and is being filled
	seeded  = "trusted.release.seeded"  // it has had what its first image has there, whatever became of it
)

// seed fills a new volume from the image below root. One whose filling was cut off is filled anew; one that has files and no attribute, as
// after a backup was put back, is left as it is.
func seed(root, path, at string) error {
	done, err := marked(at, seeded)
	if done || err != nil {
		return err
	}
	begun, err := marked(at, seeding)
	if err != nil {
		return err
	}
	list, err := os.ReadDir(at)
	if err != nil {
		return err
	}
	if !begun && slices.ContainsFunc(list, func(e fs.DirEntry) bool { return e.Name() != "lost+found" }) {
		return mark(at, seeded)
	}
	if err := mark(at, seeding); err != nil {
		return err
	}
	for _, e := range list { // lost+found too: programs want their folder to be empty at first
		if err := os.RemoveAll(filepath.Join(at, e.Name())); err != nil {
			return err
		}
	}
	if err := volumeseed.Fill(root, path, at); err != nil {
		return err
	}
	return mark(at, seeded)
}

func marked(at, name string) (bool, error) {
	_, err := unix.Getxattr(at, name, nil)
	switch {
	case errors.Is(err, unix.ENODATA):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	return true, nil
}

// mark sets an attribute once all that was written before is on the disk, and waits until it is there too.
func mark(at, name string) error {
	dir, err := os.Open(at)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return err
	}
	if err := unix.Fsetxattr(int(dir.Fd()), name, []byte("1"), 0); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return unix.Syncfs(int(dir.Fd()))
}

// Of ext4 (the kernel's Documentation/filesystems/ext4/super.rst and fs/ext4/ext4.h), the superblock being at 1024.
const (
	extBlocks = 1024 + 0x4  // low half of the number of blocks
	extLog    = 1024 + 0x18 // of the blocks' size, less 10
	extResize = 0x40086610  // EXT4_IOC_RESIZE_FS
)

// grow makes a mounted file system as large as its device, if that is larger.
func grow(device, at string) error {
	dev, err := os.Open(device)
	if err != nil {
		return err
	}
	defer dev.Close()
	head := make([]byte, superblockEnd)
	if _, err := dev.ReadAt(head, 0); err != nil {
		return err
	}
	size, err := dev.Seek(0, 2)
	if err != nil {
		return err
	}
	blocks := uint64(size) >> (10 + binary.LittleEndian.Uint32(head[extLog:]))
	if blocks <= uint64(binary.LittleEndian.Uint32(head[extBlocks:])) {
		return nil
	}
	dir, err := os.Open(at)
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), extResize, uintptr(unsafe.Pointer(&blocks))); errno != 0 {
		return fmt.Errorf("grow it to %d blocks: %w", blocks, errno)
	}
	return nil
}
