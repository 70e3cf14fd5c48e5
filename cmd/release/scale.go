package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/internal/fault"
)

func (c *cli) scaleVerb() *cobra.Command {
	var a asked
	cmd := &cobra.Command{
		Use:   "scale SIZE",
		Short: "Set how many nodes each fleet has",
		Long: `Sets the size of the environment's fleets. It holds until release.yaml has another size than at the last
launch.`,
		Example: "  release scale 6",
		Args:    between(1, 1, "the size"),
		RunE: func(cmd *cobra.Command, args []string) error {
			size, err := strconv.Atoi(args[0])
			if err != nil || size < 1 {
				return fault.New(fault.Invalid, "read size %q: not a number of nodes from 1 on", args[0]).
					WithHint("release destroy ends all nodes")
			}
			a.request.Size = size
			return c.simple(cmd, a, "scale", nil)
		},
	}
	detachFlag(cmd, &a.detach)
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

func (c *cli) replaceVerb() *cobra.Command {
	var a asked
	cmd := &cobra.Command{
		Use:               "replace NODE...",
		Short:             "Boot new nodes in the place of these, then shoot them",
		Example:           "  release replace shop-production-r8-k3f9q",
		Args:              between(1, -1, "the node"),
		ValidArgsFunction: c.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.request.Nodes = args
			return c.simple(cmd, a, "replace", nil)
		},
	}
	detachFlag(cmd, &a.detach)
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}
