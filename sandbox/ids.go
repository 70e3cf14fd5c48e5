package sandbox

import (
	"cmp"
	"fmt"
	"os"

	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// AllIDs reports whether sandboxes of this process have all the ids of a system, 0 to 65535. Without, they have root's
// only, so that a command cannot give files to others.
func AllIDs() bool {
	return os.Geteuid() == 0 && guest.AvailableIDs("/proc/self/uid_map") >= guest.FullRange &&
		guest.AvailableIDs("/proc/self/gid_map") >= guest.FullRange
}

// IDsHint is what an ordinary user types who lacks them.
func IDsHint() string {
	return fmt.Sprintf("give the account a range of ids: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s (and apt install uidmap)",
		cmp.Or(os.Getenv("SUDO_USER"), os.Getenv("USER"), "$USER"))
}
