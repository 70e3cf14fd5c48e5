package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/internal/nodename"
)

// nodeStatus shows one node and compares it with its image.
func (c *cli) nodeStatus(ctx context.Context, client *api.Client, app api.App, name string) error {
	s, err := client.Status(ctx, app)
	if err != nil {
		return err
	}
	fl, n, err := nodeOf(s, name)
	if err != nil {
		return err
	}
	drift, err := client.Drift(ctx, app, n.ID)
	if err != nil {
		return err
	}
	r := api.NodeResult{Head: api.NewHead(nil), App: s.App, Env: s.Env, Fleet: fl.ID, Release: fl.Release, Image: fl.Image, Node: n, Drift: drift}
	return c.out.result(r, func(w io.Writer) { fmt.Fprintln(w, strings.Join(c.out.nodeStatusLines(r, time.Now()), "\n")) })
}

// nodeOf finds a node by its name or a unique part of it.
func nodeOf(s api.Status, name string) (api.Fleet, api.Node, error) {
	var fleets []api.Fleet
	var nodes []api.Node
	var names []string
	for _, fl := range s.Fleets {
		for _, n := range fl.Nodes {
			fleets, nodes, names = append(fleets, fl), append(nodes, n), append(names, n.ID)
		}
	}
	i, err := nodename.Find(s.App+"/"+s.Env, name, names)
	if err != nil {
		return api.Fleet{}, api.Node{}, err
	}
	return fleets[i], nodes[i], nil
}

func (o *output) nodeStatusLines(r api.NodeResult, now time.Time) []string {
	n := r.Node
	lines := []string{
		o.bold(n.ID), "",
		fmt.Sprintf("  state      %s for %s", o.byState(n.State), span(now.Sub(n.Since))),
		fmt.Sprintf("  release    %s, image %s", r.Release, shortDigest(r.Image)),
		fmt.Sprintf("  address    %s, pid %d on %s", n.Address, n.PID, n.Host),
		fmt.Sprintf("  in flight  %s", human.Count(n.InFlight, "request")),
	}
	if n.Reason != "" {
		lines = append(lines, "  because    "+n.Reason)
	}
	if r.Drift.Total == 0 {
		return append(lines, "  drift      "+o.green("none: it is as its image"))
	}
	lines = append(lines, "  drift      "+o.yellow(human.Count(r.Drift.Total, "change")))
	var t table
	for _, ch := range r.Drift.Changes {
		t.row(plain(ch.How), plain(ch.What), plain(ch.Path), plain(ch.Detail))
	}
	lines = append(lines, t.lines("             ")...)
	if more := r.Drift.Total - len(r.Drift.Changes); more > 0 {
		lines = append(lines, fmt.Sprintf("             and %d more", more))
	}
	return lines
}

// driftText is a drift in one line.
func driftText(d api.Drift) string {
	var first []string
	for _, ch := range d.Changes[:min(len(d.Changes), 3)] {
		how := ch.How
		if ch.What != "file" {
			how = ch.What + " " + ch.How
		}
		first = append(first, fmt.Sprintf("%s (%s)", ch.Path, how))
	}
	text := human.Count(d.Total, "change") + ": " + strings.Join(first, ", ")
	if d.Total > len(first) {
		text += ", …"
	}
	return text
}
