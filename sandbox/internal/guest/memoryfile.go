package guest

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// memoryFile makes a mount of a single file that lies in memory. Whose it is, is settled by giveFiles: users are known once
// the sandbox's root is the root.
func memoryFile(content []byte) (int, error) {
	size := len(content) + 2*os.Getpagesize()
	dir, err := newFS("tmpfs", attrQuiet, [2]string{"mode", "0700"}, [2]string{"size", fmt.Sprint(size)})
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	const name = "file"
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o400)
	if err != nil {
		return -1, fmt.Errorf("make file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return -1, fmt.Errorf("make file in memory: %w", err)
	}
	tree, err := unix.OpenTree(dir, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("bind file in memory: %w", err)
	}
	return tree, nil
}

// giveFiles gives the files in memory to the command's user.
func (g *guest) giveFiles() error {
	for _, m := range g.spec.Mounts {
		if !m.Memory {
			continue
		}
		if err := os.Lchown(filepath.Clean(m.Target), g.user.uid, g.user.gid); err != nil {
			return fmt.Errorf("give %s to the user: %w", m.Target, err)
		}
	}
	return nil
}
