package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// open makes the descriptors that the init inherits.
func (l *launch) open() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make channel: %w", err)
	}
	l.inherit(os.NewFile(uintptr(pair[1]), "channel"))
	if l.channel, err = guest.NewConn(pair[0]); err != nil {
		return err
	}
	if err := l.channel.PassCredentials(); err != nil {
		return fmt.Errorf("make channel: %w", err)
	}
	fd, err := unix.MemfdCreate("sandbox-spec", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make memory file: %w", err)
	}
	spec := os.NewFile(uintptr(fd), "spec")
	l.inherit(spec)
	wire := l.wireSpec()
	if l.spec.Detach != nil {
		if err := l.openState(&wire); err != nil {
			return err
		}
	} else if l.spec.Control != "" {
		if err := l.openAttachedControl(&wire); err != nil {
			return err
		}
	}
	join, err := l.group.openJoin()
	if err != nil {
		return err
	}
	wire.JoinFD = l.inherit(join)
	data, err := json.Marshal(wire)
	if err != nil {
		return fmt.Errorf("encode spec: %w", err)
	}
	if _, err := spec.WriteAt(data, 0); err != nil {
		return fmt.Errorf("write spec: %w", err)
	}
	return nil
}

// inherit hands a file to the init and gives the number it has there; 0 for nil.
func (l *launch) inherit(f *os.File) int {
	if f == nil {
		return 0
	}
	l.child = append(l.child, f)
	return guest.FDChannel - 1 + len(l.child)
}

// openState opens a detached sandbox's folder and binds its control socket.
func (l *launch) openState(wire *guest.Spec) error {
	dir, err := os.Open(l.spec.Detach.Dir)
	if err != nil {
		return fmt.Errorf("open state folder: %w", err)
	}
	wire.DirFD = l.inherit(dir)
	wire.EventsFD = l.inherit(l.group.openEvents())
	return l.bindControl(dir, wire)
}

// openAttachedControl binds the control socket of an attached sandbox in its folder.
func (l *launch) openAttachedControl(wire *guest.Spec) error {
	dir, err := os.Open(l.spec.Control)
	if err != nil {
		return fmt.Errorf("open control folder: %w", err)
	}
	defer dir.Close()
	return l.bindControl(dir, wire)
}

// bindControl binds through the folder's descriptor, since a socket's path holds only 107 bytes.
func (l *launch) bindControl(dir *os.File, wire *guest.Spec) error {
	short := fmt.Sprintf("/proc/self/fd/%d/control.sock", dir.Fd())
	if err := os.Remove(short); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old control socket: %w", err)
	}
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: short, Net: "unixpacket"})
	if err != nil {
		return fmt.Errorf("bind control socket: %w", err)
	}
	defer listener.Close()
	listener.SetUnlinkOnClose(false)
	file, err := listener.File()
	if err != nil {
		return fmt.Errorf("bind control socket: %w", err)
	}
	wire.ControlFD = l.inherit(file)
	return nil
}

func (l *launch) wireSpec() guest.Spec {
	s := l.spec
	wire := guest.Spec{Root: s.Root, Command: s.Command, Env: s.Env, Dir: s.Dir, User: s.User, Hostname: s.Hostname,
		Network: s.Network, Mounts: s.Mounts, Fixed: s.Fixed, Emulator: s.Emulator}
	if s.TTY != nil {
		wire.TTY, wire.Columns, wire.Rows = true, s.TTY.Columns, s.TTY.Rows
	} else if f, ok := s.Stdin.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		wire.Terminal = err == nil
	}
	if d := s.Detach; d != nil {
		wire.Detached, wire.LogBytes, wire.LogKeep = true, d.LogBytes, d.LogKeep
	}
	return wire
}
