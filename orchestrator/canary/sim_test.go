package canary

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The simulations below are those of docs/verdict.md and BENCHMARKS.md: go test -v -run Simulated ./orchestrator/canary

// world is what two releases do. Shares are from 0 to 1.
type world struct {
	errors    [2]float64 // of the new release's requests and the old one's that fail
	latency   [2][]int   // buckets of which a request has one, each as likely
	shares    []float64  // of the new release, a step each
	looks     int        // in each step
	requests  int        // of both releases between two looks
	outage    float64    // how often both have, for a look, outageErrors and outageLatency more
	unsettled bool       // the old release alone gets faster and slower by a bucket as the cutover goes on, and the new one with it
}

const (
	outageErrors  = 0.3
	outageLatency = 6
)

// healthy is a distribution of latencies with a long tail.
var healthy = []int{4, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 8, 8, 9, 9, 10, 11, 12, 14, 17}

// later is a distribution whose every bucket is so many further.
func later(buckets []int, by int) []int {
	out := slices.Clone(buckets)
	for i := range out {
		out[i] += by
	}
	return out
}

// look draws what both did between two looks.
func (w world) look(r *rand.Rand, share float64) Pair {
	p := Pair{New: Traffic{Latency: make([]uint64, 34)}, Old: Traffic{Latency: make([]uint64, 34)}}
	moreErrors, moreLatency := 0.0, 0
	if r.Float64() < w.outage {
		moreErrors, moreLatency = outageErrors, outageLatency
	}
	if w.unsettled {
		moreLatency += r.IntN(3)
	}
	for range w.requests {
		of, t := 1, &p.Old
		if r.Float64() < share {
			of, t = 0, &p.New
		}
		t.Requests++
		if r.Float64() < w.errors[of]+moreErrors {
			t.Errors++
		}
		t.Latency[w.latency[of][r.IntN(len(w.latency[of]))]+moreLatency]++
	}
	return p
}

// run simulates a cutover until it is found to be worse, and how many requests the new release had by then; 0: never. good are
// the steps that were passed as good.
func (w world) run(r *rand.Rand, rule Rule) (caught uint64, good int) {
	var e Evidence
	var had uint64
	for _, share := range w.shares {
		e = e.Begin(len(w.shares))
		for range w.looks {
			e = e.Take(rule, e.Taken.plus(w.look(r, share)))
			if e.Judge(rule).Outcome == Worse {
				return had + e.Taken.New.Requests, good
			}
		}
		had += e.Taken.New.Requests
		if e.Judge(rule).Outcome == Good {
			good++
		}
	}
	return 0, good
}

// simulate runs a world so many times, each with its own seed.
func (w world) simulate(runs int, rule Rule, each func(caught uint64, good int)) {
	for seed := range runs {
		each(w.run(rand.New(rand.NewPCG(1, uint64(seed))), rule))
	}
}

// Cutovers to releases that are not worse: at most the stated share is found to be worse, in every world.
func TestSimulatedFalseAlarms(t *testing.T) {
	steps := []float64{0.05, 0.25, 0.5}
	same := [2][]int{healthy, healthy}
	for name, w := range map[string]world{
		"quiet":     {errors: [2]float64{0.001, 0.001}, latency: same, shares: steps, looks: 20, requests: 200},
		"noisy":     {errors: [2]float64{0.05, 0.05}, latency: same, shares: steps, looks: 20, requests: 200},
		"outages":   {errors: [2]float64{0.001, 0.001}, latency: same, shares: steps, looks: 20, requests: 200, outage: 0.1},
		"unsettled": {errors: [2]float64{0.01, 0.01}, latency: same, shares: steps, looks: 20, requests: 200, unsettled: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const runs = 2500 / fewer
			alarms, rule := 0, testRule()
			rule.WorseErrors, rule.WorseLatency = 0, 0 // nothing but the test itself keeps alarms away
			w.simulate(runs, rule, func(caught uint64, _ int) {
				if caught > 0 {
					alarms++
				}
			})
			t.Logf("%d of %d healthy cutovers are found to be worse: %.2f %%, stated are %.2f %%", alarms, runs, 100*float64(alarms)/runs, 100*rule.FalseAlarms)
			if float64(alarms) > rule.FalseAlarms*runs {
				t.Errorf("more than the stated rate")
			}
		})
	}
}

// Cutovers of three roles to releases that are not worse: all comparisons together keep to the stated rate.
func TestSimulatedFalseAlarmsOfRoles(t *testing.T) {
	t.Parallel()
	const roles, runs = 3, 1000 / fewer
	w := world{errors: [2]float64{0.05, 0.05}, latency: [2][]int{healthy, healthy}, shares: []float64{0.05, 0.25, 0.5}, looks: 20, requests: 200}
	alarms, rule := 0, testRule()
	rule.WorseErrors, rule.WorseLatency, rule.Among = 0, 0, roles
	for seed := range runs {
		for role := range roles {
			if caught, _ := w.run(rand.New(rand.NewPCG(uint64(2+role), uint64(seed))), rule); caught > 0 {
				alarms++
				break
			}
		}
	}
	t.Logf("%d of %d healthy cutovers of %d roles are found to be worse: %.2f %%, stated are %.2f %%", alarms, runs, roles, 100*float64(alarms)/runs, 100*rule.FalseAlarms)
	if float64(alarms) > rule.FalseAlarms*runs {
		t.Errorf("more than the stated rate")
	}
}

