package images

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
)

// idSpace is which owners the process can give to files.
type idSpace struct {
	variant string // name of the folder for roots unpacked this way
	chown   bool   // false: everything belongs to the process's one id
}

// idRange is a line of /proc/<pid>/uid_map.
type idRange struct{ inside, outside, count uint64 }

// allIDs is the length of the initial user namespace's only range.
const allIDs = 1<<32 - 1

// currentIDs looks at the process's user namespace.
func currentIDs() (idSpace, error) {
	uids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return idSpace{}, fmt.Errorf("read the process's ids: %w", err)
	}
	gids, err := os.ReadFile("/proc/self/gid_map")
	if err != nil {
		return idSpace{}, fmt.Errorf("read the process's ids: %w", err)
	}
	return idsOf(uint64(os.Geteuid()), uids, gids), nil
}

// idsOf decides from the effective user id and the content of uid_map and gid_map.
func idsOf(euid uint64, uids, gids []byte) idSpace {
	ranges := parseIDMap(uids)
	var total uint64
	host := euid
	for _, r := range ranges {
		total += r.count
		if euid >= r.inside && euid-r.inside < r.count {
			host = r.outside + euid - r.inside
		}
	}
	switch {
	case euid != 0 || total == 1:
		return idSpace{variant: fmt.Sprintf("single-%d", host)}
	case isAll(ranges) && isAll(parseIDMap(gids)):
		return idSpace{variant: "root", chown: true}
	}
	maps := strings.Join(strings.Fields(string(uids)), " ") + "\n" + strings.Join(strings.Fields(string(gids)), " ")
	return idSpace{variant: "mapped-" + DigestOf([]byte(maps)).Short(), chown: true}
}

func isAll(ranges []idRange) bool {
	return len(ranges) == 1 && ranges[0] == idRange{0, 0, allIDs}
}

func parseIDMap(data []byte) []idRange {
	var ranges []idRange
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		var r idRange
		if n, _ := fmt.Sscan(lines.Text(), &r.inside, &r.outside, &r.count); n == 3 {
			ranges = append(ranges, r)
		}
	}
	return ranges
}
