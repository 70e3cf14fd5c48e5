package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// streamDelay is how long an ended sandbox waits for a Stdin that still blocks or a Stdout that still takes its time.
const streamDelay = 10 * time.Second

// Start starts a sandbox and returns once its command is started. A command that cannot be started (no such program,
// no such user) is no error: Wait then gives an Exit with code 126 or 127 and the reason. Errors are *fault.Error
// with a hint where the kernel or the machine's settings are in the way. The end of ctx kills an attached sandbox,
// and a detached one only while Start runs.
func Start(ctx context.Context, s Spec) (*Process, error) {
	p, err := start(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	return p, nil
}

// Run starts an attached sandbox and waits for its end. The end of ctx kills it; the error is then that of ctx.
func Run(ctx context.Context, s Spec) (Exit, error) {
	p, err := Start(ctx, s)
	if err != nil {
		return Exit{}, err
	}
	exit, err := p.Wait()
	if ctx.Err() != nil {
		return exit, fmt.Errorf("run in sandbox: %w", ctx.Err())
	}
	return exit, err
}

func start(ctx context.Context, s Spec) (*Process, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	l, err := newLaunch(s)
	if err != nil {
		return nil, err
	}
	defer l.closeChildEnds()
	p, err := l.clone(ctx)
	if err != nil {
		l.abandon()
		return nil, err
	}
	if err := l.bringUp(ctx, p); err != nil {
		_ = p.Kill()
		_, werr := p.Wait()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, errors.Join(err, ignoreExit(werr))
	}
	if s.Detach == nil {
		p.release = context.AfterFunc(ctx, func() { _ = p.Kill() })
	}
	return p, nil
}

// ignoreExit drops what is expected of a sandbox that was just killed.
func ignoreExit(err error) error {
	if errors.Is(err, errNoExit) {
		return nil
	}
	return err
}

func (s *Spec) check() error {
	switch {
	case len(s.Command) == 0:
		return fault.New(fault.Invalid, "no command given")
	case len(s.Root.Lower) == 0 || s.Root.Upper == "" || s.Root.Work == "":
		return fault.New(fault.Invalid, "root needs a lower, an upper and a work folder")
	case s.Detach != nil && s.TTY != nil:
		return fault.New(fault.Invalid, "a detached sandbox has no terminal; commands run in it may")
	case s.Detach != nil && s.Detach.Dir == "":
		return fault.New(fault.Invalid, "a detached sandbox needs a folder")
	}
	for _, m := range s.Mounts {
		if !filepath.IsAbs(m.Target) || filepath.Clean(m.Target) == "/" {
			return fault.New(fault.Invalid, "mount target %q is not an absolute path below the root", m.Target)
		}
	}
	return nil
}

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
		return fmt.Errorf("the sandbox's init ended before the command started: %w", err)
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

// mapIdentities hands all the ids of a system on to a sandbox, each as it is, or only our own as 0. A line of a map
// must lie within one line of ours (user_namespaces(7)), so there are as many.
func mapIdentities(attr *syscall.SysProcAttr) {
	const uidMap, gidMap = "/proc/self/uid_map", "/proc/self/gid_map"
	if os.Geteuid() != 0 || guest.AvailableIDs(uidMap) < guest.FullRange || guest.AvailableIDs(gidMap) < guest.FullRange {
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
		return
	}
	attr.UidMappings, attr.GidMappings = sameIDs(uidMap), sameIDs(gidMap)
	attr.GidMappingsEnableSetgroups = true
}

// sameIDs maps 0 to 65535 to themselves, line by line of a map file that has them all.
func sameIDs(mapFile string) []syscall.SysProcIDMap {
	var list []syscall.SysProcIDMap
	for _, r := range guest.ReadMap(mapFile) {
		if r.Inside < guest.FullRange {
			list = append(list, syscall.SysProcIDMap{ContainerID: r.Inside, HostID: r.Inside, Size: min(r.Count, guest.FullRange-r.Inside)})
		}
	}
	return list
}

func explainClone(err error) error {
	code := fault.Failed
	hint := ""
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		code, hint = fault.Denied, "the kernel refuses user namespaces to this process: run `release doctor`"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		code, hint = fault.Denied, "raise user.max_user_namespaces: sysctl -w user.max_user_namespaces=15000"
	case errors.Is(err, unix.EINVAL):
		code, hint = fault.Unsupported, "this kernel lacks a namespace: run `release doctor`"
	case errors.Is(err, unix.EAGAIN):
		hint = "the limit of processes is reached: raise `ulimit -u` or stop other nodes"
	}
	return fault.New(code, "clone into new namespaces: %w", err).WithHint("%s", hint)
}

// explainInit puts the next step to what the init could not do.
func explainInit(text string) error {
	e := fault.New(fault.Failed, "%s", text)
	for _, x := range initHints {
		if x.matches(text) {
			e.Code = x.code
			return e.WithHint("%s", x.hint)
		}
	}
	return e
}

func procPath(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }
