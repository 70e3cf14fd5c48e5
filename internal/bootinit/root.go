package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount is one call of mount(2). The folder is made where it is missing.
type mount struct {
	source, target, kind string
	flags                uintptr
	options              string
}

func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
	}
	return nil
}

// layRoot mounts a device at a folder, with an overlay in memory for what is written.
func layRoot(device, at string) error {
	if err := (mount{device, "/lower", "ext4", unix.MS_RDONLY, ""}).do(); err != nil {
		return err
	}
	if err := (mount{"tmpfs", "/upper", "tmpfs", 0, "mode=0755"}).do(); err != nil {
		return err
	}
	for _, dir := range []string{"/upper/files", "/upper/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	// The root folder of an overlay has the mode and owner of its upper one.
	var st unix.Stat_t
	if err := unix.Stat("/lower", &st); err != nil {
		return fmt.Errorf("look at the root: %w", err)
	}
	if err := unix.Chown("/upper/files", int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod("/upper/files", st.Mode&0o7777); err != nil {
		return err
	}
	return mount{"overlay", at, "overlay", 0, "lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work"}.do()
}

// enter makes a folder the root and runs the system's first program.
func enter(root, program string) error {
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if err := (mount{dir, filepath.Join(root, dir), "", unix.MS_MOVE, ""}).do(); err != nil {
			return err
		}
	}
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("make the root /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	err := unix.Exec(program, []string{program}, []string{searched, "TERM=linux", "HOME=/"})
	return fmt.Errorf("run %s of the image: %w", program, err)
}
