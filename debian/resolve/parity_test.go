package resolve

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

func TestBaseParity(t *testing.T) {
	a := newAptState(t)
	u := New(a.packages(t), a.arch).WithSuites(a.suites())
	want, err := a.simulate([]string{"--no-install-recommends"}, []string{"?essential", "apt", "?priority(required)"})
	if err != nil {
		t.Fatal(err)
	}
	base, err := u.Base()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, actions(base)); diff != "" {
		t.Errorf("apt-get - and Base +\n%s", diff)
	}
}

// TestParity compares with apt on sets of popular packages on top of a base, as images have them.
func TestParity(t *testing.T) {
	a := newAptState(t)
	u := New(a.packages(t), a.arch).WithSuites(a.suites())
	base, err := u.Base()
	if err != nil {
		t.Fatal(err)
	}
	a.install(t, base.Packages)
	sets := drawSets(t, u)
	var same atomic.Int32
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for _, set := range sets {
		group.Go(func() error {
			if diff := compareWithApt(a, u, base, set); diff != "" {
				t.Errorf("%v: %s", set, diff)
			} else {
				same.Add(1)
			}
			return nil
		})
	}
	_ = group.Wait()
	t.Logf("%d of %d sets are the same as apt's", same.Load(), len(sets))
}

// compareWithApt is the difference between what apt-get and Resolve do, "" for none.
func compareWithApt(a *aptState, u *Universe, base *Solution, set []string) string {
	want, aptErr := a.simulate([]string{"--no-install-recommends"}, set)
	wants, err := ParseWants(set)
	if err != nil {
		return err.Error()
	}
	s, err := u.Resolve(Request{Installed: base.Packages, Want: wants})
	switch {
	case aptErr != nil && err != nil:
		return ""
	case aptErr != nil:
		return fmt.Sprintf("apt has no solution: %v\n%v", aptErr, actions(s))
	case err != nil:
		return fmt.Sprintf("apt has a solution: %v", err)
	}
	if diff := cmp.Diff(want, actions(s)); diff != "" {
		return fmt.Sprintf("apt-get - and Resolve + (searched: %v)\n%s", s.Searched, diff)
	}
	return ""
}

// drawSets draws sets of one to six popular packages, always the same.
func drawSets(t *testing.T, u *Universe) [][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/popular.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := slices.DeleteFunc(strings.Fields(string(text)), func(name string) bool { return u.groups[name] == nil })
	if len(names) < 300 {
		t.Fatalf("the lists have %d of the popular packages: use those of a Debian release", len(names))
	}
	count := 120
	if os.Getenv("RELEASE_EXHAUSTIVE") != "" {
		count = 400
	}
	random := rand.New(rand.NewPCG(4, 12))
	sets := make([][]string, count)
	for i := range sets {
		for range 1 + random.IntN(6) {
			if name := names[random.IntN(len(names))]; !slices.Contains(sets[i], name) {
				sets[i] = append(sets[i], name)
			}
		}
	}
	return sets
}
