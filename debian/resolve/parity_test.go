package resolve

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
	same := 0
	sets := drawSets(t, u)
	for _, set := range sets {
		if compareWithApt(t, a, u, base, set, false) {
			same++
		}
	}
	t.Logf("%d of %d sets are the same as apt's", same, len(sets))
}

func compareWithApt(t *testing.T, a *aptState, u *Universe, base *Solution, set []string, recommends bool) bool {
	t.Helper()
	option := "--no-install-recommends"
	if recommends {
		option = "--install-recommends"
	}
	want, aptErr := a.simulate([]string{option}, set)
	wants, err := ParseWants(set)
	if err != nil {
		t.Fatal(err)
	}
	s, err := u.Resolve(Request{Installed: base.Packages, Want: wants, Recommends: recommends})
	switch {
	case aptErr != nil && err != nil:
		return true
	case aptErr != nil:
		t.Errorf("%v: apt has no solution (searched: %v)", set, s.Searched)
	case err != nil:
		t.Errorf("%v: apt has a solution; %v", set, err)
	default:
		if diff := cmp.Diff(want, actions(s)); diff != "" {
			t.Errorf("%v: apt-get - and Resolve + (searched: %v)\n%s", set, s.Searched, diff)
			return false
		}
		return true
	}
	return false
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
