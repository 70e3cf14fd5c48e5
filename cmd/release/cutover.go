package main

import (
	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/internal/fault"
)

func (c *cli) cutoverVerb() *cobra.Command {
	var a asked
	var file string
	cmd := &cobra.Command{
		Use:   "cutover [RELEASE]",
		Short: "Shift traffic to the launched release",
		Long: `Runs the remaining cutover steps of the release to 100 %, watches, and goes back by itself when the release is
worse than the old one or abort_on says so. With --percent it sets that split and ends: nobody watches it. From there
cutover and up go on, rollback goes back.`,
		Example: `  release cutover --percent 10
  release cutover r8
  release cutover --plan shop.plan`,
		Args:              between(0, 1, ""),
		ValidArgsFunction: c.completeReleases,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("percent") && (a.request.Percent < 1 || a.request.Percent > 100) {
				return fault.New(fault.Invalid, "read --percent: %d is not from 1 to 100", a.request.Percent).
					WithHint("release rollback takes the traffic away from a release")
			}
			if file != "" {
				return c.runPlan(cmd.Context(), a, file, len(args) > 0 || cmd.Flags().Changed("percent"))
			}
			return c.simple(cmd, a, "cutover", args)
		},
	}
	detachFlag(cmd, &a.detach)
	dryRunFlag(cmd, &a.dryRun)
	waitFlag(cmd, &a.request.Wait)
	planFlag(cmd, &file)
	cmd.Flags().IntVar(&a.request.Percent, "percent", 0, "set this `share` and hold it (default: the remaining steps to 100)")
	cmd.Flags().BoolVar(&a.request.Force, "force", false, "shift also without enough healthy nodes")
	return cmd
}

func (c *cli) rollbackVerb() *cobra.Command {
	a := asked{undoes: true}
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Route back to the release before",
		Long: `Routes back to the last release that was complete: at once when its fleet is warm, else by booting the same
image, proving it healthy and then routing. During a launch or cutover it aborts that one; past a one-way step that needs
--force.`,
		Example: `  release rollback
  release rollback --to r6`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.simple(cmd, a, "rollback", nil) },
	}
	detachFlag(cmd, &a.detach)
	dryRunFlag(cmd, &a.dryRun)
	cmd.Flags().StringVar(&a.request.Release, "to", "", "the `release` to go back to (default: the last that was complete)")
	cmd.Flags().BoolVar(&a.request.Force, "force", false, "route back also past a one-way step, and without enough healthy nodes")
	_ = cmd.RegisterFlagCompletionFunc("to", c.completeReleases)
	return cmd
}

// simple runs an operation that needs nothing but the app's name; args may hold a release.
func (c *cli) simple(cmd *cobra.Command, a asked, kind string, args []string) error {
	app, err := c.app()
	if err != nil {
		return err
	}
	a.app, a.request.Kind = app, kind
	if len(args) > 0 {
		a.request.Release = args[0]
	}
	return c.operate(cmd.Context(), a)
}
