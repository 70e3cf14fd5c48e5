package sandbox

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
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
	return "give the account a range of ids: sudo " + giveRange(cmp.Or(accountName(), os.Getenv("USER"), "$USER")) + " (and apt install uidmap)"
}

// giveRange is the command that gives an account a range of ids.
func giveRange(account string) string {
	var texts []string
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		data, _ := os.ReadFile(file) // without it nobody has a range
		texts = append(texts, string(data))
	}
	first := freeRange(texts...)
	last := first + guest.FullRange - 1
	return fmt.Sprintf("usermod --add-subuids %d-%d --add-subgids %d-%d %s", first, last, first, last, account)
}

// firstSubordinate is where the ranges of accounts begin, SUB_UID_MIN of login.defs(5).
const firstSubordinate = 100000

// freeRange is where a range begins that no account has in any of these texts, in the form of subuid(5).
func freeRange(texts ...string) int {
	var taken []guest.Range
	for _, text := range texts {
		for line := range strings.Lines(text) {
			if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 3 {
				taken = append(taken, parseRanges(line, f[0], -1)...)
			}
		}
	}
	slices.SortFunc(taken, func(a, b guest.Range) int { return cmp.Compare(a.Start, b.Start) })
	first := firstSubordinate
	for _, r := range taken {
		if r.Start < first+guest.FullRange && r.Start+r.Count > first {
			first = r.Start + r.Count
		}
	}
	return first
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
