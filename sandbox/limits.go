package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ChangedLimit is a limit of a sandbox that is not what it was started with.
type ChangedLimit struct {
	Name       string // the file in the cgroup tree, such as memory.max
	Want, Have string
}

// ChangedLimits compares the limits of a sandbox that is in the group of that name with those it was started with. Where
// limits could not be set at its start, there is nothing to compare.
func ChangedLimits(group string, want Limits) []ChangedLimit {
	var list []ChangedLimit
	for _, dir := range findCgroup(group).dirs {
		for _, s := range append(settingsV2(want), settingsV1(want)...) {
			data, err := os.ReadFile(filepath.Join(dir, s.file))
			if err != nil || s.optional {
				continue // not in this tree
			}
			if have := strings.TrimSpace(string(data)); !sameLimit(s.controller, have, s.value) {
				list = append(list, ChangedLimit{Name: s.file, Want: s.value, Have: have})
			}
		}
	}
	return list
}

// sameLimit compares two values; the kernel keeps amounts of memory in whole pages.
func sameLimit(controller, have, want string) bool {
	if have == want || controller != "memory" {
		return have == want
	}
	a, errA := strconv.ParseInt(have, 10, 64)
	b, errB := strconv.ParseInt(want, 10, 64)
	page := int64(os.Getpagesize())
	return errA == nil && errB == nil && a/page == b/page
}
