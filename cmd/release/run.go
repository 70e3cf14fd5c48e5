package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// runFlags are the flags of run.
type runFlags struct {
	list     bool
	contract bool
	detach   bool
	image    string
	ask      api.TaskRequest
}

func (c *cli) runVerb() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use: "run [JOB] [flags] [-- COMMAND [ARGS...]]", Short: "Run a command once, in a node of its own",
		Long: `Boots a node of the release's image with the app's environment and secrets, runs the command in it instead of the
image's own, shows what it prints and ends with its exit code. Nothing is routed to the node, and it is removed afterwards.
Ctrl-C stops the command. JOB is one of jobs: in release.yaml; --list shows them and the tasks that ran.

--contract runs the last part of the migrations of the release that has the traffic, when no other one has a fleet. It asks
first; -y does not.`,
		Example: `  release run -- /srv/app/manage clearsessions
  release run --release r8 -- /bin/sh -c 'ls -l /srv'
  release run cleanup
  release run --list
  release run --contract -y`,
		Args:              c.runArgs(&f),
		ValidArgsFunction: c.completeJobs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			app, err := c.app()
			if err != nil {
				return err
			}
			if f.list {
				return c.listTasks(cmd.Context(), app)
			}
			if f.contract {
				return c.contract(cmd, app, asked{detach: f.detach, dryRun: f.ask.DryRun})
			}
			return c.run(cmd.Context(), app, f)
		},
	}
	detachFlag(cmd, &f.detach)
	cmd.Flags().Lookup("detach").Usage = "print the task's id and do not wait for its end"
	dryRunFlag(cmd, &f.ask.DryRun)
	cmd.Flags().BoolVar(&f.list, "list", false, "show the jobs, and the tasks that run or ran")
	cmd.Flags().BoolVar(&f.contract, "contract", false, "run the contract phase of migrations: in release.yaml; there is no way back behind it")
	cmd.Flags().StringVar(&f.image, "image", "", "another `image` than the release's")
	cmd.Flags().StringVar(&f.ask.Release, "release", "", "the `release` whose image, environment and secrets are used (default: the one with the traffic)")
	cmd.Flags().StringVar(&f.ask.Role, "role", "", "the `role` whose they are (default: the only one)")
	_ = cmd.RegisterFlagCompletionFunc("release", c.completeReleases)
	_ = cmd.RegisterFlagCompletionFunc("image", c.completeImages)
	return cmd
}

// runArgs tells a job from a command.
func (c *cli) runArgs(f *runFlags) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		before := args
		if dash := cmd.ArgsLenAtDash(); dash >= 0 {
			before, f.ask.Command = args[:dash], args[dash:]
		}
		if len(before) > 0 {
			f.ask.Job = before[0]
		}
		what := len(f.ask.Command) > 0
		switch {
		case len(before) > 1:
			return fault.New(fault.Invalid, "%s: %q is one argument too many", cmd.CommandPath(), before[1]).
				WithHint("a command stands behind two dashes: release run -- %s …", before[0])
		case f.contract && (what || f.ask.Job != "" || f.list || f.image != "" || f.ask.Release != "" || f.ask.Role != ""):
			return fault.New(fault.Invalid, "%s: --contract runs what release.yaml of the release says, and nothing else", cmd.CommandPath()).WithHint("%s", cmd.UseLine())
		case f.list && (what || f.ask.Job != ""):
			return fault.New(fault.Invalid, "%s: --list runs nothing", cmd.CommandPath()).WithHint("%s", cmd.UseLine())
		case what && f.ask.Job != "":
			return fault.New(fault.Invalid, "%s: there is a job, %q, and a command; choose one", cmd.CommandPath(), f.ask.Job).WithHint("%s", cmd.UseLine())
		case !what && f.ask.Job == "" && !f.list && !f.contract:
			return fault.New(fault.Invalid, "%s: a job or a command is needed", cmd.CommandPath()).WithHint("%s", cmd.UseLine())
		}
		return nil
	}
}

// run begins a task and stays with it until its end.
func (c *cli) run(ctx context.Context, app *config.App, f runFlags) error {
	if f.image != "" {
		image, err := c.resolve(ctx, app, f.image)
		if err != nil {
			return err
		}
		if err := c.upload(ctx, app, image, app.App); err != nil {
			return err
		}
		f.ask.Image = image
	}
	client, err := c.connectIfUsed(ctx)
	if err != nil {
		return err
	}
	f.ask.By, f.ask.Attached = c.who(), !f.detach
	t, err := client.RunTask(ctx, appOf(app), f.ask)
	switch {
	case err != nil && f.ask.DryRun:
		return err
	case err != nil:
		return perhapsBegun(err)
	case f.ask.DryRun:
		return c.wouldRun(app, t)
	}
	if f.detach {
		return c.out.result(api.TaskResult{Head: api.NewHead(nil), Task: t}, func(w io.Writer) { fmt.Fprintln(w, t.ID) })
	}
	return c.attend(ctx, client, app, t)
}

// perhapsBegun says of a connection that broke that the command may run. Asked for again it would run twice.
func perhapsBegun(err error) error {
	var lost *fault.Error
	if errors.Is(err, api.ErrNoAgent) && errors.As(err, &lost) {
		return lost.WithHint("it may have begun: release run --list shows whether; the same command again is another run")
	}
	return err
}

// wouldRun shows a task that was not begun.
func (c *cli) wouldRun(app *config.App, t api.Task) error {
	return c.out.result(api.TaskResult{Head: api.NewHead(nil), Task: t, DryRun: true}, func(w io.Writer) {
		fmt.Fprintln(w, c.out.yellow("dry run, nothing is done"))
		fmt.Fprintf(w, "%s/%s: %s would run in a node of %s, role %s, image %s\n", app.App, app.Env, taskWhat(t), t.Release, t.Role, shortDigest(t.Image))
	})
}
