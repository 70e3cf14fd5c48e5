package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/diff"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/plainfile"
)

// planResult is the result of plan, and of every verb with --dry-run.
type planResult struct {
	api.Head
	api.Plan
	DryRun    bool         `json:"dry_run,omitempty"`
	ImageDiff *diff.Result `json:"image_diff,omitempty"` // from what serves; none where an image is not in the store here
}

func (c *cli) planVerb() *cobra.Command {
	a := asked{plans: true}
	var b bakeFlags
	cmd := &cobra.Command{
		Use:   "plan [IMAGE]",
		Short: "Say what up would do: changes, schedule, what is shot, how long it takes",
		Long: `Bakes the app's recipe (or takes the IMAGE given) and says what release up would do with it: what changes in the
image and the configuration, the steps with their times, hooks and approvals, how many nodes there are at the peak, which
fleets are shot and when. Nothing is launched. Where the release is launched already, or holds at a share, it is the
plan of its cutover.

With --out the plan is written to a file. release up --plan FILE, or release cutover --plan FILE, runs exactly that plan,
and refuses when the world has moved since.`,
		Example: `  release plan
  release plan --out shop.plan && release up --plan shop.plan
  release plan r7 --json`,
		Args:              between(0, 1, ""),
		ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args)+len(a.images) > 0 {
				return c.launch(cmd.Context(), a, "up", args)
			}
			return c.bakeAndLaunch(cmd.Context(), a, b)
		},
	}
	cmd.Flags().StringVar(&a.out, "out", "", "write the plan to this `file`, for --plan")
	imageFlag(cmd, &a.images)
	b.bind(cmd)
	return cmd
}

// dryRunFlag adds --dry-run.
func dryRunFlag(cmd *cobra.Command, dry *bool) {
	cmd.Flags().BoolVar(dry, "dry-run", false, "say what would be done, and do nothing")
}

// tried shows what a verb that is no operation would do.
func (c *cli) tried(format string, args ...any) func(io.Writer) {
	return func(w io.Writer) {
		fmt.Fprintln(w, c.out.yellow("dry run, nothing is done"))
		fmt.Fprintf(w, format+"\n", args...)
	}
}

// showPlan asks for what the request would do, and shows it.
func (c *cli) showPlan(ctx context.Context, client *api.Client, a asked) error {
	a.request.DryRun = a.dryRun
	p, err := client.Plan(ctx, appOf(a.app), a.request)
	if err != nil {
		return err
	}
	r := planResult{Head: api.NewHead(nil), Plan: p, DryRun: a.dryRun}
	if a.plans {
		if r.ImageDiff, err = c.imageDiff(ctx, p); err != nil {
			return err
		}
	}
	if a.out != "" {
		b, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("write plan: %w", err)
		}
		if err := atomicfile.Write(a.out, append(b, '\n'), 0o644); err != nil {
			return fmt.Errorf("write plan: %w", err)
		}
	}
	return c.out.result(r, func(w io.Writer) { c.dataOutput().plan(w, r, a.out) })
}

// imageDiff compares the planned image with the one that serves, where both are in the store here.
func (c *cli) imageDiff(ctx context.Context, p api.Plan) (*diff.Result, error) {
	if p.FromImage == "" || p.Image == "" {
		return nil, nil
	}
	store, err := c.store()
	if err != nil {
		return nil, err
	}
	d, err := diff.Compare(ctx, store, images.Digest(p.FromImage), images.Digest(p.Image))
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, ended(ctx, err)
	}
	return &d, nil
}

// planFlag adds --plan.
func planFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "plan", "", "run exactly the plan in this `file`, which release plan --out wrote; refuse if the world has moved since")
}

// runPlan begins what a plan says; more is there that it should be run with. Where its release was launched meanwhile, what is
// left of it is the cutover.
func (c *cli) runPlan(ctx context.Context, a asked, file string, more bool) error {
	if more {
		return fault.New(fault.Invalid, "run plan %s: what is run is in the plan; no release, image or share can be given beside it", file)
	}
	app, err := c.app()
	if err != nil {
		return err
	}
	p, err := readPlan(file)
	if err != nil {
		return err
	}
	if p.App != app.App || p.Env != app.Env {
		return fault.New(fault.Invalid, "run plan %s: it is of %s/%s, this is %s/%s", file, p.App, p.Env, app.App, app.Env)
	}
	a.request.Plan = p.Basis
	release := ""
	if p.Kind == "cutover" {
		release = p.Release
	} else if release, err = c.launchedAs(ctx, a, p); err != nil {
		return err
	}
	if release != "" {
		a.app, a.request.Kind, a.request.Release = app, "cutover", release
		return c.operate(ctx, a)
	}
	return c.start(ctx, a, "up", app, setOf(api.Release{Image: p.Image, Images: p.Images}, app))
}

// launchedAs is the ready release of the plan's image, "" if there is none.
func (c *cli) launchedAs(ctx context.Context, a asked, p planResult) (string, error) {
	client, err := c.connect(ctx)
	if err != nil {
		return "", err
	}
	status, err := client.Status(ctx, api.App{App: p.App, Env: p.Env})
	if err != nil && !fault.Is(err, fault.NotFound) {
		return "", err
	}
	for _, fl := range status.Fleets {
		if fl.State == "ready" && !fl.Accessory && fl.Image == cmp.Or(p.Images[fl.Role], p.Image) {
			return fl.Release, nil
		}
	}
	return "", nil
}

// maxPlan is the size of a plan file at most, in bytes: thousands of nodes and every file of two images are less.
const maxPlan = 64 << 20

// readPlan reads what plan --out wrote.
func readPlan(file string) (planResult, error) {
	var p planResult
	b, err := plainfile.Read(file, maxPlan)
	if err != nil {
		return p, fault.New(fault.Invalid, "run plan: %w", err).WithHint("release plan --out FILE writes one")
	}
	if err := json.Unmarshal(b, &p); err != nil || p.Type != "result" || len(p.Basis) == 0 || p.Schema != api.Schema {
		return p, fault.New(fault.Invalid, "read plan: %s is no plan", file).WithHint("release plan --out FILE writes one")
	}
	if p.Nothing {
		return p, fault.New(fault.Invalid, "run plan %s: there was nothing to do when it was made", file).WithHint("make a new one: release plan --out %s", file)
	}
	return p, nil
}
