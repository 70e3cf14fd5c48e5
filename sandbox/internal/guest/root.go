package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	attrQuiet = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	attrPlain = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
)

// rootBuilder assembles the file system of a sandbox inside the init's own mount namespace.
//
// A small tmpfs, the scaffold, is mounted over the work folder's path (its descriptor is open already):
//
//	root/  where the overlay is mounted
//	base/  the lowest layer of the overlay: the mount points that the image may lack, so that none is made in Upper
//	dev/   becomes /dev
//	etc/   hosts, hostname, resolv.conf
//	proc/  fixed figures for /proc
type rootBuilder struct {
	spec     *Spec
	scaffold string
	placed   []placement // put into place, in order, once the root is the root
}

// placement is a mount that waits for its place.
type placement struct {
	fd     int
	target string
	// optional: the place may be missing or refuse (an image's odd link, a kernel without the file).
	optional bool
}

// buildRoot makes and enters the root.
func buildRoot(s *Spec) error {
	b := &rootBuilder{spec: s, scaffold: s.Root.Work}
	steps := []func() error{b.makePrivate, b.mountRoot, b.setHostname, b.collectProc, b.collectDev, b.collectEtc,
		b.collectTmp, b.collectSys, b.collectMounts, b.emulate, b.pivot, b.placeAll, b.protectProc}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (b *rootBuilder) makePrivate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}

// mountRoot opens the layers by descriptor, puts the scaffold over the work folder and mounts the overlay in it.
func (b *rootBuilder) mountRoot() error {
	r := b.spec.Root
	// A volatile overlay leaves this mark and refuses to be mounted a second time; nothing here outlives a crash
	// anyway.
	if err := os.RemoveAll(filepath.Join(r.Work, "work", "incompat")); err != nil {
		return fmt.Errorf("clear work folder: %w", err)
	}
	upper, err := openPath(r.Upper)
	if err != nil {
		return fmt.Errorf("open upper folder: %w", err)
	}
	work, err := openPath(r.Work)
	if err != nil {
		return fmt.Errorf("open work folder: %w", err)
	}
	var lower []string
	for _, dir := range r.Lower {
		fd, err := openPath(dir)
		if err != nil {
			return fmt.Errorf("open lower folder: %w", err)
		}
		defer unix.Close(fd)
		lower = append(lower, FDPath(fd))
	}
	defer unix.Close(upper)
	defer unix.Close(work)
	if err := b.makeScaffold(); err != nil {
		return err
	}
	base, err := openPath(b.path("base"))
	if err != nil {
		return fmt.Errorf("open base folder: %w", err)
	}
	defer unix.Close(base)
	lower = append(lower, FDPath(base))
	return b.mountOverlay(strings.Join(lower, ":"), FDPath(upper), FDPath(work))
}

// mountOverlay mounts with "volatile" where the kernel knows it (5.10): without, the end of a sandbox would write the
// whole disk's pending data out before its init is gone.
func (b *rootBuilder) mountOverlay(lower, upper, work string) error {
	options := "userxattr,lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
	if len(options) > os.Getpagesize()-64 {
		return fmt.Errorf("mount overlay: too many layers (%d)", len(b.spec.Root.Lower))
	}
	err := unix.Mount("overlay", b.path("root"), "overlay", unix.MS_NODEV, options+",volatile")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("overlay", b.path("root"), "overlay", unix.MS_NODEV, options)
	}
	if err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	return nil
}

func (b *rootBuilder) path(elem ...string) string {
	return filepath.Join(append([]string{b.scaffold}, elem...)...)
}

