package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// Process is a running sandbox. PID, StartTime and BootID together name its init for ever.
type Process struct {
	PID       int    // of the init, in the caller's numbering
	StartTime uint64 // of the init, in clock ticks since boot
	BootID    string // of the machine, /proc/sys/kernel/random/boot_id
	Command   int    // PID of the command, in the caller's numbering; 0 when it is not started

	pidfd *os.File
	dir   string     // detached: the state folder
	cmd   *exec.Cmd  // nil for a sandbox found again
	group *cgroup    // attached: removed when it ended
	told  chan *Exit // attached and started: what the init says of the command's end, nil when it says nothing
	// release lets go of the context whose end kills an attached sandbox.
	release func() bool
	tty     *execStreams // attached with a terminal: the copying from and to it
	done    chan struct{}
	once    sync.Once
	exit    Exit
	err     error
}

// ErrGone: the process of a record does not run any more, or its id names another one now.
var ErrGone = errors.New("sandbox: process is gone")

// errNoExit: the init ended without saying how the command did.
var errNoExit = errors.New("sandbox: it ended without an exit status")

func newProcess(cmd *exec.Cmd, pidfd int, l *launch) (*Process, error) {
	p := &Process{PID: cmd.Process.Pid, cmd: cmd, group: l.group, done: make(chan struct{})}
	if l.spec.Detach != nil {
		p.dir = l.spec.Detach.Dir
	}
	err := p.watch(pidfd)
	if err == nil {
		p.StartTime, _, err = readStat(p.PID)
	}
	if err == nil {
		p.BootID, err = BootID()
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	return p, nil
}

// Find gives the detached sandbox that was recorded with these values and keeps its state in dir. ErrGone when it
// ended, or the machine was restarted.
func Find(pid int, started uint64, bootID, dir string) (*Process, error) {
	current, err := BootID()
	if err != nil {
		return nil, err
	}
	if pid <= 0 || current != bootID {
		return nil, ErrGone
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
			return nil, ErrGone
		}
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	p := &Process{PID: pid, StartTime: started, BootID: bootID, dir: dir, done: make(chan struct{})}
	// The start time is read after the pidfd is open: from then on the number cannot be given to another process.
	now, zombie, err := readStat(pid)
	if err != nil || zombie || now != started {
		_ = unix.Close(fd)
		return nil, ErrGone
	}
	if err := p.watch(fd); err != nil {
		return nil, err
	}
	return p, nil
}

// watch closes done when the process ends. A pidfd that does not block waits in the runtime's poller, not in a thread.
func (p *Process) watch(fd int) error {
	if fd < 0 {
		return errors.New("watch process: the kernel gave no pidfd")
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("watch process: %w", err)
	}
	p.pidfd = os.NewFile(uintptr(fd), "pidfd")
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch process: %w", err)
	}
	go func() {
		_ = raw.Read(ended)
		close(p.done)
	}()
	return nil
}

func ended(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// Done is closed when the sandbox ended: its init, and with it every process inside.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the sandbox at once, by ending its init; one that ended already is no error.
func (p *Process) Kill() error {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return fmt.Errorf("kill sandbox %d: %w", p.PID, err)
	}
	// Control keeps the descriptor from being closed, and its number used again, meanwhile.
	var kerr error
	if err := raw.Control(func(fd uintptr) { kerr = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) }); err != nil {
		return nil //nolint:nilerr // closed: it was waited for
	}
	if kerr != nil && !errors.Is(kerr, unix.ESRCH) {
		return fmt.Errorf("kill sandbox %d: %w", p.PID, kerr)
	}
	return nil
}

// Wait waits for the end and gives back what the sandbox held. An init that was killed leaves no exit: the error
// says so for an attached sandbox and a detached one alike.
func (p *Process) Wait() (Exit, error) {
	p.once.Do(func() { p.exit, p.err = p.wait() })
	return p.exit, p.err
}

func (p *Process) wait() (Exit, error) {
	<-p.done
	if p.release != nil {
		p.release()
	}
	var werr error
	if p.cmd != nil {
		werr = p.cmd.Wait()
	}
	_ = p.pidfd.Close()
	if p.dir != "" {
		return p.detachedExit()
	}
	exit, err := p.attachedExit()
	if p.tty != nil {
		p.tty.finish()
		p.tty.close()
	}
	if p.group.oomKills() > 0 && exit.Code != 0 {
		exit.Reason = guest.OutOfMemory
	}
	_ = p.group.remove()
	// Copying the streams may have failed though the command ended well.
	var exitErr *exec.ExitError
	if err == nil && werr != nil && !errors.As(werr, &exitErr) {
		err = fmt.Errorf("copy the sandbox's output: %w", werr)
	}
	return exit, err
}

func (p *Process) detachedExit() (Exit, error) {
	exit, err := ReadExit(p.dir)
	if errors.Is(err, os.ErrNotExist) {
		return Exit{Code: 137, Signal: "KILL", At: time.Now()}, errNoExit
	}
	return exit, err
}

func (p *Process) attachedExit() (Exit, error) {
	if p.told != nil {
		if exit := <-p.told; exit != nil {
			return *exit, nil
		}
	}
	return Exit{Code: 137, Signal: "KILL", At: time.Now()}, errNoExit
}

// follow takes the exit from the channel of an attached sandbox and keeps the channel open, whose end the init takes
// for our death. A detached one is let go.
func (p *Process) follow(c *guest.Conn, early *Exit) {
	if p.dir != "" {
		c.Close()
		return
	}
	p.told = make(chan *Exit, 1)
	if early != nil {
		p.told <- early
		c.Close()
		return
	}
	go func() {
		defer c.Close()
		m, _, files, err := c.Receive()
		guest.CloseAll(files)
		if err != nil {
			m.Exit = nil
		}
		p.told <- m.Exit
	}()
}

// useTerminal connects the streams of an attached sandbox to its terminal.
func (p *Process) useTerminal(terminal *os.File, s Spec) {
	p.tty = &execStreams{done: make(chan struct{})}
	p.tty.useTerminal(terminal, ExecSpec{Stdin: s.Stdin, Stdout: s.Stdout, Resize: s.TTY.Resize})
}

// ReadExit reads the exit of a detached sandbox; os.ErrNotExist while it runs or when its init was killed.
func ReadExit(dir string) (Exit, error) {
	data, err := os.ReadFile(filepath.Join(dir, "exit"))
	if err != nil {
		return Exit{}, fmt.Errorf("read exit: %w", err)
	}
	var exit Exit
	if err := json.Unmarshal(data, &exit); err != nil {
		return Exit{}, fmt.Errorf("read exit: %w", err)
	}
	return exit, nil
}

// BootID names this run of the machine's kernel.
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// readStat gives the start time of a process, field 22 of /proc/PID/stat (proc(5)), and whether it ended and only
// waits for its parent. The second field may hold spaces and brackets.
func readStat(pid int) (started uint64, zombie bool, err error) {
	data, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return 0, false, fmt.Errorf("read process %d: %w", pid, err)
	}
	i := bytes.LastIndexByte(data, ')')
	fields := strings.Fields(string(data[i+1:]))
	if i < 0 || len(fields) < 20 {
		return 0, false, fmt.Errorf("read process %d: stat has an unknown form", pid)
	}
	started, err = strconv.ParseUint(fields[19], 10, 64)
	return started, fields[0] == "Z" || fields[0] == "X", err
}
