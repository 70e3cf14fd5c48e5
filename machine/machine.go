package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

// Machine is a machine that was started, here or by somebody before.
type Machine struct {
	PID  int
	dir  string
	proc *os.File      // a descriptor of the process; nil: it was gone already
	done chan struct{} // closed when the process is gone

	waiting sync.Mutex // held by who listens for the end
}

// Start runs a machine and returns when QEMU answers. The folder must not hold a running one: that is fault.Exists. When the
// context ends before, nothing is left running. Errors of QEMU itself, such as a port that is taken, are fault.Failed with its
// words.
func Start(ctx context.Context, s Spec) (*Machine, error) {
	s = s.withDefaults()
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := haveQEMU(); err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	cmd, err := s.spawn()
	if err != nil {
		return nil, err
	}
	m, err := adopt(s.Dir, cmd.Process.Pid)
	if err == nil {
		err = m.awaitAnswer(ctx)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("run a machine in %s: %w", s.Dir, err)
	}
	go func() { _ = cmd.Wait() }() // reaped, should it end before us
	return m, nil
}

// prepare makes the machine's folder.
func (s Spec) prepare() error {
	if m, err := Open(s.Dir); err == nil {
		if !m.Gone() {
			return fault.New(fault.Exists, "run a machine: %s is that of a machine that runs, process %d", s.Dir, m.PID)
		}
	} else if !fault.Is(err, fault.NotFound) {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("run a machine: %w", err)
	}
	old := []string{recordFile, exitFile, commandSock, eventSock}
	for _, p := range s.Ports {
		old = append(old, p.File)
	}
	for _, name := range old {
		if err := os.Remove(filepath.Join(s.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("run a machine: %w", err)
		}
	}
	if s.Kernel != nil {
		return nil
	}
	if err := s.Firmware.there(); err != nil {
		return err
	}
	vars, err := os.ReadFile(s.Firmware.Vars)
	if err != nil {
		return fmt.Errorf("run a machine: %w", err)
	}
	return os.WriteFile(filepath.Join(s.Dir, varsFile), vars, 0o600)
}

// HaveFirmware says why a machine could not boot by the firmware that Debian installs: fault.Unsupported where it is missing.
func HaveFirmware() error { return Firmware{Code: ovmfCode, Vars: ovmfVars}.there() }

func (f Firmware) there() error {
	for _, file := range []string{f.Vars, f.Code} {
		_, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) {
			return fault.New(fault.Unsupported, "run a machine: no UEFI firmware: %w", err).WithHint("install it, for instance: sudo apt-get install ovmf")
		}
		if err != nil {
			return fmt.Errorf("run a machine: %w", err)
		}
	}
	return nil
}

// spawn starts QEMU in a session of its own, without a descriptor of ours but the settings.
func (s Spec) spawn() (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(s.Dir, qemuLog), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("run a machine: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(qemu, s.arguments()...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	for _, v := range s.Settings {
		f, err := inMemory(v)
		if err != nil {
			return nil, fmt.Errorf("run a machine: %w", err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run a machine: %w", err)
	}
	return cmd, nil
}

// inMemory is a file with the data of a setting that is in no folder.
func inMemory(v Setting) (*os.File, error) {
	fd, err := unix.MemfdCreate("setting", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("keep a setting in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), v.Name)
	if _, err := f.Write(v.Data); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("keep a setting in memory: %w", err)
	}
	return f, nil
}

// adopt records a process as the machine's.
func adopt(dir string, pid int) (*Machine, error) {
	r, err := newRecord(pid)
	if err != nil {
		return nil, errors.Join(err, said(dir))
	}
	if err := r.write(dir); err != nil {
		return nil, err
	}
	return Open(dir)
}

// Open finds the machine of a folder again, running or not. A folder without one is fault.NotFound.
func Open(dir string) (*Machine, error) {
	r, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	m := &Machine{PID: r.PID, dir: dir, done: make(chan struct{})}
	if m.proc, err = r.open(); err != nil {
		return nil, err
	}
	if m.proc == nil {
		close(m.done)
		return m, nil
	}
	raw, err := m.proc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", r.PID, err)
	}
	go func() {
		defer close(m.done)
		_ = raw.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return err == nil && n > 0
		})
	}()
	return m, nil
}

// Gone reports whether the machine's process is gone. One that ended by itself is not gone before Wait asked how.
func (m *Machine) Gone() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// Done is closed when the process is gone.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Console is the path of what the machine wrote to its serial line.
func (m *Machine) Console() string { return filepath.Join(m.dir, consoleFile) }

const pollEvery = 10 * time.Millisecond

// awaitAnswer waits until QEMU listens. Nobody says when: its socket is tried.
func (m *Machine) awaitAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		c, err := dialMonitor(ctx, filepath.Join(m.dir, commandSock))
		if err == nil {
			c.close()
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fault.New(fault.Failed, "QEMU does not answer: %w", ctx.Err()), said(m.dir))
		case <-m.done:
			return said(m.dir)
		case <-time.After(pollEvery):
		}
	}
}

// said is what QEMU wrote, as an error.
func said(dir string) error {
	f, err := os.Open(filepath.Join(dir, qemuLog))
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return err
	}
	return fault.New(fault.Failed, "QEMU says: %s", strings.TrimSpace(string(text))).
		WithHint("%s has all that it says", filepath.Join(dir, qemuLog))
}
