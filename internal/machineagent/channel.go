package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/machinechannel"
	"github.com/bootandshoot/release/internal/pid1"
	"github.com/bootandshoot/release/internal/treecopy"
)

// portOf is the device of a port of this machine; "": whoever runs it has none of that name.
func portOf(name string) string {
	list, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return ""
	}
	for _, file := range list {
		if got, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(got)) == name {
			return "/dev/" + filepath.Base(filepath.Dir(file))
		}
	}
	return ""
}

// openPort opens a port of this machine; nil: there is none of that name.
func openPort(name string, flag int) *os.File {
	device := portOf(name)
	if device == "" {
		return nil
	}
	f, err := os.OpenFile(device, flag, 0)
	if err != nil {
		say("port " + name + ": " + err.Error())
		return nil
	}
	return f
}

// guest is what commands are run in beside the services. [machinechannel.Machine]
type guest struct {
	children *children
	stop     func(syscall.Signal) error // asks the services to end
	env      []string
	dir      string
	user     string // "" is root
}

// serve answers on the control line, for as long as the machine lives.
func (g guest) serve() {
	port := openPort(machinechannel.ControlPort, os.O_RDWR)
	if port == nil {
		return
	}
	if err := machinechannel.Serve(context.Background(), port, g); err != nil {
		say("control line: " + err.Error())
	}
}

// Stop implements machinechannel.Machine.
func (g guest) Stop(signal string) error {
	n := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(signal), "SIG"))
	if n == 0 {
		return fmt.Errorf("there is no signal %s", signal)
	}
	return g.stop(n)
}

// Start implements machinechannel.Machine.
func (g guest) Start(args, env []string, files [3]*os.File, terminal bool) (machinechannel.Process, error) {
	over := map[string]string{}
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		over[name] = value
	}
	all := overlay(g.env, over)
	path, err := find(args[0], all)
	if err != nil {
		return nil, err
	}
	attr := &syscall.ProcAttr{Dir: g.dir, Env: all, Sys: &syscall.SysProcAttr{Setsid: true, Setctty: terminal}}
	if g.user != "" {
		uid, gid, err := owner(g.user)
		if err != nil {
			return nil, fmt.Errorf("run %s as %s: %w", args[0], g.user, err)
		}
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		for _, f := range files { // /dev/stdout may be opened anew
			_ = f.Chown(uid, gid)
		}
	}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	pid, ended, err := g.children.start(append([]string{path}, args[1:]...), attr)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", args[0], err)
	}
	return process{pid, ended}, nil
}

// CopyOut implements machinechannel.Machine.
func (g guest) CopyOut(path string, to io.Writer) error {
	root, err := os.Open("/")
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := treecopy.Open(root, path)
	if treecopy.IsAbsent(err) {
		return fs.ErrNotExist
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return treecopy.Write(to, f)
}

// find looks a program up in the PATH of an environment.
func find(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, kv := range env {
		list, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return path, nil
			}
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

type process struct {
	pid   int
	ended <-chan syscall.WaitStatus
}

func (p process) Kill() { _ = syscall.Kill(-p.pid, unix.SIGKILL) }

func (p process) Wait() machinechannel.Exit { return exitOf(<-p.ended) }

func exitOf(s syscall.WaitStatus) machinechannel.Exit {
	if s.Signaled() {
		return machinechannel.Exit{Code: 128 + int(s.Signal()), Signal: pid1.SignalName(s.Signal())}
	}
	return machinechannel.Exit{Code: s.ExitStatus()}
}

// tellExit says how the services ended to whoever runs the machine.
func tellExit(e machinechannel.Exit) {
	port := openPort(machinechannel.ExitPort, os.O_WRONLY)
	if port == nil {
		return
	}
	defer port.Close()
	data, err := json.Marshal(e)
	if err == nil {
		_, err = port.Write(append(data, '\n'))
	}
	if err != nil {
		say("tell the exit: " + err.Error())
	}
}

// outOfMemory says that the kernel has ended a process for want of memory.
func outOfMemory() bool {
	data, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strings.TrimSpace(count) != "0"
		}
	}
	return false
}
