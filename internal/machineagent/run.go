package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/pid1"
)

// run starts the supervisor and returns when it has ended.
func run(c config, env []string) error {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	pressed := make(chan struct{}, 1)
	watchButton(pressed)
	dir := c.Dir
	if dir == "" {
		dir = "/"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pid, err := syscall.ForkExec(c.Supervise[0], c.Supervise, &syscall.ProcAttr{Dir: dir, Env: env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return fmt.Errorf("run %s: %w", c.Supervise[0], err)
	}
	for {
		if status, done := reap(pid); done {
			if status.ExitStatus() != 0 {
				return fmt.Errorf("the services ended with %s", describe(status))
			}
			return nil
		}
		select {
		case <-pressed:
			_ = syscall.Kill(pid, unix.SIGTERM)
		case s := <-signals:
			if n, ok := s.(syscall.Signal); ok && (n == unix.SIGTERM || n == unix.SIGINT || n == unix.SIGPWR) {
				_ = syscall.Kill(pid, unix.SIGTERM)
			}
		}
	}
}

func reap(pid int) (of syscall.WaitStatus, done bool) {
	pid1.Reap(func(ended int, status syscall.WaitStatus) {
		if ended == pid {
			of, done = status, true
		}
	})
	return of, done
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

// powerOff ends all that runs, and the machine.
func powerOff() {
	_ = syscall.Kill(-1, unix.SIGTERM)
	for end := time.Now().Add(lastWords); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		pid1.Reap(func(int, syscall.WaitStatus) {})
		if err := syscall.Kill(-1, 0); err != nil { // nobody is left
			break
		}
	}
	_ = syscall.Kill(-1, unix.SIGKILL)
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		say("power off: " + err.Error())
	}
	select {} // PID 1 must not end
}
