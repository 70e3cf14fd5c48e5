package main

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

func (c *cli) promoteVerb() *cobra.Command {
	var a asked
	var from string
	cmd := &cobra.Command{
		Use:   "promote",
		Short: "Release the images that serve in another environment",
		Long: `Takes the images of the release that has all the traffic in another environment, the one that environments.NAME.promote
names, launches them here with this environment's configuration, and cuts over. Nothing is baked: what was tried there
runs here, byte for byte.`,
		Example: `  release promote
  release promote -e production --from staging`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.promote(cmd.Context(), a, from) },
	}
	detachFlag(cmd, &a.detach)
	dryRunFlag(cmd, &a.dryRun)
	waitFlag(cmd, &a.request.Wait)
	cmd.Flags().BoolVar(&a.request.KeepFailed, "keep-failed", false, "do not shoot a fleet that never became healthy")
	cmd.Flags().StringVar(&from, "from", "", "the `environment` to take the images from (default: the one that promote names)")
	_ = cmd.RegisterFlagCompletionFunc("from", c.completeEnvironments)
	return cmd
}

func (c *cli) promote(ctx context.Context, a asked, from string) error {
	app, err := c.app()
	if err != nil {
		return err
	}
	if err := c.checkedSQL(); err != nil {
		return err
	}
	from = cmp.Or(from, app.Promote)
	switch from {
	case "":
		return fault.New(fault.Invalid, "promote to %s/%s: %s does not say from which environment", app.App, app.Env, relative(app.Path())).
			WithHint("add environments: {%s: {promote: staging}}, or name it with --from", app.Env)
	case app.Env:
		return fault.New(fault.Invalid, "promote to %s/%s: it cannot take images from itself", app.App, app.Env)
	}
	if _, err := config.Load(app.Path(), from); err != nil {
		return err
	}
	set, release, err := c.servingIn(ctx, app, from)
	if err != nil {
		return err
	}
	c.out.progress("promoting %s of %s/%s to %s", release, app.App, from, app.Env)
	return c.start(ctx, a, "up", app, set)
}

// servingIn is the images of the release that has all the traffic of an environment.
func (c *cli) servingIn(ctx context.Context, app *config.App, env string) (imageSet, string, error) {
	client, err := c.connect(ctx)
	if err != nil {
		return imageSet{}, "", err
	}
	source := api.App{App: app.App, Env: env}
	status, err := client.Status(ctx, source)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return imageSet{}, "", err
	}
	serving := wholeRelease(status)
	if serving == "" {
		return imageSet{}, "", fault.New(fault.NotFound, "promote to %s/%s: no release has all the traffic in %s", app.App, app.Env, env).
			WithHint("release up -e %s, and see release status -e %s", env, env)
	}
	releases, err := client.Releases(ctx, source)
	if err != nil {
		return imageSet{}, "", err
	}
	for _, r := range releases {
		if r.ID == serving {
			set, err := c.promoted(setOf(r, app), r, app)
			return set, serving, err
		}
	}
	return imageSet{}, "", fault.New(fault.NotFound, "promote to %s/%s: %s/%s has no record of %s", app.App, app.Env, app.App, env, serving)
}

// promoted refuses when a role here has no image there.
func (c *cli) promoted(set imageSet, r api.Release, app *config.App) (imageSet, error) {
	for _, role := range app.RoleNames() {
		if len(app.Roles) > 0 && set.roles[role] == "" && app.ForRole(role).Recipe != app.Recipe {
			return set, fault.New(fault.NotFound, "promote to %s/%s: %s has no role %s, so there is no image for it", app.App, app.Env, r.ID, role).
				WithHint("release it there first")
		}
	}
	return set, nil
}

// wholeRelease is the one release that has all the traffic; "" when there is none, or it is under way.
func wholeRelease(s api.Status) string {
	if s.Operation != nil {
		return ""
	}
	for _, fl := range s.Fleets {
		if fl.Percent == 100 && !fl.Accessory {
			return fl.Release
		}
	}
	return ""
}
