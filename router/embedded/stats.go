package embedded

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bootandshoot/release/router"
)

// cause is why a request failed at a node.
type cause int

const (
	causeNone cause = iota
	causeConnect
	causeReset
	causeTimeout
	causeClient  // the client went away or sent a broken body: nobody's failure
	causeLocal   // this process had no descriptor for a connection
	causeFailed  // the node left the table because it failed; it counts as causeTimeout
	causeRefused // the node gave the request back unprocessed; it counts as causeReset
)

// histogram counts latencies lock-free in router.LatencyBounds' buckets.
type histogram struct {
	counts [34]atomic.Uint64
	micros atomic.Uint64
}

func (h *histogram) observe(d time.Duration, bounds []float64) {
	i, _ := slices.BinarySearch(bounds, d.Seconds())
	h.counts[i].Add(1)
	h.micros.Add(uint64(max(d, 0).Microseconds()))
}

func (h *histogram) read() router.Histogram {
	out := router.Histogram{Counts: make([]uint64, len(h.counts)), Sum: float64(h.micros.Load()) / 1e6}
	any := false
	for i := range h.counts {
		out.Counts[i] = h.counts[i].Load()
		any = any || out.Counts[i] > 0
	}
	if !any {
		out.Counts = nil
	}
	return out
}

// nodeStats is router.NodeTraffic as it is counted.
type nodeStats struct {
	requests, status5x, connect, reset, timeout, cut atomic.Uint64
	latency                                          histogram
}

func (s *nodeStats) fail(c cause) {
	switch c {
	case causeConnect:
		s.connect.Add(1)
	case causeReset:
		s.reset.Add(1)
	case causeTimeout:
		s.timeout.Add(1)
	}
}

// routeStats lives as long as the process knows a route of the name, over all tables.
type routeStats struct {
	draws                             atomic.Uint64 // position in the split's sequence
	requests, noNode, retried, failed atomic.Uint64
	rejected                          atomic.Uint64
	budget                            budget
	gate                              gate
}

func (s *routeStats) read(name string) router.RouteTraffic {
	return router.RouteTraffic{
		Route: name, Requests: s.requests.Load(), NoNode: s.noNode.Load(), Retried: s.retried.Load(), Failed: s.failed.Load(),
		Rejected: s.rejected.Load(),
	}
}

// fleetStats counts a fleet's part of a route for Prometheus, where nodes would be too many series and would vanish.
type fleetStats struct {
	codes   [6]atomic.Uint64 // by hundreds of the status; 0: none was sent
	failed  [4]atomic.Uint64 // by cause
	latency histogram
}

func (s *fleetStats) read(k fleetKey) fleetCount {
	out := fleetCount{fleetKey: k, Latency: s.latency.read()}
	for i := range s.codes {
		out.Codes[i] = s.codes[i].Load()
	}
	out.Connect, out.Reset, out.Timeout = s.failed[causeConnect].Load(), s.failed[causeReset].Load(), s.failed[causeTimeout].Load()
	return out
}

type fleetKey struct {
	Route   string `json:"route"`
	Fleet   string `json:"fleet"`
	Release string `json:"release"`
}

// fleetCount is a reading of fleetStats.
type fleetCount struct {
	fleetKey
	Codes   [6]uint64        `json:"codes"`
	Connect uint64           `json:"connect"`
	Reset   uint64           `json:"reset"`
	Timeout uint64           `json:"timeout"`
	Latency router.Histogram `json:"latency"`
}

// snapshot is everything one process counted, with what it took over from its predecessor. It is the wire format
// between the processes of an upgrade.
type snapshot struct {
	Edge        router.Edge  `json:"edge"`
	Fleets      []fleetCount `json:"fleets,omitempty"`
	Rejected    rejected     `json:"rejected,omitempty"` // a predecessor from before it was there sends none
	Connections int          `json:"connections"`        // clients' connections, upgraded ones too
	Drained     bool         `json:"drained"`            // stopped accepting and has no connection left
}

// merge adds b's counters to a's. Identity, version and listeners stay a's.
func (a snapshot) merge(b snapshot) snapshot {
	a.Edge.Routes = mergeBy(a.Edge.Routes, b.Edge.Routes, func(r router.RouteTraffic) string { return r.Route }, addRoute)
	a.Edge.Nodes = mergeBy(a.Edge.Nodes, b.Edge.Nodes, func(n router.NodeTraffic) string { return n.Fleet + "\x00" + n.Node }, addNode)
	a.Fleets = mergeBy(a.Fleets, b.Fleets, func(f fleetCount) string { return f.Route + "\x00" + f.Fleet + "\x00" + f.Release }, addFleet)
	a.Rejected = a.Rejected.plus(b.Rejected)
	return a
}

// mergeBy adds the entries of b to those of a with the same key; the result is a new slice sorted by key.
func mergeBy[T any](a, b []T, key func(T) string, add func(*T, T)) []T {
	at := map[string]int{}
	out := slices.Clone(a)
	for i := range out {
		at[key(out[i])] = i
	}
	for _, v := range b {
		if i, known := at[key(v)]; known {
			add(&out[i], v)
			continue
		}
		at[key(v)] = len(out)
		out = append(out, v)
	}
	slices.SortFunc(out, func(x, y T) int { return cmp.Compare(key(x), key(y)) })
	return out
}

func addRoute(a *router.RouteTraffic, b router.RouteTraffic) {
	a.NoNode += b.NoNode
	a.Requests += b.Requests
	a.Retried += b.Retried
	a.Failed += b.Failed
	a.Rejected += b.Rejected
}

func addNode(a *router.NodeTraffic, b router.NodeTraffic) {
	a.InFlight += b.InFlight
	a.Long += b.Long
	a.Ejected = a.Ejected || b.Ejected
	a.Requests += b.Requests
	a.Status5x += b.Status5x
	a.Connect += b.Connect
	a.Reset += b.Reset
	a.Timeout += b.Timeout
	a.Cut += b.Cut
	a.Latency = addHistogram(a.Latency, b.Latency)
}

func addFleet(a *fleetCount, b fleetCount) {
	for i := range a.Codes {
		a.Codes[i] += b.Codes[i]
	}
	a.Connect += b.Connect
	a.Reset += b.Reset
	a.Timeout += b.Timeout
	a.Latency = addHistogram(a.Latency, b.Latency)
}

func addHistogram(a, b router.Histogram) router.Histogram {
	out := router.Histogram{Counts: slices.Clone(a.Counts), Sum: a.Sum + b.Sum}
	if len(out.Counts) < len(b.Counts) {
		out.Counts = append(out.Counts, make([]uint64, len(b.Counts)-len(out.Counts))...)
	}
	for i, c := range b.Counts {
		out.Counts[i] += c
	}
	return out
}

// budget lets retries be at most a fifth of the requests, with a reserve for when many requests fail at one moment (a
// node dies under load). What mayRepeat lets through for nothing is not in it. The unit is a fifth of a retry.
type budget struct{ spent atomic.Int64 }

const (
	budgetReserve = 5 * 1000
	budgetRetry   = 5
)

// earn is called once a request.
func (b *budget) earn() {
	if b.spent.Load() > 0 {
		b.spent.Add(-1)
	}
}

// spend takes one retry out of the budget if it can.
func (b *budget) spend() bool {
	if b.spent.Add(budgetRetry) > budgetReserve {
		b.spent.Add(-budgetRetry)
		return false
	}
	return true
}
