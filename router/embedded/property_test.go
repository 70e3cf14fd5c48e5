package embedded

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// Of any N consecutive positions each weight gets its share within a few requests, wherever the sequence starts, and
// also of every k-th position.
func TestSplitIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 1000), 1, 6).Draw(t, "weights")
		start := rapid.Uint64().Draw(t, "start")
		stride := rapid.Uint64Range(1, 8).Draw(t, "stride")
		n := rapid.IntRange(1, 20000).Draw(t, "n")
		s := newSplit(weights)
		total := 0
		for _, w := range weights {
			total += w
		}
		got := make([]int, len(weights))
		for i := range uint64(n) {
			got[s.index(position(start+i*stride))]++
		}
		// The discrepancy of a golden-ratio sequence is below 2 log2(N)+2 points; a stride multiplies it at most.
		slack := float64(stride) * (2*math.Log2(float64(n)+1) + 2)
		for i, w := range weights {
			want := float64(n) * float64(w) / float64(total)
			if math.Abs(float64(got[i])-want) > slack {
				t.Fatalf("weight %d of %v: %d of %d, want %.1f ± %.1f", w, weights, got[i], n, want, slack)
			}
		}
	})
}

func TestSplitOfTenPercent(t *testing.T) {
	s, got := newSplit([]int{90, 10}), 0
	for i := range uint64(10000) {
		got += s.index(position(i))
	}
	if got < 995 || got > 1005 {
		t.Fatalf("%d of 10,000", got)
	}
}

// naiveRoute looks at every route: the most specific host wins, then the longest path.
func naiveRoute(routes []router.Route, host, path string) string {
	best, bestHost, bestPath := "", -1, -1
	for _, r := range routes {
		hosts, paths := r.Hosts, r.Paths
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		if len(paths) == 0 {
			paths = []string{"/"}
		}
		for _, h := range hosts {
			score := -1
			switch {
			case h == "":
				score = 0
			case h == host:
				score = 1000
			case strings.HasPrefix(h, "*.") && strings.HasSuffix(host, h[1:]) && len(host) > len(h)-1:
				score = len(h)
			}
			for _, p := range paths {
				p = strings.TrimRight(p, "/")
				if score < 0 || path != p && !strings.HasPrefix(path, p+"/") && p != "" {
					continue
				}
				if score > bestHost || score == bestHost && len(p) > bestPath {
					best, bestHost, bestPath = r.Name, score, len(p)
				}
			}
		}
	}
	return best
}

func TestMatcherAgreesWithNaive(t *testing.T) {
	hosts := []string{"a", "b.a", "c.b.a", "*.a", "*.b.a", "*.c.b.a"}
	paths := []string{"/", "/x", "/x/", "/x/y", "/xy", "/x/y/z"}
	rapid.Check(t, func(t *rapid.T) {
		var routes []router.Route
		m := newMatcher[string]()
		for i := range rapid.IntRange(1, 8).Draw(t, "routes") {
			r := router.Route{
				Name: fmt.Sprint(i), Listen: "127.0.0.1:80",
				Hosts: rapid.SliceOfNDistinct(rapid.SampledFrom(hosts), 0, 3, rapid.ID).Draw(t, "hosts"),
				Paths: rapid.SliceOfNDistinct(rapid.SampledFrom(paths), 0, 3, rapid.ID).Draw(t, "paths"),
			}
			if routertest.TableOf(1, append(slices.Clone(routes), r)...).Validate() != nil {
				continue // the same host and path twice
			}
			routes = append(routes, r)
			m.add(r.Hosts, r.Paths, r.Name)
		}
		for range 20 {
			host := rapid.SampledFrom([]string{"", "a", "b.a", "c.b.a", "d.c.b.a", "xa", "x.a", ".a"}).Draw(t, "host")
			path := rapid.SampledFrom([]string{"/", "/x", "/x/", "/x/y", "/xy", "/x/yz", "/x/y/z/w", "//", "/z"}).Draw(t, "path")
			got, _ := m.find(host, path)
			if want := naiveRoute(routes, host, path); got != want {
				t.Fatalf("%q %q over %+v: route %q, naively %q", host, path, routes, got, want)
			}
		}
	})
}

