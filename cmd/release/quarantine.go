package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

// quarantineResult is the result of quarantine without a node.
type quarantineResult struct {
	api.Head
	Nodes []quarantinedNode `json:"nodes"`
}

// quarantinedNode is a node in quarantine, with the release that it is of.
type quarantinedNode struct {
	Release string `json:"release"`
	api.Node
}

func (c *cli) quarantineVerb() *cobra.Command {
	var a asked
	var keep time.Duration
	cmd := &cobra.Command{
		Use:   "quarantine [NODE...]",
		Short: "Take nodes out of the route and keep them to be looked at",
		Long: `Takes nodes out of the route at once, boots others in their place, and keeps them as they are: running, with
their output, files and network, for logs, exec and cp. The last node that serves stays until another is healthy in its
place. When their time is over they are shot; it counts while the serving fleet is whole. A node in quarantine never goes
back into its fleet. Without a node it lists those in quarantine.`,
		Example:           "  release quarantine k3f9q --for 4h\n  release exec k3f9q -- cat /proc/1/status\n  release quarantine\n  release quarantine k3f9q --end",
		ValidArgsFunction: c.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch set := cmd.Flags().Changed; {
			case set("for") && keep <= 0:
				return fault.New(fault.Invalid, "read --for: %s is no time to keep a node for", keep).WithHint("release quarantine NODE --end shoots it now")
			case set("for") && a.request.End:
				return fault.New(fault.Invalid, "%s: --for and --end exclude each other", cmd.CommandPath())
			case len(args) == 0 && (set("for") || a.request.End):
				return fault.New(fault.Invalid, "%s: the node is missing", cmd.CommandPath()).WithHint("%s", cmd.UseLine())
			case len(args) == 0:
				return c.listQuarantine(cmd.Context())
			}
			a.request.Nodes, a.request.For = args, keep.Seconds()
			return c.simple(cmd, a, "quarantine", nil)
		},
	}
	cmd.Flags().DurationVar(&keep, "for", 0, "`time` to keep them (default: fleet.quarantine_for of release.yaml, 2h)")
	cmd.Flags().BoolVar(&a.request.End, "end", false, "shoot these nodes, which are in quarantine")
	detachFlag(cmd, &a.detach)
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

func (c *cli) listQuarantine(ctx context.Context) error {
	app, client, err := c.appIfUsed(ctx)
	if err != nil {
		return err
	}
	s, err := client.Status(ctx, appOf(app))
	if err != nil {
		return err
	}
	r := quarantineResult{Head: api.NewHead(nil), Nodes: []quarantinedNode{}}
	for _, fl := range s.Fleets {
		for _, n := range fl.Nodes {
			if n.Quarantine != nil {
				r.Nodes = append(r.Nodes, quarantinedNode{Release: fl.Release, Node: n})
			}
		}
	}
	return c.out.result(r, func(w io.Writer) { c.out.quarantine(w, r.Nodes, time.Now()) })
}

func (o *output) quarantine(w io.Writer, nodes []quarantinedNode, now time.Time) {
	if len(nodes) == 0 {
		fmt.Fprintln(w, "no node is in quarantine")
		return
	}
	var t table
	t.row(plain("NODE"), plain("RELEASE"), plain("SINCE"), plain("LEFT"), plain("BY"), plain("WHY"))
	for _, n := range nodes {
		t.row(plain(n.ID), plain(n.Release), plain(span(now.Sub(n.Since))), plain(span(seconds(n.Quarantine.Left))),
			plain(n.Quarantine.By), plain(n.Quarantine.Why))
	}
	fmt.Fprintln(w, strings.Join(t.lines(""), "\n"))
}

// quarantineLeft is how long a node stays in quarantine, as part of its line.
func quarantineLeft(n api.Node) string {
	switch {
	case n.Quarantine == nil:
		return ""
	case n.State != "quarantined":
		return "goes into quarantine when another is healthy in its place"
	case n.Present == "gone":
		return "it has ended; kept for " + span(seconds(n.Quarantine.Left))
	}
	return "kept for " + span(seconds(n.Quarantine.Left))
}

// stormLines say what holds the replacing of a fleet's nodes.
func (o *output) stormLines(fl api.Fleet, now time.Time) []string {
	if fl.Storm == nil {
		return nil
	}
	lines := []string{"             " + o.yellow("replacing is held: ") + fl.Storm.Why}
	if wait := fl.Storm.NextAt.Sub(now); wait > 0 {
		lines = append(lines, o.dim("             the next new node is tried in "+span(wait)+"; release resume tries at once"))
	}
	return lines
}
