package sandbox

import (
	"strings"

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
