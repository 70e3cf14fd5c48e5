package machine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/pause"
)

// Clear ends whatever machine runs in a folder, one whose start was cut off before it was recorded included, and reports whether there was one.
// The folder stays.
func Clear(ctx context.Context, dir string) (ran bool, err error) {
	if m, err := Open(dir); err == nil && !m.Gone() {
		return true, m.Kill(ctx)
	}
	for {
		pid, err := runningIn(dir)
		if err != nil || pid == 0 {
			return ran, err
		}
		ran = true
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
			return ran, fmt.Errorf("kill machine %d: %w", pid, err)
		}
		if err := pause.For(ctx, pollEvery); err != nil {
			return ran, err
		}
	}
}

// runningIn finds a QEMU by its working folder, which is that of its machine; 0: none.
func runningIn(dir string) (int, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for a machine in %s: %w", dir, err)
	}
	list, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return 0, err
	}
	for _, link := range list {
		if at, err := os.Readlink(link); err != nil || at != dir {
			continue // gone this moment, or somebody else's
		}
		proc := filepath.Dir(link)
		exe, err := os.Readlink(filepath.Join(proc, "exe"))
		if err != nil || filepath.Base(strings.TrimSuffix(exe, " (deleted)")) != qemu { // it may have been upgraded meanwhile
			continue
		}
		return strconv.Atoi(filepath.Base(proc))
	}
	return 0, nil
}
