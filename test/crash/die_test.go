package crash

import (
	"flag"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bootandshoot/release/internal/failpoint"
)

// TestAgentKilled goes through a day once for each point of the agent, and dies there.
func TestAgentKilled(t *testing.T) { dieAt(t, failpoint.Agent) }

// TestRouterKilled does the same with the router. Meanwhile users get no answers; then they do, by the old table or the new one.
func TestRouterKilled(t *testing.T) { dieAt(t, failpoint.Router) }

// day is what an undisturbed day passes, found out once.
var day = struct {
	sync.Once
	passed map[failpoint.Point]int
}{}

func dieAt(t *testing.T, process failpoint.Process) {
	day.Do(func() { day.passed = passed(t, tell(t, "").dir) })
	everyPointOf(t, process, day.passed)
	if t.Failed() {
		return
	}
	var runs atomic.Int64
	var deaths deathsAt
	t.Cleanup(func() { // when the parallel ones have ended
		deaths.everyPoint(t, process)
		died := deaths.sum()
		t.Logf("%d days, in %d of them the %s died at its point", runs.Load(), died, process)
		if missed := runs.Load() - died; full() && missed > max(1, runs.Load()/5) {
			t.Error("too few deaths: the days differ too much from the recorded one")
		}
	})
	for p, n := range places(process, day.passed) {
		t.Run(fmt.Sprintf("%s:%d", p, n), func(t *testing.T) {
			t.Parallel()
			died := func(n int) bool {
				runs.Add(1)
				return !tell(t, fmt.Sprintf("%s:%d", p, n)).died().IsZero()
			}
			// A day may pass a point less often than the recorded one: how many tables there are depends on the moment. Once it always does.
			if died(n) || !full() && n > 1 && died(1) {
				deaths.add(p)
			}
		})
	}
}

// deathsAt counts deaths by their points.
type deathsAt struct {
	mu sync.Mutex
	of map[failpoint.Point]int64
}

func (d *deathsAt) add(p failpoint.Point) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[failpoint.Point]int64{}
	}
	d.of[p]++
}

func (d *deathsAt) sum() (n int64) {
	for _, deaths := range d.of {
		n += deaths
	}
	return n
}

// everyPoint wants a death at each point of a process, unless only some were asked for.
func (d *deathsAt) everyPoint(t *testing.T, process failpoint.Process) {
	t.Helper()
	if run := flag.Lookup("test.run"); run != nil && strings.Contains(run.Value.String(), "/") {
		return
	}
	for p, of := range failpoint.Points() {
		if of == process && d.of[p] == 0 {
			t.Errorf("nobody died at %s", p)
		}
	}
}

// everyPointOf wants that no point of a process is dead.
func everyPointOf(t *testing.T, process failpoint.Process, passed map[failpoint.Point]int) {
	t.Helper()
	for p, of := range failpoint.Points() {
		if of == process && passed[p] == 0 {
			t.Errorf("%s is never passed: the test lacks something, or the point is dead", p)
		}
	}
}

// places are where to die, point and passing: all, or one of each point, another one for each.
func places(process failpoint.Process, passed map[failpoint.Point]int) iter.Seq2[failpoint.Point, int] {
	return func(yield func(failpoint.Point, int) bool) {
		for _, p := range slices.Sorted(maps.Keys(passed)) {
			if failpoint.Points()[p] != process {
				continue
			}
			h := fnv.New32a()
			_, _ = h.Write([]byte(p)) // never fails
			for n := range passed[p] {
				// The last passings of a day may be missing in another one.
				if (full() || n == int(h.Sum32()%uint32((passed[p]+1)/2))) && !yield(p, n+1) {
					return
				}
			}
		}
	}
}

// passed counts what is in the file of that name, of all processes.
func passed(t *testing.T, dir string) map[failpoint.Point]int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "passed"))
	if err != nil {
		t.Fatal(err)
	}
	counts := map[failpoint.Point]int{}
	for line := range strings.Lines(string(b)) {
		_, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		counts[failpoint.Point(name)]++
	}
	return counts
}
