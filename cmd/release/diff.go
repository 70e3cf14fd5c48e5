package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/diff"
	"github.com/bootandshoot/release/internal/fault"
)

// releaseDiffResult is the result of diff. Image is null when one of the images is not in the store here.
type releaseDiffResult struct {
	api.Head
	api.ReleaseDiff
	Image *diff.Result `json:"image"`
}

func (c *cli) diffVerb() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "diff RELEASE RELEASE", Short: "Show what changes from one release to another",
		Long: `Compares the configurations of two releases, defaults filled in, and their images when both are in the image store here.
Values of secrets are not shown, only that they differ. Exits with 0 also when the releases differ.`,
		Example: "  release diff r7 r8\n  release diff r7 r8 --files\n  release diff r7 r8 --json",
		Args:    between(2, 2, "a release"), ValidArgsFunction: c.completeReleases,
		RunE: func(cmd *cobra.Command, args []string) error {
			app, client, err := c.appIfUsed(cmd.Context())
			if err != nil {
				return err
			}
			r := releaseDiffResult{Head: api.NewHead(nil)}
			if r.ReleaseDiff, err = client.Diff(cmd.Context(), appOf(app), args[0], args[1]); err != nil {
				return err
			}
			if r.Image, err = c.compareImages(cmd.Context(), r.From.Image, r.To.Image); err != nil {
				return err
			}
			return c.out.result(r, func(w io.Writer) {
				c.dataOutput().configChanges(w, r.ReleaseDiff)
				if r.Image == nil {
					fmt.Fprintln(w, "\nnot both images are in the image store here, so they are not compared")
					return
				}
				fmt.Fprintln(w)
				diffView{out: c.dataOutput(), all: all, names: [2]string{args[0], args[1]}}.write(w, *r.Image)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "files", false, "list every file, those of changed packages too")
	return cmd
}

// compareImages is nil when one of the images is not here.
func (c *cli) compareImages(ctx context.Context, a, b string) (*diff.Result, error) {
	store, err := c.store()
	if err != nil {
		return nil, err
	}
	for _, d := range []string{a, b} {
		if _, err := store.Get(images.Digest(d)); fault.Is(err, fault.NotFound) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	r, err := diff.Compare(ctx, store, images.Digest(a), images.Digest(b))
	if err != nil {
		return nil, ended(ctx, err)
	}
	return &r, nil
}

// configChanges shows what differs in the configuration.
func (o *output) configChanges(w io.Writer, d api.ReleaseDiff) {
	if len(d.Config) == 0 {
		fmt.Fprintln(w, "the configuration is the same")
		return
	}
	var t table
	for _, c := range d.Config {
		from, to := orNothing(c.From), orNothing(c.To)
		t.row(plain(c.Path), cell{from, o.red(from)}, plain("→"), cell{to, o.green(to)})
	}
	fmt.Fprintf(w, "%s\n%s\n", o.bold("Configuration"), strings.Join(t.lines("  "), "\n"))
}

// orNothing is a value for people.
func orNothing(value string) string {
	if value == "" {
		return "(none)"
	}
	return harmless(value)
}