// Picking never gives a node that was tried, gives one whenever there is one, and never one of a fleet that may not
// serve.
func TestPick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, fleets := newMemory(), rapid.IntRange(1, 4).Draw(t, "fleets")
		r := router.Route{Name: "r", Listen: "127.0.0.1:80"}
		for i := range fleets {
			f := router.Fleet{
				ID: fmt.Sprint("f", i), Release: fmt.Sprint("r", rapid.IntRange(0, 2).Draw(t, "release")),
				Weight: rapid.IntRange(0, 3).Draw(t, "weight"), Standby: rapid.Bool().Draw(t, "standby"),
			}
			for j := range rapid.IntRange(0, 3).Draw(t, "nodes") {
				f.Nodes = append(f.Nodes, router.Node{Name: fmt.Sprint(j), Address: fmt.Sprintf("127.0.0.1:%d", 1000+10*i+j)})
			}
			r.Fleets = append(r.Fleets, f)
		}
		table := routertest.TableOf(1, r)
		p, _ := m.compile(table, 1).listens[r.Listen].paths.find("", "/")
		c := choice{
			now: 1000, random: func() uint64 { return rapid.Uint64().Draw(t, "random") },
			release: rapid.SampledFrom([]string{"", "", "r0", "r1"}).Draw(t, "preview"),
		}
		c.index = p.split.index(rapid.Uint64().Draw(t, "position"))
		allowed := map[*node]bool{}
		for _, target := range p.targets {
			serves := c.release == target.release
			if c.release == "" {
				serves = slices.Contains(p.weighted, target) || slices.Contains(p.standby, target)
			}
			for _, n := range target.nodes {
				n.skipUntil.Store(rapid.SampledFrom([]int64{0, 500, 2000}).Draw(t, "skip"))
				if serves {
					allowed[n] = true
				}
			}
		}
		for len(allowed) > 0 {
			_, n := p.pick(&c)
			if n == nil || !allowed[n] {
				t.Fatalf("picked %v with %d nodes left", n, len(allowed))
			}
			delete(allowed, n)
			c.tried = append(c.tried, n)
		}
		if _, n := p.pick(&c); n != nil {
			t.Fatalf("picked %v, every node was tried", n.name)
		}
	})
}

func TestSnapshotsMerge(t *testing.T) {
	a := snapshot{Edge: router.Edge{Nodes: []router.NodeTraffic{{Fleet: "f", Node: "b", Requests: 1, Latency: router.Histogram{Counts: []uint64{1, 2}, Sum: 1}}}}}
	b := snapshot{Edge: router.Edge{Nodes: []router.NodeTraffic{{Fleet: "f", Node: "a", InFlight: 2}, {Fleet: "f", Node: "b", Requests: 2, Latency: router.Histogram{Counts: []uint64{1, 1, 1}, Sum: 2}}}}}
	got := a.merge(b).Edge.Nodes
	if len(got) != 2 || got[0].Node != "a" || got[1].Requests != 3 || got[1].Latency.Sum != 3 || !slices.Equal(got[1].Latency.Counts, []uint64{2, 3, 1}) {
		t.Fatalf("%+v", got)
	}
	if a.Edge.Nodes[0].Requests != 1 {
		t.Fatal("merge changed its receiver")
	}
}

func TestBudget(t *testing.T) {
	var b budget
	granted := 0
	for range 2000 {
		if b.spend() {
			granted++
		}
	}
	if granted != budgetReserve/budgetRetry {
		t.Fatalf("%d retries out of the reserve", granted)
	}
	for range 100 {
		b.earn()
	}
	for granted = 0; b.spend(); granted++ {
	}
	if granted != 20 {
		t.Fatalf("%d retries for 100 requests", granted)
	}
}
