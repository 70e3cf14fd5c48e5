package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Running is a process of a sandbox.
type Running struct {
	PID     int    // in the caller's numbering
	Program string // the path of its program as the sandbox sees it
	Gone    bool   // there is no file of that path any more, or there never was
}

// deleted is what the kernel adds to the path of a program without a file (proc_pid_exe(5)).
const deleted = " (deleted)"

// Processes lists what runs in the sandbox beside its init. Processes that end meanwhile are left out, and those that are
// still the init's own, just before their program starts.
func (p *Process) Processes() ([]Running, error) {
	var init unix.Stat_t
	if err := unix.Stat(procPath(p.PID, "exe"), &init); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil, ErrGone
		}
		return nil, fmt.Errorf("list processes of sandbox %d: %w", p.PID, err)
	}
	var list []Running
	for next := []int{p.PID}; len(next) > 0; {
		pid := next[0]
		children, err := childrenOf(pid)
		if err != nil {
			return nil, fmt.Errorf("list processes of sandbox %d: %w", p.PID, err)
		}
		next = append(next[1:], children...)
		if pid == p.PID {
			continue
		}
		r, err := running(pid, &init)
		if err != nil {
			return nil, fmt.Errorf("list processes of sandbox %d: %w", p.PID, err)
		}
		if r.PID != 0 {
			list = append(list, r)
		}
	}
	return list, nil
}

// childrenOf reads /proc/PID/task/TID/children of all threads (proc_pid_task(5)). Whatever the sandbox runs descends from
// its init, which adopts orphans.
func childrenOf(pid int) ([]int, error) {
	tasks, err := filepath.Glob(procPath(pid, "task/*/children"))
	if err != nil {
		return nil, err
	}
	var list []int
	for _, file := range tasks {
		data, err := os.ReadFile(file)
		if gonePid(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, field := range strings.Fields(string(data)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			list = append(list, child)
		}
	}
	return list, nil
}

// running is a process by its number; without one when it ended, or is the init's own still.
func running(pid int, init *unix.Stat_t) (Running, error) {
	program, err := os.Readlink(procPath(pid, "exe"))
	if gonePid(err) {
		return Running{}, nil
	}
	if err != nil {
		return Running{}, err
	}
	var st unix.Stat_t
	if err := unix.Stat(procPath(pid, "exe"), &st); err == nil && st.Dev == init.Dev && st.Ino == init.Ino {
		return Running{}, nil
	}
	path, gone := strings.CutSuffix(program, deleted)
	return Running{PID: pid, Program: path, Gone: gone}, nil
}

// gonePid says whether an error means that a process ended while it was looked at.
func gonePid(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// MountPoints lists where something is mounted in the sandbox, "/" included, in the order of mounting.
func (p *Process) MountPoints() ([]string, error) {
	data, err := os.ReadFile(procPath(p.PID, "mountinfo"))
	if gonePid(err) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("list mounts of sandbox %d: %w", p.PID, err)
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 {
			list = append(list, unescape(f[4]))
		}
	}
	return list, nil
}

// unescape reads the octal escapes of mountinfo: space, tab, line end and backslash.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
