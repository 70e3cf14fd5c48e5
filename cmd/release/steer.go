package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

// steerVerb is pause, resume or abort.
func (c *cli) steerVerb(verb string) *cobra.Command {
	short := map[string]string{
		"pause":  "Hold the cutover under way at its present split",
		"resume": "Go on with the cutover that is held, or with replacing nodes where that is held",
		"abort":  "Route back and end the operation under way",
	}
	return &cobra.Command{
		Use: verb, Short: short[verb], Example: "  release " + verb, Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.steer(cmd, verb) },
	}
}

func (c *cli) steer(cmd *cobra.Command, verb string) error {
	ctx := cmd.Context()
	app, err := c.app()
	if err != nil {
		return err
	}
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	status, err := client.Status(ctx, appOf(app))
	if err != nil {
		return err
	}
	held := slices.ContainsFunc(status.Fleets, func(fl api.Fleet) bool { return fl.Storm != nil })
	if status.Operation == nil && !(verb == "resume" && held) {
		return fault.New(fault.NotFound, "%s %s/%s: nothing is under way", verb, app.App, app.Env).WithHint("release status shows what runs")
	}
	if err := client.Steer(ctx, appOf(app), api.Steer{Verb: verb, By: c.who()}); err != nil {
		return err
	}
	a := asked{app: app, undoes: true}
	if status.Operation == nil {
		return c.out.result(a.result(api.Operation{}), func(w io.Writer) {
			fmt.Fprintf(w, "%s/%s: nodes are replaced again as they fail\n", app.App, app.Env)
		})
	}
	if verb == "abort" {
		return c.follow(ctx, client, a, api.Submitted{Operation: *status.Operation, EventSeq: status.EventSeq})
	}
	op, err := client.Operation(ctx, appOf(app), status.Operation.ID, 0)
	if err != nil {
		return err
	}
	return c.out.result(a.result(op), func(w io.Writer) {
		fmt.Fprintf(w, "%s/%s: %s of %s: %sd at %d %%\n", app.App, app.Env, op.Kind, op.Release, verb, op.Percent)
	})
}

func (c *cli) destroyVerb() *cobra.Command {
	var a asked
	cmd := &cobra.Command{
		Use:   "destroy",
		Short: "Shoot all fleets of the app in this environment",
		Long: `Ends what is under way, takes the route away and shoots every node. Images and history stay. It asks first;
-y does not.`,
		Example: "  release destroy -e staging -y",
		Args:    noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			app, err := c.app()
			if err != nil {
				return err
			}
			question := fmt.Sprintf("Shoot all fleets of %s/%s?", app.App, app.Env)
			if err := c.confirm(question); err != nil {
				return err
			}
			return c.simple(cmd, a, "destroy", nil)
		},
	}
	detachFlag(cmd, &a.detach)
	return cmd
}
