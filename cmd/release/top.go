package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

// topResult is the result of top: its last reading.
type topResult struct {
	api.Head
	topSample
}

// topSample is an app's traffic over one interval.
type topSample struct {
	At      time.Time   `json:"at"`
	Seconds float64     `json:"seconds"` // of the interval
	Freeze  *api.Freeze `json:"freeze,omitempty"`
	Routes  []topRoute  `json:"routes"`
	Fleets  []topRow    `json:"fleets"`
	Nodes   []topRow    `json:"nodes"`
}

// topEvent is a sample among the events of --json.
type topEvent struct {
	Type string `json:"type"` // "traffic"
	topSample
}

type topRoute struct {
	Route     string  `json:"route"`
	PerSecond float64 `json:"requests_per_second"`
	Failed    uint64  `json:"failed"`
	Retried   uint64  `json:"retried"`
	Rejected  uint64  `json:"rejected"`
}

// topRow is a fleet or a node.
type topRow struct {
	Fleet     string  `json:"fleet"`
	Release   string  `json:"release"`
	Node      string  `json:"node,omitempty"`
	State     string  `json:"state,omitempty"`
	Held      string  `json:"held,omitempty"` // of a fleet: why its nodes are not replaced
	PerSecond float64 `json:"requests_per_second"`
	ErrorRate float64 `json:"error_rate"` // of the interval's requests, 0 to 1
	P50       float64 `json:"p50"`        // seconds to the end of the answer's header, to the precision of a bucket; 0: no requests
	P95       float64 `json:"p95"`
	P99       float64 `json:"p99"`
	InFlight  int     `json:"in_flight"`
	Long      int     `json:"long"`
	Drift     int     `json:"drift,omitempty"` // changes in which the node differs from its image
}

func (c *cli) topVerb() *cobra.Command {
	var every time.Duration
	var count int
	cmd := &cobra.Command{
		Use: "top", Short: "Watch the traffic: requests, errors and latency of each route, fleet and node",
		Long: `Shows what the routers count, again and again: requests a second, errors, the 50th, 95th and 99th percentile of
the time to an answer's header, and what is in flight. Ctrl-C ends it.`,
		Example: "  release top\n  release top --count 1 --json", Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < leastInterval || count < 0 {
				return usage(fault.New(fault.Invalid, "read --interval and --count: %s and %d; at least %s and 0 are possible", span(every), count, span(leastInterval)))
			}
			app, client, err := c.appIfUsed(cmd.Context())
			if err != nil {
				return err
			}
			return c.top(cmd.Context(), client, appOf(app), every, count)
		},
	}
	cmd.Flags().DurationVar(&every, "interval", time.Second, "`time` between two readings")
	cmd.Flags().IntVar(&count, "count", 0, "`number` of readings; 0: until Ctrl-C")
	return cmd
}

// leastInterval is how often the agent reads the edges: sooner there is nothing new.
const leastInterval = 250 * time.Millisecond

// top reads until the count is reached or ctx ends.
func (c *cli) top(ctx context.Context, client *api.Client, app api.App, every time.Duration, count int) error {
	before, err := client.Traffic(ctx, app)
	if err != nil {
		return err
	}
	show, done := c.out.topView()
	defer done()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last topSample
	for n := 0; count == 0 || n < count; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now, err := client.Traffic(ctx, app)
		if err != nil {
			return err
		}
		status, err := client.Status(ctx, app)
		if err != nil {
			return err
		}
		last = sampleOf(before, now, status)
		before = now
		show(last)
	}
	if c.out.json {
		return c.out.result(topResult{Head: api.NewHead(nil), topSample: last}, nil)
	}
	return nil
}

// topView shows samples as the output wants them.
func (o *output) topView() (show func(topSample), done func()) {
	switch {
	case o.json:
		return func(s topSample) { _ = o.event(topEvent{Type: "traffic", topSample: s}) }, func() {}
	case o.live():
		s := o.screen()
		return func(sample topSample) { s.Update(o.topLines(sample)) }, func() { s.Close(true) }
	}
	return func(s topSample) { fmt.Fprintln(o.stdout, strings.Join(o.topLines(s), "\n")) }, func() {}
}