func (b *rootBuilder) makeScaffold() error {
	err := unix.Mount("tmpfs", b.scaffold, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m")
	if err != nil {
		return fmt.Errorf("mount scaffold: %w", err)
	}
	for _, d := range []string{"root", "base", "base/proc", "base/dev", "base/sys", "base/tmp", "base/etc", "dev", "etc", "proc"} {
		if err := os.Mkdir(b.path(d), 0o755); err != nil {
			return fmt.Errorf("make scaffold: %w", err)
		}
	}
	for _, f := range []string{"hosts", "hostname", "resolv.conf"} {
		if err := os.WriteFile(b.path("base/etc", f), nil, 0o644); err != nil {
			return fmt.Errorf("make scaffold: %w", err)
		}
	}
	if err := os.Chmod(b.path("base/tmp"), 0o1777); err != nil {
		return fmt.Errorf("make scaffold: %w", err)
	}
	return b.mountPoints()
}

// mountPoints makes the places of the spec's mounts in the base layer.
func (b *rootBuilder) mountPoints() error {
	for _, m := range b.spec.Mounts {
		at := b.path("base", filepath.Clean(m.Target))
		dir := m.Tmpfs
		if !dir && !m.Memory {
			fi, err := os.Stat(m.Source)
			if err != nil {
				return fmt.Errorf("mount at %s: %w", m.Target, err)
			}
			dir = fi.IsDir()
		}
		parent := filepath.Dir(at)
		if dir {
			parent = at
		}
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return fmt.Errorf("make mount point %s: %w", m.Target, err)
		}
		if dir {
			continue
		}
		f, err := os.OpenFile(at, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return fmt.Errorf("make mount point %s: %w", m.Target, err)
		}
		_ = f.Close()
	}
	return nil
}

func (b *rootBuilder) setHostname() error {
	name := b.spec.Hostname
	if b.spec.Fixed {
		name = fixedHostname
	}
	if name == "" {
		name = "sandbox"
	}
	b.spec.Hostname = name
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	return nil
}

func (b *rootBuilder) later(fd int, target string, optional bool) {
	b.placed = append(b.placed, placement{fd, target, optional})
}

// pivot makes the overlay the root and lets go of everything else.
func (b *rootBuilder) pivot() error {
	if err := unix.Chdir(b.path("root")); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	return nil
}

func (b *rootBuilder) placeAll() error {
	for _, p := range b.placed {
		if err := place(p.fd, p.target); err != nil && !p.optional {
			return err
		}
	}
	return nil
}

// collectTmp gives a fresh /tmp where the image has nothing there.
func (b *rootBuilder) collectTmp() error {
	if entries, err := os.ReadDir(b.path("root/tmp")); err != nil || len(entries) > 0 {
		return nil //nolint:nilerr // an image's /tmp that cannot be listed is left as it is
	}
	if fi, err := os.Lstat(b.path("root/tmp")); err != nil || !fi.IsDir() {
		return nil //nolint:nilerr // a link: the image's own business
	}
	fd, err := newFS("tmpfs", attrPlain, [2]string{"mode", "1777"})
	if err != nil {
		return err
	}
	b.later(fd, "/tmp", false)
	return nil
}

// collectSys shows /sys, read-only, to those with a network of their own: the kernel gives it to no others. Bakes see
// none, since it tells the machine's make.
func (b *rootBuilder) collectSys() error {
	if b.spec.Fixed || b.spec.Network == HostNetwork {
		return nil
	}
	fd, err := newFS("sysfs", attrQuiet|unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return nil //nolint:nilerr // masked on this machine, as in a container: do without
	}
	b.later(fd, "/sys", true)
	return nil
}

func (b *rootBuilder) collectMounts() error {
	for _, m := range b.spec.Mounts {
		fd, err := mountOf(m)
		if err != nil {
			return err
		}
		b.later(fd, filepath.Clean(m.Target), false)
	}
	return nil
}

func mountOf(m Mount) (int, error) {
	if m.Tmpfs {
		size := m.Size
		if size == 0 {
			size = 64 << 20
		}
		return newFS("tmpfs", attrPlain, [2]string{"mode", "1777"}, [2]string{"size", fmt.Sprint(size)})
	}
	if m.Memory {
		return memoryFile(m.Content)
	}
	fd, err := cloneTree(m.Source)
	if err != nil || !m.ReadOnly {
		return fd, err
	}
	if err := setReadOnly(fd, m.Source); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// emulate tells the kernel who runs programs of another architecture in this sandbox. The handlers belong to the user
// namespace and live as long as their file system, which is nowhere in the tree: the init keeps it by its descriptor. The
// emulator is opened now, while the host's is in sight.
func (b *rootBuilder) emulate() error {
	if b.spec.Emulator == "" {
		return nil
	}
	fd, err := newFS("binfmt_misc", attrQuiet)
	if err != nil {
		return err
	}
	register, err := unix.Openat(fd, "register", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("register emulator: %w", err)
	}
	defer unix.Close(register)
	if _, err := unix.Write(register, []byte(b.spec.Emulator)); err != nil {
		return fmt.Errorf("register emulator: %w", err)
	}
	return nil
}
