package main

import (
	"context"
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
	var dry bool
	word := api.Steer{Verb: verb}
	cmd := &cobra.Command{
		Use: verb, Short: short[verb], Example: "  release " + verb, Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dry {
				return c.wouldSay(cmd, word)
			}
			return c.steer(cmd, word)
		},
	}
	dryRunFlag(cmd, &dry)
	if verb == "abort" {
		cmd.Long = `Routes back to the release that served before, shoots what was launched, and ends the operation. Past a one-way step that is
refused (exit code 4), since the old release may not work any more; --force does it all the same, and the journal says who did.`
		cmd.Example += "\n  release abort --force --dry-run"
		cmd.Flags().BoolVar(&word.Force, "force", false, "route back also past a one-way step")
	}
	return cmd
}

// steerResult is the result of a word with --dry-run.
type steerResult struct {
	api.Head
	DryRun bool     `json:"dry_run"`
	Would  []string `json:"would"` // the lines that the journal would get
}

// wouldSay shows what a word would do.
func (c *cli) wouldSay(cmd *cobra.Command, word api.Steer) error {
	app, client, err := c.appAndAgent(cmd.Context())
	if err != nil {
		return err
	}
	word.By, word.DryRun = c.who(), true
	done, err := client.Steer(cmd.Context(), appOf(app), word)
	if err != nil {
		return err
	}
	r := steerResult{Head: api.NewHead(nil), DryRun: true, Would: append([]string{}, done.Done...)}
	return c.out.result(r, func(w io.Writer) {
		fmt.Fprintln(w, c.out.yellow("dry run, nothing is done"))
		for _, line := range r.Would {
			fmt.Fprintf(w, "%s/%s: %s\n", app.App, app.Env, line)
		}
		if len(r.Would) == 0 {
			fmt.Fprintf(w, "%s/%s: nothing to do\n", app.App, app.Env)
		}
	})
}

func (c *cli) steer(cmd *cobra.Command, word api.Steer) error {
	ctx := cmd.Context()
	a, client, sub, err := c.underWay(ctx, word.Verb)
	if err != nil {
		return err
	}
	a.undoes = true
	word.By = c.who()
	if _, err := client.Steer(ctx, appOf(a.app), word); err != nil {
		return err
	}
	if sub.Operation.ID == "" {
		return c.out.result(a.result(sub.Operation), func(w io.Writer) {
			fmt.Fprintf(w, "%s/%s: nodes are replaced again as they fail\n", a.app.App, a.app.Env)
		})
	}
	if word.Verb == "abort" {
		return c.follow(ctx, client, a, sub)
	}
	op, err := client.Operation(ctx, appOf(a.app), sub.Operation.ID, 0)
	if err != nil {
		return err
	}
	return c.out.result(a.result(op), func(w io.Writer) {
		fmt.Fprintf(w, "%s/%s: %s of %s: %sd at %d %%\n", a.app.App, a.app.Env, op.Kind, op.Release, word.Verb, op.Percent)
	})
}

// underWay is the operation under way, as it would be followed from now on. For resume it may be none, where replacing nodes is
// held.
func (c *cli) underWay(ctx context.Context, verb string) (asked, *api.Client, api.Submitted, error) {
	app, err := c.app()
	if err != nil {
		return asked{}, nil, api.Submitted{}, err
	}
	client, err := c.connect(ctx)
	if err != nil {
		return asked{}, nil, api.Submitted{}, err
	}
	status, err := client.Status(ctx, appOf(app))
	if err != nil {
		return asked{}, nil, api.Submitted{}, err
	}
	held := slices.ContainsFunc(status.Fleets, func(fl api.Fleet) bool { return fl.Storm != nil })
	switch {
	case status.Operation != nil:
	case verb == "resume" && held:
		return asked{app: app}, client, api.Submitted{EventSeq: status.EventSeq}, nil
	default:
		if _, err := client.Steer(ctx, appOf(app), api.Steer{Verb: verb, By: c.who(), DryRun: true}); err != nil {
			return asked{}, nil, api.Submitted{}, err // the agent knows what to do instead
		}
		return asked{}, nil, api.Submitted{}, fault.New(fault.NotFound, "%s %s/%s: nothing is under way", verb, app.App, app.Env)
	}
	return asked{app: app}, client, api.Submitted{Operation: *status.Operation, EventSeq: status.EventSeq}, nil
}

func (c *cli) destroyVerb() *cobra.Command {
	var a asked
	var volumes bool
	cmd := &cobra.Command{
		Use:   "destroy",
		Short: "Shoot all fleets of the app in this environment",
		Long: `Ends what is under way, takes the route away and shoots every node. Images, history and volumes stay; --volumes removes
the volumes too, with all that is in them. It asks first; -y does not.`,
		Example: "  release destroy -e staging -y\n  release destroy -e staging --volumes -y",
		Args:    noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			app, err := c.app()
			if err != nil {
				return err
			}
			a.request.Volumes = volumes
			if a.dryRun {
				return c.simple(cmd, a, "destroy", nil)
			}
			question := fmt.Sprintf("Shoot all fleets of %s/%s?", app.App, app.Env)
			if volumes {
				question = fmt.Sprintf("Shoot all fleets of %s/%s, and remove their volumes with all data?", app.App, app.Env)
			}
			if err := c.confirm(question); err != nil {
				return err
			}
			return c.simple(cmd, a, "destroy", nil)
		},
	}
	detachFlag(cmd, &a.detach)
	dryRunFlag(cmd, &a.dryRun)
	waitFlag(cmd, &a.request.Wait)
	cmd.Flags().BoolVar(&volumes, "volumes", false, "remove the volumes too, with all that is in them")
	return cmd
}
