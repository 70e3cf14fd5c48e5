package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/pid1"
	"github.com/bootandshoot/release/supervisor"
)

// runner acts on what the machine decides. All of it runs on one goroutine.
type runner struct {
	machine  *supervisor.Machine
	services map[string]supervisor.Service
	pids     map[string]int // of the services that run
	names    map[int]string
	streams  *streams
}

func newRunner(c supervisor.Config) (*runner, error) {
	m, err := supervisor.New(c)
	if err != nil {
		return nil, err
	}
	// As PID 1 orphans are ours anyway; under an engine's own init they are by this.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the parent of orphans: %w", err)
	}
	r := &runner{machine: m, services: map[string]supervisor.Service{}, pids: map[string]int{}, names: map[int]string{}}
	others := false
	for _, s := range c.Services {
		r.services[s.Name] = s
		others = others || s.User != ""
	}
	r.streams, err = openStreams(c.Prefix, others)
	return r, err
}

// run lives until all is over.
func (r *runner) run(signals <-chan os.Signal) int {
	r.do(r.machine.Begin(time.Now()))
	for {
		if code, done := r.machine.Done(); done {
			r.endOrphans()
			r.streams.drain()
			return code
		}
		r.wait(signals)
	}
}

// wait waits for one thing to happen and acts on it.
func (r *runner) wait(signals <-chan os.Signal) {
	var due <-chan time.Time
	if at, ok := r.machine.Next(); ok {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case s := <-signals:
		r.onSignal(s)
		r.reap() // whatever the signal: one that tells of a child is lost while the queue is full
	case <-due:
		r.do(r.machine.Due(time.Now()))
	}
}

func (r *runner) onSignal(s os.Signal) {
	number, ok := s.(syscall.Signal)
	if !ok {
		return
	}
	if pid1.Incidental(number) {
		return
	}
	switch number {
	case unix.SIGTERM, unix.SIGINT, unix.SIGQUIT:
		r.do(r.machine.Stop(time.Now()))
	default:
		r.do(r.machine.Forward(pid1.SignalName(number)))
	}
}

// do acts, and on what comes of that.
func (r *runner) do(actions []supervisor.Action) {
	for len(actions) > 0 {
		a := actions[0]
		actions = append(actions[1:], r.act(a)...)
	}
}

func (r *runner) act(a supervisor.Action) []supervisor.Action {
	pid, runs := r.pids[a.Service]
	switch a.Kind {
	case supervisor.Say:
		say(a.Service + " " + a.Text)
	case supervisor.Start:
		return r.start(r.services[a.Service])
	case supervisor.Signal:
		if runs {
			_ = unix.Kill(pid, signalOf(a.Signal))
		}
	case supervisor.Kill:
		if runs {
			_ = unix.Kill(-pid, unix.SIGKILL)
		}
	}
	return nil
}

func (r *runner) start(s supervisor.Service) []supervisor.Action {
	pid, err := spawn(s, r.streams)
	if err != nil {
		status := supervisor.Status{Code: 126, Reason: "could not start: " + err.Error()}
		if errors.Is(err, os.ErrNotExist) {
			status.Code = 127
		}
		return r.machine.Ended(time.Now(), s.Name, status)
	}
	r.pids[s.Name], r.names[pid] = pid, s.Name
	return nil
}

// reap takes every child that ended, orphans included.
func (r *runner) reap() {
	pid1.Reap(func(pid int, status syscall.WaitStatus) {
		name, ok := r.names[pid]
		if !ok {
			return
		}
		// The rest of its group. The number is free from now on, but numbers are given in turn: not to another so soon.
		_ = unix.Kill(-pid, unix.SIGKILL)
		delete(r.names, pid)
		delete(r.pids, name)
		r.do(r.machine.Ended(time.Now(), name, statusOf(status)))
	})
}

// endOrphans ends what services left behind outside of their groups, before the last output is taken. Under another PID 1
// that one does it, and other processes may be none of ours.
func (r *runner) endOrphans() {
	if os.Getpid() == 1 {
		_ = unix.Kill(-1, unix.SIGKILL)
	}
}

func statusOf(w syscall.WaitStatus) supervisor.Status {
	if w.Signaled() {
		return supervisor.Status{Code: 128 + int(w.Signal()), Reason: "signal " + pid1.SignalName(w.Signal())}
	}
	return supervisor.Status{Code: w.ExitStatus()}
}

// signalOf is the number of a name without SIG, or of a number; TERM for what is neither.
func signalOf(name string) syscall.Signal {
	if s := unix.SignalNum("SIG" + name); s != 0 {
		return s
	}
	var n int
	if _, err := fmt.Sscan(name, &n); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n)
	}
	return unix.SIGTERM
}
