package guest

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// FullRange is the number of ids that a whole system needs: 0 to 65535.
const FullRange = 65536

// Range is a range of ids: from Start on outside, from Inside on in the namespace.
type Range struct{ Start, Count, Inside int }

// ReadMap reads a file such as /proc/self/uid_map: lines of "inside outside count".
func ReadMap(file string) []Range {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var ranges []Range
	for line := range strings.Lines(string(data)) {
		var r Range
		if _, err := fmt.Sscan(line, &r.Inside, &r.Start, &r.Count); err == nil && r.Count > 0 {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// AvailableIDs counts the ids that a map file of /proc gives from 0 on.
func AvailableIDs(mapFile string) int {
	ranges := ReadMap(mapFile)
	slices.SortFunc(ranges, func(a, b Range) int { return a.Inside - b.Inside })
	next := 0
	for _, r := range ranges {
		if r.Inside == next {
			next += r.Count
		}
	}
	return next
}
