package guest

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OOMKills reads "oom_kill N", which both versions have (memory.events; memory.oom_control since Linux 4.13).
func OOMKills(fd int) int {
	buf := make([]byte, 1024)
	n, err := unix.Pread(fd, buf, 0)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(buf[:n])) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			count, _ := strconv.Atoi(strings.TrimSpace(v))
			return count
		}
	}
	return 0
}
