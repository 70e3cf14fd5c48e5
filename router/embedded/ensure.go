package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

const (
	startPatience = 10 * time.Second
	endPatience   = 2 * time.Second
	logLimit      = 16 << 20 // router.log is moved to router.log.1 at a start when it is longer
)

// Ensure returns a client of the router that runs in dir, starting one when none does: exe with args (which say the
// same dir), detached from the caller: its own session, working folder "/", output to router.log in dir, no inherited
// descriptors, and where it is allowed its own cgroup. It returns when the router answers.
func Ensure(ctx context.Context, dir, exe string, args []string) (*Client, error) {
	c := NewClient(dir)
	_, err := c.Status(ctx)
	if err == nil || !errors.Is(err, router.ErrUnavailable) {
		return c, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start router: %w", err)
	}
	out, err := openLog(filepath.Join(dir, logName))
	if err != nil {
		return nil, fmt.Errorf("start router: %w", err)
	}
	defer out.Close()
	begin, _ := out.Seek(0, io.SeekEnd)
	cmd, err := startDetached(exe, args, os.Environ(), nil, out, out)
	if err != nil {
		return nil, fault.New(fault.Failed, "start router %s: %w", exe, err)
	}
	leaveCgroup(cmd.Process.Pid)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // reaps it while we live; init does afterwards
	}()
	pid, err := awaitAnswer(ctx, c, ended)
	if pid != cmd.Process.Pid {
		// Another one was started at the same time and won, or ours does not answer: it must not wait to take over later.
		_ = cmd.Process.Signal(syscall.SIGTERM)
		awaitExit(cmd, ended)
	}
	if err != nil {
		return nil, fault.New(fault.Failed, "start router: %w%s", err, tail(filepath.Join(dir, logName), begin)).
			WithHint("its output is in %s", filepath.Join(dir, logName))
	}
	return c, nil
}

// awaitAnswer waits for a router to answer, ours or another one, and gives its process id.
func awaitAnswer(ctx context.Context, c *Client, ended <-chan struct{}) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var over <-chan time.Time // time left for another one once ours has ended
	for {
		s, err := c.Status(ctx)
		if err == nil {
			return s.PID, nil
		}
		select {
		case <-tick.C:
		case <-ended:
			ended, over = nil, time.After(time.Second)
		case <-over:
			return 0, errors.New("the process ended at once")
		case <-ctx.Done():
			return 0, fmt.Errorf("it does not answer: %w", ctx.Err())
		}
	}
}

// awaitExit waits for a process that was asked to end, and kills it when it does not.
func awaitExit(cmd *exec.Cmd, ended <-chan struct{}) {
	select {
	case <-ended:
	case <-time.After(endPatience):
		_ = cmd.Process.Kill()
		<-ended
	}
}

// startDetached starts a process in its own session in "/", without any descriptor but files (from 3 on) and its output.
func startDetached(exe string, args, env []string, files []*os.File, stdout, stderr *os.File) (*exec.Cmd, error) {
	// Whoever started us may have left descriptors open that we do not know of.
	if err := unix.CloseRange(firstFd, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		closeOnExecAll()
	}
	cmd := exec.Command(exe, args...)
	cmd.Dir, cmd.Env, cmd.ExtraFiles = "/", env, files
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, cmd.Start()
}

// closeOnExecAll is for kernels before 5.11.
func closeOnExecAll() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= firstFd {
			unix.CloseOnExec(fd)
		}
	}
}

func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > logLimit {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// tail is what was written to the log since begin, at most its last 2 KB, for an error message.
func tail(path string, begin int64) string {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) <= begin {
		return ""
	}
	b = b[begin:]
	if len(b) > 2048 {
		b = b[len(b)-2048:]
	}
	return ": " + string(bytes.TrimSpace(b))
}

// leaveCgroup moves a process out of the caller's cgroup where service managers kill by cgroup: the unified hierarchy,
// and systemd's named one of version 1. It goes beside the first ancestor that lets it. Where that is not allowed the
// process stays: then stopping the caller's service stops it too, and the next start brings it back.
func leaveCgroup(pid int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 || part[2] == "/" {
			continue
		}
		var mounts []string
		switch part[1] {
		case "":
			mounts = []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}
		case "name=systemd":
			mounts = []string{"/sys/fs/cgroup/systemd"}
		}
		for _, mount := range mounts {
			if _, err := os.Stat(filepath.Join(mount, "cgroup.procs")); err == nil {
				moveBeside(mount, part[2], pid)
				break
			}
		}
	}
}

// moveBeside puts the process into a group of routers, without limits, next to one of own's ancestors or next to own itself.
func moveBeside(mount, own string, pid int) {
	for parent := filepath.Dir(own); ; parent = filepath.Dir(parent) {
		group := filepath.Join(mount, parent, "release-router")
		err := os.Mkdir(group, 0o755)
		if err == nil || errors.Is(err, os.ErrExist) {
			if os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(fmt.Sprint(pid)), 0) == nil {
				return
			}
		}
		if err == nil {
			_ = os.Remove(group)
		}
		if parent == "/" {
			return
		}
	}
}
