package haproxy

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// processes is what a master says about itself and its workers ("show proc").
type processes struct {
	master  int
	version string
	reloads int
	failed  int   // reloads that were refused, since the last that was not
	current int   // pid of the worker that accepts; 0: none yet
	old     []int // pids of workers that finish after reloads
}

func (c console) processes(ctx context.Context) (processes, error) {
	out, err := c.ask(ctx, "show proc")
	if err != nil {
		return processes{}, err
	}
	if strings.HasPrefix(strings.TrimSpace(out), "Unknown command") {
		return processes{}, fault.New(fault.Invalid, "ask haproxy at %s for its processes: this is a worker's socket", c.address).
			WithHint("name the master's: haproxy -W -S SOCKET, by default /run/haproxy-master.sock on Debian")
	}
	return parseProcesses(out)
}

// parseProcesses reads lines such as "1271 worker 1 0d00h00m00s 2.6.12" and "1162 master 5 [failed: 0] …" under headings.
func parseProcesses(text string) (processes, error) {
	var p processes
	old := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			old = strings.HasPrefix(line, "# old workers")
			continue
		}
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		pid, err := strconv.Atoi(f[0])
		if err != nil {
			return processes{}, fmt.Errorf("read haproxy's processes: %q is no line of it", line)
		}
		switch {
		case f[1] == "master":
			p.master, p.version = pid, f[len(f)-1]
			p.reloads, _ = strconv.Atoi(f[2])
			if len(f) > 4 && f[3] == "[failed:" {
				p.failed, _ = strconv.Atoi(strings.TrimSuffix(f[4], "]"))
			}
		case f[1] == "worker" && old:
			p.old = append(p.old, pid)
		case f[1] == "worker":
			p.current = pid
		}
	}
	if p.master == 0 {
		return processes{}, fmt.Errorf("read haproxy's processes: no master among them: %.100q", text)
	}
	return p, nil
}

// workers are the pids of all, the current one first.
func (p processes) workers() []int {
	if p.current == 0 {
		return p.old
	}
	return append([]int{p.current}, p.old...)
}

// modern says whether the version can do all that is asked of it.
func (p processes) modern() error {
	v, _, _ := strings.Cut(p.version, "-")
	f := strings.Split(v, ".")
	if len(f) >= 2 {
		major, errA := strconv.Atoi(f[0])
		minor, errB := strconv.Atoi(f[1])
		if errA == nil && errB == nil && (major > 2 || major == 2 && minor >= 6) {
			return nil
		}
	}
	return fault.New(fault.Unsupported, "use haproxy %s as router: 2.6 or later is needed", p.version)
}
