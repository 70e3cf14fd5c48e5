package sandbox

import (
	"cmp"
	"fmt"
	"os"
	"syscall"

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

// mapIdentities hands all the ids of a system on to a sandbox, each as it is, or only our own as 0. A line of a map
// must lie within one line of ours (user_namespaces(7)), so there are as many.
func mapIdentities(attr *syscall.SysProcAttr) {
	const uidMap, gidMap = "/proc/self/uid_map", "/proc/self/gid_map"
	if os.Geteuid() != 0 || guest.AvailableIDs(uidMap) < guest.FullRange || guest.AvailableIDs(gidMap) < guest.FullRange {
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
		return
	}
	attr.UidMappings, attr.GidMappings = sameIDs(uidMap), sameIDs(gidMap)
	attr.GidMappingsEnableSetgroups = true
}

// sameIDs maps 0 to 65535 to themselves, line by line of a map file that has them all.
func sameIDs(mapFile string) []syscall.SysProcIDMap {
	var list []syscall.SysProcIDMap
	for _, r := range guest.ReadMap(mapFile) {
		if r.Inside < guest.FullRange {
			list = append(list, syscall.SysProcIDMap{ContainerID: r.Inside, HostID: r.Inside, Size: min(r.Count, guest.FullRange-r.Inside)})
		}
	}
	return list
}
