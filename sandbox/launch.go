package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// launch is a sandbox on its way up.
type launch struct {
	spec    Spec
	channel *guest.Conn
	child   []*os.File // ends that belong to the init
	group   *cgroup
}

func newLaunch(s Spec) (*launch, error) {
	l := &launch{spec: s}
	group, err := newCgroup(s.CgroupName, s.Limits)
	if err != nil {
		return nil, err
	}
	l.group = group
	if err := l.open(); err != nil {
		l.closeChildEnds()
		l.abandon()
		return nil, err
	}
	return l, nil
}

// clone runs this program again as the init of fresh namespaces.
func (l *launch) clone(ctx context.Context) (*Process, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{guest.InitName}
	cmd.Env = []string{"GOMAXPROCS=1", "GODEBUG=madvdontneed=1"}
	cmd.Dir = "/"
	cmd.ExtraFiles = l.child
	cmd.WaitDelay = streamDelay
	pidfd := -1
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: l.cloneFlags(), PidFD: &pidfd}
	mapIdentities(cmd.SysProcAttr)
	if err := l.streams(cmd); err != nil {
		return nil, err
	}
	if f, ok := cmd.Stderr.(*os.File); ok && l.spec.Detach != nil {
		defer f.Close()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, explainClone(err)
	}
	return newProcess(cmd, pidfd, l)
}

// streams sets the init's own streams: the command's in an attached sandbox, nothing and a file of its own else.
func (l *launch) streams(cmd *exec.Cmd) error {
	if l.spec.Detach == nil {
		if l.spec.TTY == nil {
			cmd.Stdin, cmd.Stdout = l.spec.Stdin, l.spec.Stdout
		}
		cmd.Stderr = l.spec.Stderr
		return nil
	}
	cmd.SysProcAttr.Setsid = true
	f, err := os.OpenFile(filepath.Join(l.spec.Detach.Dir, "init.err"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open init's log: %w", err)
	}
	cmd.Stderr = f
	return nil
}

func (l *launch) cloneFlags() uintptr {
	flags := uintptr(unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if l.spec.Network != HostNetwork {
		flags |= unix.CLONE_NEWNET
	}
	return flags
}

// bringUp fits the sandbox out, gives the go-ahead and waits until the command is started.
func (l *launch) bringUp(ctx context.Context, p *Process) error {
	stop := context.AfterFunc(ctx, func() { _ = p.Kill() })
	defer stop()
	l.closeChildEnds()
	if err := l.group.add(p.PID); err != nil {
		return l.cause(err)
	}
	if l.spec.Prepare != nil {
		if err := l.spec.Prepare(p); err != nil {
			return l.cause(err)
		}
	}
	if err := l.channel.Send(guest.Message{Go: true}, 0); err != nil && !errors.Is(err, unix.EPIPE) {
		return err
	}
	m, pid, files, err := l.channel.Receive()
	if err == nil && m.Started && l.spec.TTY != nil && len(files) == 1 {
		p.useTerminal(files[0], l.spec)
		files = nil
	}
	guest.CloseAll(files)
	switch {
	case err != nil:
		return fmt.Errorf("%w: the sandbox's init ended before it said that the command is started: %w", ErrUnsure, err)
	case m.Error != "":
		return explainInit(m.Error)
	case m.Started:
		p.Command = pid
	}
	p.follow(l.channel, m.Exit)
	return nil
}

// cause prefers what the init says of its own death to the error that it made here.
func (l *launch) cause(err error) error {
	l.channel.CloseWrite()
	if m, _, files, rerr := l.channel.Receive(); rerr == nil {
		guest.CloseAll(files)
		if m.Error != "" && m.Error != guest.ErrNoGo.Error() {
			return explainInit(m.Error)
		}
	}
	return err
}

func (l *launch) closeChildEnds() {
	guest.CloseAll(l.child)
	l.child = nil
}

// abandon gives back what a launch that came to nothing holds.
func (l *launch) abandon() {
	if l.channel != nil {
		l.channel.Close()
	}
	_ = l.group.remove()
}

func procPath(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }
