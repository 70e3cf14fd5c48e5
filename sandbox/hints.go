package sandbox

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

// initHint maps what the init could not do to the next step.
type initHint struct {
	what, why string // parts of the message; "" matches all
	code      fault.Code
	hint      string
}

func (h initHint) matches(text string) bool {
	return strings.Contains(text, h.what) && strings.Contains(text, h.why)
}

var initHints = []initHint{
	{"mount overlay", "invalid argument", fault.Unsupported,
		"the state folder's file system cannot hold an overlay's upper folder (it is an overlay or a network file system itself): set RELEASE_STATE_DIR to a folder on ext4, xfs, btrfs or tmpfs"},
	{"mount overlay", "operation not permitted", fault.Denied,
		"this kernel mounts no overlay in a user namespace: Linux 5.12 or newer is needed"},
	{"mount overlay", "no such device", fault.Unsupported,
		"this kernel has no overlay file system: modprobe overlay"},
	{"mount proc", "operation not permitted", fault.Denied,
		"/proc of this machine is masked, as in a container: run outside of the container, or with /proc unmasked (docker run --security-opt systempaths=unconfined)"},
	{"", "function not implemented", fault.Unsupported, "Linux 5.12 or newer is needed"},
	{"", "no space left on device", fault.NoSpace, "free some disk space or inodes, then try again"},
	{"", "permission denied", fault.Denied,
		"the folders of the image and of the node must be reachable by this user: check the permissions of the folders above them"},
}

func explainClone(err error) error {
	code := fault.Failed
	hint := ""
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		code, hint = fault.Denied, "the kernel refuses user namespaces to this process: run `release doctor`"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		code, hint = fault.Denied, "raise user.max_user_namespaces: sysctl -w user.max_user_namespaces=15000"
	case errors.Is(err, unix.EINVAL):
		code, hint = fault.Unsupported, "this kernel lacks a namespace: run `release doctor`"
	case errors.Is(err, unix.EAGAIN):
		hint = "the limit of processes is reached: raise `ulimit -u` or stop other nodes"
	}
	return fault.New(code, "clone into new namespaces: %w", err).WithHint("%s", hint)
}

// explainInit puts the next step to what the init could not do.
func explainInit(text string) error {
	e := fault.New(fault.Failed, "%s", text)
	for _, x := range initHints {
		if x.matches(text) {
			e.Code = x.code
			return e.WithHint("%s", x.hint)
		}
	}
	return e
}
