package hook

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sweep ends the commands that an agent left which was killed, and removes their folders.
func sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, runPattern))
	if err != nil || len(left) == 0 {
		return err
	}
	if err := killAll(left); err != nil {
		return err
	}
	for _, folder := range left {
		err = errors.Join(err, os.RemoveAll(folder))
	}
	return err
}

// killAll kills every process whose environment names one of the folders. What it starts meanwhile is found by looking again; one
// that hangs in the kernel is left to it after a second.
func killAll(folders []string) error {
	again := true
	for range 100 {
		if !again {
			return nil
		}
		again = false
		processes, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return err
		}
		for _, path := range processes {
			pid, err := strconv.Atoi(filepath.Base(path))
			if err != nil || pid == os.Getpid() {
				continue
			}
			killed, err := killIf(pid, folders)
			if err != nil {
				return err
			}
			again = again || killed
		}
		if again {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// killIf kills one process if it is a command's. The descriptor makes sure that the process that was looked at is the one killed.
func killIf(pid int, folders []string) (killed bool, err error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, nil // it is gone, or no leader of its threads
	}
	defer unix.Close(fd)
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ESRCH) {
		return false, nil // gone, or somebody else's
	}
	if err != nil || !ofFolder(env, folders) {
		return false, err
	}
	err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	return err == nil, err
}

func ofFolder(env []byte, folders []string) bool {
	for pair := range bytes.SplitSeq(env, []byte{0}) {
		value, ok := strings.CutPrefix(string(pair), FolderVar+"=")
		for _, folder := range folders {
			if ok && value == folder {
				return true
			}
		}
	}
	return false
}

func signalName(s syscall.Signal) string { return strings.TrimPrefix(unix.SignalName(s), "SIG") }
