package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/pid1"
	"github.com/bootandshoot/release/supervisor"
)

// defaultPath is where programs are looked for when the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// spawn starts a service in a session of its own, as its user, without a shell.
func spawn(s supervisor.Service, out *streams) (pid int, err error) {
	env := overlay(os.Environ(), s.Env)
	sys := &syscall.SysProcAttr{Setsid: true}
	if s.User != "" {
		account, err := account(s.User)
		if err != nil {
			return 0, err
		}
		sys.Credential = credential(account)
		if !has(s.Env, "HOME") {
			env = overlay(env, []string{"HOME=" + account.Home})
		}
	}
	dir := s.Dir
	if dir == "" {
		if dir, err = os.Getwd(); err != nil {
			return 0, fmt.Errorf("find working folder: %w", err)
		}
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("make working folder: %w", err)
	}
	file, err := lookPath(s.Cmd[0], dir, env)
	if err != nil {
		return 0, err
	}
	files, done, err := out.of(s.Name)
	if err != nil {
		return 0, err
	}
	defer done()
	pid, err = syscall.ForkExec(file, s.Cmd, &syscall.ProcAttr{Dir: dir, Env: env, Files: files, Sys: sys})
	if err != nil {
		return 0, fmt.Errorf("run %s%s: %w", file, asUser(s.User), explain(err))
	}
	return pid, nil
}

func asUser(user string) string {
	if user == "" {
		return ""
	}
	return " as " + user
}

// explain tells the two meanings of "no such file" apart, and says what an id that is not there means.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("its interpreter or loader is not in the image: %w", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the user's id is not available here: %w", err)
	}
	return err
}

// account reads the image's files anew at each start: a service before may have added the user.
func account(user string) (supervisor.Account, error) {
	passwd, err := optional("/etc/passwd")
	if err != nil {
		return supervisor.Account{}, err
	}
	group, err := optional("/etc/group")
	if err != nil {
		return supervisor.Account{}, err
	}
	return supervisor.FindAccount(user, passwd, group)
}

func optional(file string) (string, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(data), err
}

// credential leaves the groups alone in a user namespace that may not set them.
func credential(a supervisor.Account) *syscall.Credential {
	text, _ := optional("/proc/self/setgroups")
	return &syscall.Credential{Uid: a.UID, Gid: a.GID, Groups: a.Groups, NoSetGroups: strings.TrimSpace(text) == "deny"}
}

// overlay lays variables over others.
func overlay(under, over []string) []string {
	var list []string
	for _, kv := range under {
		if name, _, _ := strings.Cut(kv, "="); !has(over, name) {
			list = append(list, kv)
		}
	}
	return append(list, over...)
}

func has(env []string, name string) bool {
	_, ok := get(env, name)
	return ok
}

func get(env []string, name string) (string, bool) {
	for _, kv := range env {
		if n, v, ok := strings.Cut(kv, "="); ok && n == name {
			return v, true
		}
	}
	return "", false
}

// lookPath finds a program by its name in PATH, or by its path. Running it is what checks permissions for the user.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join(dir, name)
		}
		_, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			err = pid1.NoProgram(name, "")
		}
		return name, err
	}
	folders, ok := get(env, "PATH")
	if !ok || folders == "" {
		folders = defaultPath
	}
	for f := range strings.SplitSeq(folders, ":") {
		full := path.Join("/", f, name)
		if info, err := os.Stat(full); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return full, nil
		}
	}
	return "", pid1.NoProgram(name, folders)
}