// A release with 2 % errors against 0.1 %.
func TestSimulatedDetection(t *testing.T) {
	same := [2][]int{healthy, healthy}
	bad := [2]float64{0.02, 0.001}
	fine := [2]float64{0.001, 0.001}
	for name, c := range map[string]struct {
		w      world
		within uint64  // requests of the new release
		least  float64 // share of the runs
		among  int     // roles that are compared
	}{
		"2 % errors at 5 %":             {world{errors: bad, latency: same, shares: []float64{0.05}, looks: 200, requests: 400}, 1000, 0.95, 1},
		"2 % errors at 10 %":            {world{errors: bad, latency: same, shares: []float64{0.10}, looks: 200, requests: 200}, 1000, 0.95, 1},
		"2 % errors at 10, 50 %":        {world{errors: bad, latency: same, shares: []float64{0.10, 0.50}, looks: 200, requests: 50}, 1000, 0.95, 1},
		"2 % errors at 25 %":            {world{errors: bad, latency: same, shares: []float64{0.25}, looks: 200, requests: 80}, 1000, 0.95, 1},
		"2 % errors at 50 %":            {world{errors: bad, latency: same, shares: []float64{0.50}, looks: 200, requests: 40}, 1000, 0.95, 1},
		"2 % errors at 10 %, one of 3":  {world{errors: bad, latency: same, shares: []float64{0.10}, looks: 200, requests: 200}, 1000, 0.95, 3},
		"2 % errors at 25 %, one of 3":  {world{errors: bad, latency: same, shares: []float64{0.25}, looks: 200, requests: 80}, 1000, 0.95, 3},
		"2 % errors at 10 %, one of 10": {world{errors: bad, latency: same, shares: []float64{0.10}, looks: 200, requests: 200}, 1000, 0.95, 10},
		"5 % errors at 10 %":            {world{errors: [2]float64{0.05, 0.001}, latency: same, shares: []float64{0.10}, looks: 200, requests: 200}, 300, 0.95, 1},
		"all fail at 10 %":              {world{errors: [2]float64{1, 0.001}, latency: same, shares: []float64{0.10}, looks: 200, requests: 20}, 50, 0.99, 1},
		"twice as slow at 10 %":         {world{errors: fine, latency: [2][]int{later(healthy, 2), healthy}, shares: []float64{0.10}, looks: 200, requests: 200}, 300, 0.95, 1},
		"a slow twentieth at 10 %":      {world{errors: fine, latency: [2][]int{append(slices.Clone(healthy), 25), healthy}, shares: []float64{0.10}, looks: 400, requests: 200}, 1000, 0.95, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const runs = 1000 / fewer
			var caught []uint64
			rule := testRule()
			rule.Among = c.among
			c.w.simulate(runs, rule, func(n uint64, _ int) {
				if n > 0 {
					caught = append(caught, n)
				}
			})
			slices.Sort(caught)
			within, _ := slices.BinarySearch(caught, c.within+1)
			t.Logf("%d of %d are caught, %d within %d requests to the new release; half within %d, 95 %% within %d",
				len(caught), runs, within, c.within, quantileOf(caught, runs/2), quantileOf(caught, runs*95/100))
			if float64(within) < c.least*runs {
				t.Errorf("fewer than %.0f %% within %d", 100*c.least, c.within)
			}
		})
	}
}

// quantileOf is the value of a rank of a sorted list, 0 when there are not so many.
func quantileOf(list []uint64, rank int) uint64 {
	if rank >= len(list) {
		return 0
	}
	return list[rank]
}

// How often steps pass: those of releases that are worse than tolerated at most as often as stated.
func TestSimulatedPasses(t *testing.T) {
	same := [2][]int{healthy, healthy}
	at := func(fresh, old float64) [2]float64 { return [2]float64{fresh, old} }
	for name, c := range map[string]struct {
		w           world
		least, most float64 // share of the runs
	}{
		"300 requests":          {world{errors: at(0.001, 0.001), latency: same, shares: []float64{0.10}, looks: 30, requests: 100}, 0, 1},
		"600 requests":          {world{errors: at(0.001, 0.001), latency: same, shares: []float64{0.10}, looks: 60, requests: 100}, 0.5, 1},
		"1,000 requests":        {world{errors: at(0.001, 0.001), latency: same, shares: []float64{0.10}, looks: 100, requests: 100}, 0.8, 1},
		"1,000 requests at 50%": {world{errors: at(0.001, 0.001), latency: same, shares: []float64{0.50}, looks: 100, requests: 20}, 0.5, 1},
		"2,000, noisy":          {world{errors: at(0.01, 0.01), latency: same, shares: []float64{0.10}, looks: 50, requests: 400}, 0, 1},
		"2,000, a bit worse":    {world{errors: at(0.003, 0.001), latency: same, shares: []float64{0.10}, looks: 50, requests: 400}, 0, 1},
		"1.1 % worse":           {world{errors: at(0.012, 0.001), latency: same, shares: []float64{0.10}, looks: 50, requests: 400}, 0, 0.05},
		"1.1 % worse, noisy":    {world{errors: at(0.031, 0.02), latency: same, shares: []float64{0.10}, looks: 50, requests: 400}, 0, 0.05},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const runs = 400 / fewer
			passed, caught, rule := 0, 0, testRule()
			c.w.simulate(runs, rule, func(n uint64, good int) {
				passed += good
				if n > 0 {
					caught++
				}
			})
			t.Logf("%d of %d steps pass, %d are aborted", passed, runs, caught)
			if p := float64(passed) / runs; p < c.least || p > c.most {
				t.Errorf("wanted from %.0f to %.0f %%", 100*c.least, 100*c.most)
			}
		})
	}
}
