package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// hostsResult is the result of host list and host status.
type hostsResult struct {
	api.Head
	Hosts []api.Host `json:"hosts"`
}

// drainedResult is the result of host drain.
type drainedResult struct {
	api.Head
	Host    string `json:"host"`
	Drained bool   `json:"drained"`
	DryRun  bool   `json:"dry_run,omitempty"`
}

func (c *cli) hostList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the hosts of fleet.hosts", Args: noArgs(),
		Example: "  release host list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			hosts, err := c.knownHosts(cmd.Context())
			if err != nil {
				return err
			}
			return c.out.result(hostsResult{Head: api.NewHead(nil), Hosts: hosts}, func(w io.Writer) {
				if len(hosts) == 0 {
					fmt.Fprintln(w, "no release names any hosts (fleet.hosts)")
				}
				for _, h := range hosts {
					c.showHost(w, h)
				}
			})
		},
	}
}

func (c *cli) hostStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status HOST", Short: "Show a host and the nodes on it", Args: between(1, 1, "the host"),
		Example: "  release host status 10.0.0.2",
		RunE: func(cmd *cobra.Command, args []string) error {
			hosts, err := c.knownHosts(cmd.Context())
			if err != nil {
				return err
			}
			for _, h := range hosts {
				if h.Name != args[0] {
					continue
				}
				return c.out.result(hostsResult{Head: api.NewHead(nil), Hosts: []api.Host{h}}, func(w io.Writer) {
					c.showHost(w, h)
					for _, n := range h.Nodes {
						fmt.Fprintf(w, "  %s  %s/%s %s\n", pad(n.State, c.out.byState(n.State), 11), n.App, n.Env, n.Node)
					}
				})
			}
			return fault.New(fault.NotFound, "there is no host %s", args[0]).WithHint("release host list shows them")
		},
	}
}

func (c *cli) hostDrain() *cobra.Command {
	var undo, dry bool
	cmd := &cobra.Command{
		Use: "drain HOST", Short: "Have the nodes of a host replaced on others, or take that back",
		Long: `No node boots on a drained host, and those there are replaced on the other hosts of their fleets, each before it leaves. Returns
at once; release host status HOST shows what is still there. Where a fleet has no other host its nodes stay.`,
		Example: "  release host drain 10.0.0.2\n  release host drain 10.0.0.2 --undo", Args: between(1, 1, "the host"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			if err := client.DrainHost(cmd.Context(), api.DrainHost{Host: args[0], By: c.who(), Undo: undo, DryRun: dry}); err != nil {
				return err
			}
			r := drainedResult{Head: api.NewHead(nil), Host: args[0], Drained: !undo, DryRun: dry}
			switch {
			case dry && undo:
				return c.out.result(r, c.tried("nodes would boot on %s again", args[0]))
			case dry:
				return c.out.result(r, c.tried("%s would be drained: its nodes would be replaced elsewhere", args[0]))
			}
			return c.out.result(r, func(w io.Writer) {
				if undo {
					fmt.Fprintf(w, "nodes boot on %s again\n", args[0])
					return
				}
				fmt.Fprintf(w, "%s is drained: its nodes are replaced elsewhere; release host status %s\n", args[0], args[0])
			})
		},
	}
	dryRunFlag(cmd, &dry)
	cmd.Flags().BoolVar(&undo, "undo", false, "let nodes boot there again; those that were replaced stay where they are")
	return cmd
}

func (c *cli) knownHosts(ctx context.Context) ([]api.Host, error) {
	client, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	return client.Hosts(ctx)
}

// showHost prints one line, and why it does not answer.
func (c *cli) showHost(w io.Writer, h api.Host) {
	state := h.State
	if h.State == api.HostAway {
		state += " since " + h.Since.Local().Format(time.DateTime)
	}
	if h.Drained {
		state += ", drained by " + h.By
	}
	fmt.Fprintf(w, "%s  %s  %s  %s\n", h.Name, h.Where, human.Count(len(h.Nodes), "node"), state)
	if h.Why != "" {
		fmt.Fprintf(w, "  %s\n", h.Why)
	}
}
