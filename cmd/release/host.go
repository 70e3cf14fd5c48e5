package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/human"
)

// forgottenResult is the result of host forget.
type forgottenResult struct {
	api.Head
	Host   string `json:"host"`
	DryRun bool   `json:"dry_run,omitempty"`
	api.Forgotten
}

func (c *cli) hostVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "host", Short: "Other machines that nodes run on: list, drain, give one up", Args: onlyVerbs,
		Long: `The hosts that apps spread their nodes over (fleet.hosts in release.yaml), and other machines with agents that share a store
with this one, of which each sees the nodes of its own machine or engine.`,
		RunE: c.needsVerb,
	}
	cmd.AddCommand(c.hostList(), c.hostStatus(), c.hostDrain(), c.hostForget())
	return cmd
}

func (c *cli) hostForget() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "forget HOST", Short: "Say that a machine is gone for good, with all that ran there",
		Long: `No agent leads that does not see the nodes of every fleet: it would boot them again beside those that run. When their
machine is gone for good, this says so. The agent that is asked takes its fleets over, boots them anew from their images, which
it must have, and nothing waits for routers there any more. Say it of no machine that may still run: users of an edge
that still reaches its nodes would be served by them.

A host of fleet.hosts is forgotten likewise: its nodes are made up for at once on the others, without waiting for host_lost_after.
The next release that names it brings it back.`,
		Example: "  release host forget alpha --dry-run\n  release host forget alpha", Args: between(1, 1, "the host"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			gone, err := client.ForgetHost(cmd.Context(), api.ForgetHost{Host: args[0], By: c.who(), DryRun: dry})
			if err != nil {
				return err
			}
			r := forgottenResult{Head: api.NewHead(nil), Host: args[0], DryRun: dry, Forgotten: gone}
			if dry {
				return c.out.result(r, c.tried("host %s would be forgotten: %s", args[0], r.text()))
			}
			return c.out.result(r, func(w io.Writer) { fmt.Fprintf(w, "host %s is forgotten: %s\n", args[0], r.text()) })
		},
	}
	dryRunFlag(cmd, &dry)
	return cmd
}

// text is what becomes of what was there.
func (r forgottenResult) text() string {
	if r.DryRun {
		text := fmt.Sprintf("%s would be booted anew here, nothing would wait for %s of it", human.Count(len(r.Fleets), "fleet"), human.Count(len(r.Edges), "router"))
		return text + r.lost("would be lost")
	}
	return fmt.Sprintf("%s booted anew here, nothing waits for %s of it", human.Are(len(r.Fleets), "fleet"), human.Count(len(r.Edges), "router")) + r.lost("lost")
}

// lost names the volumes, in a line of their own.
func (r forgottenResult) lost(how string) string {
	if len(r.Volumes) == 0 {
		return ""
	}
	return fmt.Sprintf("\n%s with their data: %s", how, strings.Join(r.Volumes, ", "))
}
