package main

import (
	"fmt"
	"strings"
)

// topLines are the routes, then the fleets with their nodes, in one table: the same figures stand below each other.
func (o *output) topLines(s topSample) []string {
	var lines []string
	if s.Freeze != nil {
		lines = append(lines, o.freezeLine(s.Freeze))
	}
	t := table{}
	heads := []string{"", "state", "req/s", "errors", "p50", "p95", "p99", "in flight", "long"}
	t.row(mapCells(heads, o.dim)...)
	for _, r := range s.Routes {
		cells := append([]cell{{r.Route, o.bold(r.Route)}, plain("")}, o.figureCells(r.topFigures)...)
		t.row(append(cells, plain(costOf(r)))...)
	}
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

// costOf is what a route's requests met on the way, "" when nothing.
func costOf(r topRoute) string {
	var parts []string
	for _, c := range []struct {
		n    uint64
		what string
	}{{r.Failed, "failed"}, {r.Retried, "retried"}, {r.Rejected, "rejected"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return strings.Join(parts, ", ")
}

func mapCells(texts []string, style func(string) string) []cell {
	var out []cell
	for _, s := range texts {
		out = append(out, cell{s, style(s)})
	}
	return out
}

func (o *output) topCells(name string, r topRow) []cell {
	state := plain(r.State)
	if r.Drift > 0 {
		state = cell{r.State + ", drift", r.State + ", " + o.yellow("drift")}
	}
	return append([]cell{plain(name), state}, o.figureCells(r.topFigures)...)
}

// figureCells has a dash for what is not known.
func (o *output) figureCells(f topFigures) []cell {
	latency := func(s float64) cell {
		if s == 0 {
			return plain("–")
		}
		return plain(span(seconds(s)))
	}
	number := func(n *int) cell {
		if n == nil {
			return plain("–")
		}
		return plain(fmt.Sprint(*n))
	}
	failing := plain(fmt.Sprintf("%.1f %%", 100*f.ErrorRate))
	if f.ErrorRate > 0 {
		failing.shown = o.red(failing.text)
	}
	return []cell{
		plain(fmt.Sprintf("%.1f", f.PerSecond)), failing, latency(f.P50), latency(f.P95), latency(f.P99), number(f.InFlight), number(f.Long),
	}
}
