package embedded

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// drawn is how many of so many requests each node of a fleet gets, by its number, when the nodes have as many in flight as is said, a
// negative number for one that is out. None of the requests changes that.
func drawn(t *testing.T, requests int, inFlight ...int64) []int {
	t.Helper()
	r := router.Route{Name: "r", Listen: "127.0.0.1:80", Fleets: []router.Fleet{{ID: "f", Release: "r1", Weight: 1}}}
	for i := range inFlight {
		r.Fleets[0].Nodes = append(r.Fleets[0].Nodes, router.Node{Name: fmt.Sprint(i), Address: fmt.Sprint("127.0.0.1:", 1000+i)})
	}
	p, _ := newMemory().compile(routertest.TableOf(1, r), 1).listens[r.Listen].paths.find("", "/")
	number := map[*node]int{}
	for i, n := range p.targets[0].nodes {
		number[n] = i
		n.inFlight.Store(max(inFlight[i], 0))
		if inFlight[i] < 0 {
			n.skipUntil.Store(math.MaxInt64)
		}
	}
	counts := make([]int, len(inFlight))
	c := choice{now: 1000, random: rand.New(rand.NewPCG(1, 2)).Uint64}
	for range requests {
		_, n := p.pick(&c)
		counts[number[n]]++
	}
	return counts
}

// Of two random nodes the less busy one is taken: the n-th busiest of k is it in all pairs with a busier one, which are n-1 of
// k(k-1)/2. One random node would give all the same, always the least busy one would give that one all.
func TestLessBusyOfTwo(t *testing.T) {
	for name, tt := range map[string]struct {
		inFlight []int64
		pairs    []int // that the node wins, of 28, 6 or 1
	}{
		"all busy alike": {[]int64{5, 5, 5, 5}, []int{1, 1, 1, 1}},
		"one is idle":    {[]int64{9, 9, 0, 9}, []int{1, 1, 3, 1}},
		"eight":          {[]int64{3, 70, 0, 1, 40, 2, 50, 60}, []int{4, 0, 7, 6, 3, 5, 2, 1}},
		"two":            {[]int64{1, 0}, []int{0, 1}},
		"a half is out":  {[]int64{3, -1, -1, -1, -1, 0, 2, 1}, []int{0, 0, 0, 0, 0, 3, 1, 2}},
		"one is left":    {[]int64{-1, 7, -1}, []int{0, 1, 0}},
		"alike and out":  {[]int64{5, 5, -1, -1, -1, 5, 5}, []int{1, 1, 0, 0, 0, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			const requests = 28_000
			sum := 0
			for _, n := range tt.pairs {
				sum += n
			}
			counts := drawn(t, requests, tt.inFlight...)
			for i, got := range counts {
				share := float64(tt.pairs[i]) / float64(sum)
				slack := 4 * math.Sqrt(requests*share*(1-share)) // four standard deviations, and the seed is always the same
				if want := requests * share; math.Abs(float64(got)-want) > slack {
					t.Errorf("node %d with %d in flight got %d of %d requests, want %.0f ± %.0f; all: %v", i, tt.inFlight[i], got, requests, want, slack, counts)
				}
			}
		})
	}
}
