//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// The variables are of the process, as the package's doc says.
const (
	pointVar = "RELEASE_FAILPOINT"
	dirVar   = "RELEASE_FAILPOINT_DIR"
)

// passings counts what this process passed.
var passings = struct {
	sync.Mutex
	of map[Point]int
}{of: map[Point]int{}}

// Pass says that the process is at a point, and may be its end.
func Pass(p Point) {
	dir := os.Getenv(dirVar)
	if dir == "" {
		return
	}
	passings.Lock()
	defer passings.Unlock()
	passings.of[p]++
	note(filepath.Join(dir, "passed"), os.O_APPEND, string(p))
	at := fmt.Sprintf("%s:%d", p, passings.of[p])
	if os.Getenv(pointVar) != at || !note(filepath.Join(dir, "died"), os.O_EXCL, at) {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // with the lock: nobody passes another one meanwhile
}

// Begins says that an action of a kind, such as boot, begins.
func Begins(kind string) { passKnown(Point(kind + ".begin")) }

// Ends says that an action of a kind has ended, well or not.
func Ends(kind string) { passKnown(Point(kind + ".end")) }

// passKnown passes a point whose name was put together: those that no list has are none.
func passKnown(p Point) {
	if _, known := Points()[p]; known {
		Pass(p)
	}
}

// note writes a line to a file; false when it is there already and must not be.
func note(path string, flag int, what string) bool {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flag, 0o666)
	if err != nil {
		if flag == os.O_EXCL && os.IsExist(err) {
			return false
		}
		panic("failpoint: " + err.Error())
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, os.Getpid(), what); err != nil {
		panic("failpoint: " + err.Error())
	}
	return true
}
