package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Counts are the live figures of a run.
type Counts struct {
	Sent, OK, Failed int
	ByRelease        map[string]int // good answers only
}

// Failure is one request that failed.
type Failure struct {
	At      time.Time // when the failure was seen
	Due     time.Time // when the request was scheduled
	Status  int       // 0: no answer began
	Release string    // who answered, if known
	Cause   string
}

// Report is what a run found. Sent = OK + Failed.
type Report struct {
	Sent, OK, Failed int
	ByStatus         map[int]int    // 0: no answer
	ByRelease        map[string]int // good answers only
	Failures         []Failure      // the first 1000
	Reconnected      int            // requests that the client repeated, since a kept connection had been closed
	Latency          Latency
	Seconds          float64 // from the first request to the last answer
	Rate             float64 // requests a second that were sent
}

// Latency are quantiles over all requests, from the scheduled moment to the last byte of the answer.
type Latency struct {
	P50, P90, P99, P999, Max time.Duration
}

// Percent is a release's share of the good answers.
func (r Report) Percent(release string) float64 {
	if r.OK == 0 {
		return 0
	}
	return 100 * float64(r.ByRelease[release]) / float64(r.OK)
}

// String is the report in a few lines for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests in %.1f s (%.0f/s): %d good, %d failed, %d repeated on a new connection\n",
		r.Sent, r.Seconds, r.Rate, r.OK, r.Failed, r.Reconnected)
	fmt.Fprintf(&b, "latency p50 %s, p90 %s, p99 %s, p99.9 %s, max %s\n", round(r.Latency.P50), round(r.Latency.P90),
		round(r.Latency.P99), round(r.Latency.P999), round(r.Latency.Max))
	for _, release := range slices.Sorted(maps.Keys(r.ByRelease)) {
		fmt.Fprintf(&b, "%s answered %d (%.1f %%)\n", release, r.ByRelease[release], r.Percent(release))
	}
	for _, f := range r.Failures[:min(len(r.Failures), 10)] {
		fmt.Fprintf(&b, "failed at %s: %s %s\n", f.At.Format("15:04:05.000"), f.Release, f.Cause)
	}
	return b.String()
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// tally collects the answers of all workers.
type tally struct {
	mu        sync.Mutex
	began     time.Time
	last      time.Time
	numbers   Report
	latencies []time.Duration
}

func newTally() *tally {
	return &tally{began: time.Now(), numbers: Report{ByStatus: map[int]int{}, ByRelease: map[string]int{}}}
}

func (t *tally) sent() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.numbers.Sent++
}

func (t *tally) answered(a Answer, class Class, connections int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = time.Now()
	t.latencies = append(t.latencies, a.Latency)
	n := &t.numbers
	n.ByStatus[a.Status]++
	if connections > 1 {
		n.Reconnected++
	}
	if class.Failure == "" {
		n.OK++
		n.ByRelease[class.Release]++
		return
	}
	n.Failed++
	if len(n.Failures) < maxFailures {
		n.Failures = append(n.Failures, Failure{At: t.last, Due: a.Due, Status: a.Status, Release: class.Release, Cause: class.Failure})
	}
}

func (t *tally) counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Counts{Sent: t.numbers.Sent, OK: t.numbers.OK, Failed: t.numbers.Failed, ByRelease: maps.Clone(t.numbers.ByRelease)}
}

func (t *tally) report() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.numbers
	if r.Sent == 0 {
		return r
	}
	r.Seconds = t.last.Sub(t.began).Seconds()
	r.Rate = float64(r.Sent) / max(r.Seconds, 1e-9)
	slices.Sort(t.latencies)
	at := func(q float64) time.Duration { return t.latencies[int(q*float64(len(t.latencies)-1))] }
	r.Latency = Latency{P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: at(1)}
	return r
}
