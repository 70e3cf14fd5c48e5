package guest

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// serveControl answers on the control socket until the init ends.
func (g *guest) serveControl(main *child) {
	fd := g.spec.ControlFD
	if err := unix.SetNonblock(fd, true); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox init: control socket:", err)
		return
	}
	raw, err := os.NewFile(uintptr(fd), "control").SyscallConn()
	for err == nil {
		var client int
		var aerr error
		err = raw.Read(func(fd uintptr) bool {
			client, _, aerr = unix.Accept4(int(fd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return !errors.Is(aerr, unix.EAGAIN) && !errors.Is(aerr, unix.EINTR)
		})
		if err == nil && aerr != nil {
			fmt.Fprintln(os.Stderr, "sandbox init: control socket:", aerr)
			time.Sleep(100 * time.Millisecond) // out of descriptors
			continue
		}
		if err == nil {
			g.greet(client, main)
		}
	}
	fmt.Fprintln(os.Stderr, "sandbox init: control socket:", err)
}

func (g *guest) greet(client int, main *child) {
	c, err := NewConn(client)
	if err != nil {
		_ = unix.Close(client)
		return
	}
	go g.answer(c, main)
}

func (g *guest) answer(p *Conn, main *child) {
	defer p.Close()
	m, _, files, err := p.Receive()
	defer func() { CloseAll(files) }()
	switch {
	case err != nil:
	case m.Signal != 0:
		if err := unix.Kill(main.pid, syscall.Signal(m.Signal)); err != nil {
			_ = p.Send(Message{Error: err.Error()}, 0)
			return
		}
		_ = p.Send(Message{}, 0)
	case m.Info:
		_ = p.Send(Message{Started: true}, main.pid)
	case m.Exec != nil:
		g.exec(p, *m.Exec, files)
		files = nil
	default:
		_ = p.Send(Message{Error: "unknown request"}, 0)
	}
}

// exec runs a command beside. The descriptors are closed as soon as the command has them.
func (g *guest) exec(p *Conn, r ExecRequest, files []*os.File) {
	c, master, err := g.startExec(r, files)
	CloseAll(files)
	if err != nil {
		_ = p.Send(Message{Error: err.Error()}, 0)
		return
	}
	var fds []int
	if master != nil {
		fds = []int{int(master.Fd())}
	}
	// Without the command's PID: the kernel refuses that of a command that ended and was reaped meanwhile.
	err = p.Send(Message{Started: true}, 0, fds...)
	if master != nil {
		_ = master.Close()
	}
	if err != nil {
		_ = unix.Kill(-c.pid, unix.SIGKILL)
		return
	}
	gone := make(chan struct{})
	go func() { // the client says nothing more: what comes is its end
		_, _, files, _ := p.Receive()
		CloseAll(files)
		close(gone)
	}()
	select {
	case status := <-c.ended:
		exit := exitOf(status)
		_ = p.Send(Message{Exit: &exit}, 0)
	case <-gone:
		_ = unix.Kill(-c.pid, unix.SIGKILL)
	}
}

func (g *guest) startExec(r ExecRequest, files []*os.File) (*child, *os.File, error) {
	if len(r.Command) == 0 {
		return nil, nil, fmt.Errorf("no command given")
	}
	user, env := g.user, append(append([]string{}, g.env...), r.Env...)
	if r.User != "" {
		var err error
		if user, err = lookupUser(r.User); err != nil {
			return nil, nil, err
		}
		env = slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") })
		env = append(env, "HOME="+user.home)
	}
	if !r.TTY {
		if len(files) != 3 {
			return nil, nil, fmt.Errorf("want 3 descriptors, got %d", len(files))
		}
		fds := []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()}
		for _, f := range files {
			// As for the command itself: /dev/stdout may be opened anew. Only pipes are given away.
			if fi, err := f.Stat(); err == nil && fi.Mode()&os.ModeNamedPipe != 0 {
				_ = f.Chown(user.uid, user.gid)
			}
		}
		c, err := g.spawnAs(user, r.Command, env, fds, &syscall.SysProcAttr{Setsid: true})
		return c, nil, err
	}
	master, slave, err := openTerminal(user, r.Columns, r.Rows)
	if err != nil {
		return nil, nil, err
	}
	defer slave.Close()
	if getenv(env, "TERM") == "" {
		env = append(env, "TERM=xterm")
	}
	fd := slave.Fd()
	c, err := g.spawnAs(user, r.Command, env, []uintptr{fd, fd, fd}, &syscall.SysProcAttr{Setsid: true, Setctty: true})
	if err != nil {
		_ = master.Close()
		return nil, nil, err
	}
	return c, master, nil
}

// openTerminal makes a terminal of the sandbox's own devpts, so that its name is right inside.
func openTerminal(user identity, columns, rows int) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		_ = master.Close()
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	_ = slave.Chown(user.uid, -1)
	if columns > 0 && rows > 0 {
		_ = SetWindow(slave, columns, rows)
	}
	return master, slave, nil
}

// SetWindow tells a terminal its size.
func SetWindow(f *os.File, columns, rows int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ierr error
	err = raw.Control(func(fd uintptr) {
		ierr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(columns), Row: uint16(rows)})
	})
	return errors.Join(err, ierr)
}
