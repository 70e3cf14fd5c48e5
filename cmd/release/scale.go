package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/internal/fault"
)

func (c *cli) scaleVerb() *cobra.Command {
	var a asked
	cmd := &cobra.Command{
		Use:   "scale [ROLE=]SIZE",
		Short: "Set how many nodes each fleet has",
		Long: `Sets the size of the environment's fleets, in an app with several roles of those of the role named. It holds until
release.yaml has another size than at the last launch.`,
		Example:           "  release scale 6\n  release scale worker=2",
		Args:              between(1, 1, "the size"),
		ValidArgsFunction: c.completeRoles,
		RunE: func(cmd *cobra.Command, args []string) error {
			role, text, named := strings.Cut(args[0], "=")
			if !named {
				role, text = "", args[0]
			}
			if named && role == "" {
				return fault.New(fault.Invalid, "read size %q: no role is named", args[0]).WithHint("%s", cmd.UseLine())
			}
			size, err := strconv.Atoi(text)
			if err != nil || size < 1 {
				return fault.New(fault.Invalid, "read size %q: not a number of nodes from 1 on", args[0]).
					WithHint("release destroy ends all nodes")
			}
			a.request.Size, a.request.Role = size, role
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
