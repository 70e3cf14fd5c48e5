// Package pid1 is what every first process of a container needs: it takes the children that ended, orphans included, and tells
// signals apart. It imports little, for such a process starts early.
package pid1

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reap takes every child that has ended and hands each to ended. It does not wait for one.
func Reap(ended func(pid int, status syscall.WaitStatus)) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		ended(pid, status)
	}
}

// Incidental says that a signal is not for the command: it tells of a child, is the Go runtime's own, or only concerns who
// reads and writes.
func Incidental(s syscall.Signal) bool {
	switch s {
	case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGTTIN, unix.SIGTTOU:
		return true
	}
	return false
}

// NoProgram says that an image has no such program; folders is the PATH in which it was looked for, "" for one that is named by its
// path. It is os.ErrNotExist.
func NoProgram(name, folders string) error {
	if folders == "" {
		return noProgram(fmt.Sprintf("the program %s is not in the image: no such file", name))
	}
	return noProgram(fmt.Sprintf("the program %s is not in the image: it is not in PATH %q", name, folders))
}

type noProgram string

func (e noProgram) Error() string        { return string(e) }
func (e noProgram) Is(target error) bool { return target == os.ErrNotExist }

// SignalName is the name without SIG, else the number.
func SignalName(s syscall.Signal) string {
	if name := unix.SignalName(s); len(name) > 3 {
		return name[3:]
	}
	return fmt.Sprint(int(s))
}