// sampleOf is what was counted between two readings.
func sampleOf(before, now api.Traffic, status api.Status) topSample {
	s := topSample{At: now.At, Seconds: now.At.Sub(before.At).Seconds(), Freeze: status.Freeze, Routes: []topRoute{}, Fleets: []topRow{}, Nodes: []topRow{}}
	d := deltaOf(before, now)
	for _, r := range d.routes {
		s.Routes = append(s.Routes, topRoute{
			Route: r.Route, PerSecond: perSecond(r.Requests, s.Seconds), Failed: r.Failed, Retried: r.Retried, Rejected: r.Rejected,
		})
	}
	states, places, drifts, held := map[string]string{}, map[string]int{}, map[string]int{}, map[string]string{}
	for i, f := range status.Fleets {
		states[f.ID], places[f.ID] = f.State, i+1
		if f.Storm != nil {
			held[f.ID] = f.Storm.Why
		}
		for _, n := range f.Nodes {
			states[n.ID] = n.State
			if n.Drift != nil {
				drifts[n.ID] = n.Drift.Total
			}
		}
	}
	fleets := map[string]*api.NodeTraffic{}
	for _, n := range d.nodes {
		row := rowOf(n, s.Seconds, states[n.Node])
		row.Drift = drifts[n.Node]
		s.Nodes = append(s.Nodes, row)
		sum := fleets[n.Fleet]
		if sum == nil {
			sum = &api.NodeTraffic{Fleet: n.Fleet}
			fleets[n.Fleet] = sum
		}
		addTraffic(sum, n)
	}
	for _, f := range fleets {
		row := rowOf(*f, s.Seconds, states[f.Fleet])
		row.Held = held[f.Fleet]
		s.Fleets = append(s.Fleets, row)
	}
	slices.SortFunc(s.Fleets, func(a, b topRow) int { // the newest first
		return cmp.Or(cmp.Compare(places[b.Fleet], places[a.Fleet]), strings.Compare(b.Fleet, a.Fleet))
	})
	slices.SortFunc(s.Nodes, func(a, b topRow) int { return strings.Compare(a.Node, b.Node) })
	return s
}

func rowOf(n api.NodeTraffic, seconds float64, state string) topRow {
	r := topRow{Fleet: n.Fleet, Node: n.Node, State: state, PerSecond: perSecond(n.Requests, seconds), InFlight: n.InFlight, Long: n.Long}
	if n.Ejected {
		r.State = "ejected"
	}
	if parts := strings.Split(n.Fleet, "/"); len(parts) > 3 {
		r.Release = parts[3]
	}
	if n.Requests > 0 {
		r.ErrorRate = min(1, float64(n.Errors)/float64(n.Requests))
	}
	r.P50, r.P95, r.P99 = percentile(n.Latency, 0.5), percentile(n.Latency, 0.95), percentile(n.Latency, 0.99)
	return r
}

func perSecond(n uint64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(n) / seconds
}

// percentile is the upper bound of the bucket that the q-th part of the counts ends in; 0 without any.
func percentile(counts []uint64, q float64) float64 {
	var total, sum uint64
	for _, n := range counts {
		total += n
	}
	bounds := api.LatencyBounds()
	for i, n := range counts {
		if sum += n; n > 0 && float64(sum) >= q*float64(total) {
			return bounds[min(i, len(bounds)-1)]
		}
	}
	return 0
}

func (o *output) topLines(s topSample) []string {
	var lines []string
	if s.Freeze != nil {
		lines = append(lines, o.freezeLine(s.Freeze))
	}
	for _, r := range s.Routes {
		line := fmt.Sprintf("%s  %.0f requests/s", o.bold(r.Route), r.PerSecond)
		for _, c := range []struct {
			n    uint64
			what string
		}{{r.Failed, "failed"}, {r.Retried, "retried"}, {r.Rejected, "rejected"}} {
			if c.n > 0 {
				line += fmt.Sprintf(", %d %s", c.n, c.what)
			}
		}
		lines = append(lines, line)
	}
	t := table{}
	heads := []string{"", "state", "req/s", "errors", "p50", "p95", "p99", "in flight", "long"}
	t.row(mapCells(heads, o.dim)...)
	for _, f := range s.Fleets {
		t.row(o.topCells(f.Release, f)...)
		for _, n := range s.Nodes {
			if n.Fleet == f.Fleet {
				t.row(o.topCells("  "+n.Node, n)...)
			}
		}
	}
	lines = append(lines, t.lines("  ")...)
	for _, f := range s.Fleets {
		if f.Held != "" {
			lines = append(lines, fmt.Sprintf("  %s  %s %s", o.bold(f.Release), o.yellow("replacing is held:"), f.Held))
		}
	}
	return lines
}

func mapCells(texts []string, style func(string) string) []cell {
	var out []cell
	for _, s := range texts {
		out = append(out, cell{s, style(s)})
	}
	return out
}

func (o *output) topCells(name string, r topRow) []cell {
	latency := func(s float64) cell {
		if s == 0 {
			return plain("–")
		}
		return plain(span(seconds(s)))
	}
	failing := plain(fmt.Sprintf("%.1f %%", 100*r.ErrorRate))
	if r.ErrorRate > 0 {
		failing.shown = o.red(failing.text)
	}
	state := plain(r.State)
	if r.Drift > 0 {
		state = cell{r.State + ", drift", r.State + ", " + o.yellow("drift")}
	}
	return []cell{
		plain(name), state, plain(fmt.Sprintf("%.1f", r.PerSecond)), failing, latency(r.P50), latency(r.P95), latency(r.P99),
		plain(fmt.Sprint(r.InFlight)), plain(fmt.Sprint(r.Long)),
	}
}
