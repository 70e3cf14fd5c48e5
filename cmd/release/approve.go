package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
)

func (c *cli) approveVerb() *cobra.Command {
	var as string
	var detach, dry bool
	cmd := &cobra.Command{
		Use:   "approve",
		Short: "Let the cutover go on that waits for approval",
		Long: `A step of cutover.steps with approve: GROUP is held after its time until somebody approves. The release keeps
the approval, and the journal says whose it was. Who may is said by approvers in the agent's agent.yaml; for a group that
is not there everybody may who can use the agent. Then it follows the operation to its end, like cutover.`,
		Example: "  release approve\n  release approve --as ann --detach",
		Args:    noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dry {
				return c.wouldSay(cmd, api.Steer{Verb: "approve", As: as})
			}
			ctx := cmd.Context()
			a, client, sub, err := c.underWay(ctx, "approve")
			if err != nil {
				return err
			}
			if _, err := client.Steer(ctx, appOf(a.app), api.Steer{Verb: "approve", By: c.who(), As: as}); err != nil {
				return err
			}
			if detach {
				return c.out.result(a.result(sub.Operation), func(w io.Writer) { fmt.Fprintln(w, sub.Operation.ID) })
			}
			return c.follow(ctx, client, a, sub)
		},
	}
	detachFlag(cmd, &detach)
	dryRunFlag(cmd, &dry)
	cmd.Flags().StringVar(&as, "as", "", "`user` who approves, where root types it (default: yourself)")
	return cmd
}
