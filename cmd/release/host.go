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
	Host string `json:"host"`
	api.Forgotten
}

func (c *cli) hostVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "host", Short: "Other machines of the installation: give one up", Args: onlyVerbs,
		Long: "Where several agents share a store, each sees the nodes of its own machine or engine.",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.hostForget())
	return cmd
}

func (c *cli) hostForget() *cobra.Command {
	return &cobra.Command{
		Use: "forget HOST", Short: "Say that a machine is gone for good, with all that ran there",
		Long: `No agent leads that does not see the nodes of every fleet: it would boot them again beside those that run. When their
machine is gone for good, this says so. The agent that is asked takes its fleets over, boots them anew from their images, which
it must have, and nothing waits for routers there any more. Say it of no machine that may still run: users of an edge
that still reaches its nodes would be served by them.`,
		Example: "  release host forget alpha", Args: between(1, 1, "the host"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			gone, err := client.ForgetHost(cmd.Context(), api.ForgetHost{Host: args[0], By: c.who()})
			if err != nil {
				return err
			}
			return c.out.result(forgottenResult{Head: api.NewHead(nil), Host: args[0], Forgotten: gone}, func(w io.Writer) {
				fmt.Fprintf(w, "host %s is forgotten: %s booted anew here, nothing waits for %s of it\n", args[0],
					human.Are(len(gone.Fleets), "fleet"), human.Count(len(gone.Edges), "router"))
				if len(gone.Volumes) > 0 {
					fmt.Fprintf(w, "lost with their data: %s\n", strings.Join(gone.Volumes, ", "))
				}
			})
		},
	}
}
