package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/machinechannel"
	"github.com/bootandshoot/release/internal/pid1"
)

// run runs the services, or what the settings say instead, and returns when they have ended. Whoever runs the machine is told how. The
// first program of a machine also answers on the control line, and to the power button.
func run(c config, command, env []string, first bool) error {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	pressed := make(chan struct{}, 1)
	dir := c.Dir
	if dir == "" {
		dir = "/"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	out := &output{console: os.Stdout, log: writerOf(openPort(machinechannel.LogPort, os.O_WRONLY)), now: time.Now}
	g := guest{children: &children{}, env: env, dir: dir, user: c.User}
	pid, ended, err := g.startServices(c, command, out)
	if err != nil {
		return err
	}
	if first {
		g.stop = func(n syscall.Signal) error {
			if err := syscall.Kill(pid, n); !errors.Is(err, syscall.ESRCH) {
				return err
			}
			return nil // they have ended, and the machine powers off
		}
		watchButton(pressed)
		go g.serve()
	}
	for {
		g.children.reap()
		select {
		case status := <-ended:
			return end(status, out.finish())
		case <-pressed:
			_ = syscall.Kill(pid, unix.SIGTERM)
		case s := <-signals:
			n, ok := s.(syscall.Signal)
			switch {
			case !ok || pid1.Incidental(n):
			case !first: // systemd sends what was asked for
				_ = syscall.Kill(pid, n)
			case n == unix.SIGTERM || n == unix.SIGINT || n == unix.SIGPWR:
				_ = syscall.Kill(pid, unix.SIGTERM)
			}
		}
	}
}

// writerOf keeps a file that is not there from being taken for one.
func writerOf(f *os.File) io.Writer {
	if f == nil {
		return nil
	}
	return f
}

// startServices runs the supervisor.
func (g guest) startServices(c config, command []string, out *output) (pid int, ended <-chan syscall.WaitStatus, err error) {
	argv, err := supervise(c, command)
	if err != nil {
		return 0, nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	files := []uintptr{null.Fd()}
	for _, stream := range []string{"out", "err"} {
		w, err := out.pipe(stream)
		if err != nil {
			return 0, nil, err
		}
		defer w.Close()
		files = append(files, w.Fd())
	}
	pid, ended, err = g.children.start(argv, &syscall.ProcAttr{Dir: g.dir, Env: g.env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		err = fmt.Errorf("run %s: %w", argv[0], err)
	}
	return pid, ended, err
}

// Exit codes of a service that could not be started (package supervisor).
const noAccess, noProgram = 126, 127

// couldNot begins the reason why the supervisor could not start a service.
const couldNot = "could not start: "

// end tells how the services ended, and gives it as an error for the console. last is the last line of their error output.
func end(status syscall.WaitStatus, last string) error {
	e := exitOf(status)
	switch {
	case e.Code == 128+int(unix.SIGKILL) && outOfMemory():
		e.Signal, e.Reason = "KILL", "out of memory"
	case e.Code == noAccess || e.Code == noProgram:
		e.Reason = last
		if i := strings.Index(last, couldNot); i >= 0 {
			e.Reason = last[i:]
		}
	}
	e.At = time.Now().UTC()
	tellExit(e)
	if e.Code == 0 {
		return nil
	}
	return fmt.Errorf("the services ended with %s", describe(status))
}

func describe(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "signal " + pid1.SignalName(s.Signal())
	}
	return fmt.Sprintf("exit code %d", s.ExitStatus())
}

// Of input events (the kernel's include/uapi/linux/input.h) on machines of 64 bits.
const (
	eventSize = 24
	eventKey  = 1
	keyPower  = 116
)

// watchButton tells when the power button is pressed.
func watchButton(pressed chan<- struct{}) {
	list, err := filepath.Glob("/dev/input/event*")
	if err != nil {
		return
	}
	for _, name := range list {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		go func() {
			defer f.Close()
			event := make([]byte, eventSize)
			for {
				if n, err := f.Read(event); err != nil || n < eventSize {
					return
				}
				if isPower(event) {
					select {
					case pressed <- struct{}{}:
					default:
					}
				}
			}
		}()
	}
}

// isPower says that an event is the power key going down.
func isPower(event []byte) bool {
	return event[16] == eventKey && event[17] == 0 && event[18] == keyPower && event[19] == 0 && event[20] == 1
}

const lastWords = 5 * time.Second

// anybody says whether a process is left besides this one, whose children all others become.
func anybody() bool {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if pid <= 0 && !errors.Is(err, unix.EINTR) {
			return !errors.Is(err, unix.ECHILD)
		}
	}
}

// powerOff ends all that runs, and the machine.
func powerOff() {
	_ = syscall.Kill(-1, unix.SIGTERM)
	for end := time.Now().Add(lastWords); time.Now().Before(end) && anybody(); time.Sleep(10 * time.Millisecond) {
	}
	_ = syscall.Kill(-1, unix.SIGKILL)
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		say("power off: " + err.Error())
	}
	select {} // PID 1 must not end
}
