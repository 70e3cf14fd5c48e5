package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/config"
)

func (c *cli) launchVerb() *cobra.Command {
	var a asked
	cmd := &cobra.Command{
		Use:   "launch [IMAGE]",
		Short: "Boot a fresh fleet and prove it healthy; it gets no traffic yet",
		Long: `Boots the fleet of a new release and waits until every node is healthy. Its weight stays 0: reach it
through the route with the header X-Release (X-Release: r8), then cut over.

IMAGE is a digest, a unique prefix of one, a release (r8) or a name; without it the app's newest image is taken.`,
		Example: `  release launch
  release launch sha256:4f1c…
  release launch r7 --detach`,
		Args:              between(0, 1, ""),
		ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.checkedSQL(); err != nil {
				return err
			}
			return c.launch(cmd.Context(), a, "launch", args)
		},
	}
	detachFlag(cmd, &a.detach)
	dryRunFlag(cmd, &a.dryRun)
	waitFlag(cmd, &a.request.Wait)
	cmd.Flags().BoolVar(&a.request.KeepFailed, "keep-failed", false, "do not shoot a fleet that never became healthy")
	imageFlag(cmd, &a.images)
	return cmd
}

// imageFlag adds --image.
func imageFlag(cmd *cobra.Command, images *[]string) {
	cmd.Flags().StringArrayVar(images, "image", nil, "another image for a role, `ROLE=IMAGE`; may be repeated")
}

func (c *cli) upVerb() *cobra.Command {
	var a asked
	var b bakeFlags
	var file string
	cmd := &cobra.Command{
		Use:   "up [IMAGE]",
		Short: "Bake, launch and cut over to 100 %, in one step",
		Long: `Bakes the app's recipe (or takes the IMAGE given), launches it, and moves the traffic with the steps of
release.yaml. With nothing changed it does nothing. A release of the same image and configuration that is launched
already, or holds at a share, is gone on with.`,
		Example: `  release up
  release up -e staging --json`,
		Args:              between(0, 1, ""),
		ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.checkedSQL(); err != nil {
				return err
			}
			if file != "" {
				return c.runPlan(cmd.Context(), a, file, len(args)+len(a.images) > 0)
			}
			if len(args)+len(a.images) > 0 {
				return c.launch(cmd.Context(), a, "up", args)
			}
			return c.bakeAndLaunch(cmd.Context(), a, b)
		},
	}
	detachFlag(cmd, &a.detach)
	dryRunFlag(cmd, &a.dryRun)
	waitFlag(cmd, &a.request.Wait)
	cmd.Flags().BoolVar(&a.request.KeepFailed, "keep-failed", false, "do not shoot a fleet that never became healthy")
	imageFlag(cmd, &a.images)
	planFlag(cmd, &file)
	b.bind(cmd)
	return cmd
}

// launch runs launch or up with an image that is there.
func (c *cli) launch(ctx context.Context, a asked, kind string, args []string) error {
	app, err := c.app()
	if err != nil {
		return err
	}
	set, err := c.imagesFor(ctx, app, args, a.images)
	if err != nil {
		return err
	}
	return c.start(ctx, a, kind, app, set)
}

// start uploads what the agent lacks of the images and submits the operation.
func (c *cli) start(ctx context.Context, a asked, kind string, app *config.App, set imageSet) error {
	for _, image := range set.digests() {
		if err := c.upload(ctx, app, image, set.names[image]); err != nil {
			return err
		}
	}
	a.app, a.image = app, set.main
	a.request.Kind, a.request.Image, a.request.Images = kind, set.main, set.others()
	var err error
	if a.request.Files, err = c.hookFiles(ctx, app); err != nil {
		return err
	}
	if err := a.configured(); err != nil {
		return err
	}
	return c.operate(ctx, a)
}
