package orchestrator

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The simulation plays agents against a world in which everything goes wrong that may, and checks after each step what must hold
// always. A newcomer reads simschedule_test.go (what may happen), simworld_test.go (how agents live in it), siminvariants_test.go
// (what must hold). A seed that ends in a violation is printed as the shortest schedule that does, with its trace:
//
//	make simulate SEED=4711        plays one seed again
//	make simulate SEEDS=100000     plays more than usual

// someSeeds is how many the usual run of the tests plays; make simulate plays more, without the race detector.
const someSeeds = 15

func TestSomeSeeds(t *testing.T) {
	seeds := someSeeds
	if testing.Short() {
		seeds /= 4
	}
	playAll(t, uint64(seeds), newSchedule)
}

// TestManySeeds is make simulate.
func TestManySeeds(t *testing.T) {
	text := os.Getenv("RELEASE_SIMULATE")
	if text == "" {
		t.Skip("plays thousands of seeds: make simulate")
	}
	if one, only := strings.CutPrefix(text, "seed="); only {
		seed, err := strconv.ParseUint(one, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		playAll(t, 1, func(uint64) schedule { return newSchedule(seed) })
		return
	}
	if from, mutant := strings.CutPrefix(text, "mutant="); mutant {
		first, err := strconv.ParseUint(from, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds := uint64(mutantSeeds)
		if testing.Short() {
			seeds = someSeeds
		}
		playAll(t, seeds, func(i uint64) schedule { return newSchedule(first + i) })
		return
	}
	seeds, err := strconv.ParseUint(text, 10, 64)
	if err != nil || seeds == 0 {
		t.Fatalf("%q is no number of seeds", text)
	}
	began := time.Now()
	steps := playAll(t, seeds, newSchedule)
	t.Logf("%d seeds, %d steps of agents, in %s", seeds, steps, time.Since(began).Round(time.Second))
}

// playAll plays schedules on all processors, up to the first violation, and says how many steps there were.
func playAll(t *testing.T, count uint64, nth func(uint64) schedule) (steps int64) {
	t.Helper()
	var next atomic.Uint64
	var told atomic.Bool
	var all atomic.Int64
	t.Run("all", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				for i := next.Add(1) - 1; i < count; i = next.Add(1) - 1 {
					s := nth(i)
					found, w := s.play(t)
					all.Add(int64(len(w.trace)))
					if found != nil && told.CompareAndSwap(false, true) {
						next.Store(count) // no more begin
						s.report(t, *found)
					}
				}
			})
		}
	})
	return all.Load()
}

// report prints the shortest schedule that ends in the same violation, and what happens in it.
func (s schedule) report(t *testing.T, v violation) {
	t.Helper()
	if strings.HasPrefix(os.Getenv("RELEASE_SIMULATE"), "mutant=") {
		t.Errorf("seed %d violates %q: %s", s.seed, v.invariant, v.text)
		return
	}
	short := s.shrink(t, v.invariant, 400)
	found, w := short.play(t)
	if found == nil { // it depends on something that a seed does not say
		found, w, short = &v, nil, s
	}
	t.Errorf("seed %d violates %q: %s\nplay it again: make simulate SEED=%d\nthe shortest schedule that does: %s%s\n%s",
		s.seed, v.invariant, v.text, s.seed, found.text, "\n"+short.String(), strings.Join(w.lines(), "\n"))
}

// The same schedule is played the same way again, step by step and to the microsecond. What happens at one instant has no order:
// an agent that dies and the answers it owes end together.
func TestSeedsArePlayedTheSameWayAgain(t *testing.T) {
	for seed := range uint64(6) {
		s := newSchedule(seed)
		_, one := s.play(t)
		_, two := s.play(t)
		a, b := slices.Sorted(slices.Values(one.lines())), slices.Sorted(slices.Values(two.lines()))
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("seed %d: step %d is\n%s\nand then\n%s\nafter\n%s", seed, i, a[i], b[i], strings.Join(a[max(0, i-10):i], "\n"))
			}
		}
		if len(a) != len(b) || len(a) < 20 {
			t.Errorf("seed %d: %d steps, and then %d", seed, len(a), len(b))
		}
	}
}

// Every call of a plain day meets every mishap once: nothing is left to what seeds happen to draw.
func TestEveryCallMeetsEveryMishap(t *testing.T) {
	if os.Getenv("RELEASE_SIMULATE") == "" {
		t.Skip("plays a day some hundred times: make simulate")
	}
	day := schedule{seed: 1, moves: []move{{do: "up", then: 3 * time.Second}, {do: "up", m: 2, then: 8 * time.Second}, {do: "rollback", then: 8 * time.Second},
		{do: "scale", n: 3, then: time.Second}, {do: "task", then: 3 * time.Second}, {do: "kill", n: 1, then: 2 * time.Second}, {do: "destroy", then: 2 * time.Second}, {do: "up", then: 3 * time.Second}}}
	_, plain := day.play(t)
	var days []schedule
	for _, call := range slices.Sorted(maps.Keys(plain.calls)) {
		for nth := range min(plain.calls[call], 60) { // listings and readings come again and again
			for _, kind := range allMishaps {
				day.mishaps = []mishap{{call, nth, kind}}
				days = append(days, day)
			}
		}
	}
	playAll(t, uint64(len(days)), func(i uint64) schedule { return days[i] })
}

// Shrinking leaves what a violation needs and nothing else.
func TestShrinking(t *testing.T) {
	all := []int{1, 2, 3, 4, 5, 6, 7, 8, 9}
	needs := func(rest []int) bool { return slices.Contains(rest, 3) && slices.Contains(rest, 8) }
	if got := leftOut(all, needs); !slices.Equal(got, []int{3, 8}) {
		t.Errorf("left are %v", got)
	}
}
