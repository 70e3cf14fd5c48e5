package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
)

func (c *cli) eventsVerb() *cobra.Command {
	var follow bool
	var tail int
	var after uint64
	cmd := &cobra.Command{
		Use: "events", Short: "Show the journal: what happened, when and why",
		Example: "  release events --tail 20 --follow",
		Args:    noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			app, err := c.app()
			if err != nil {
				return err
			}
			client, err := c.connectIfUsed(ctx)
			if err != nil {
				return err
			}
			if tail > 0 {
				s, err := client.Status(ctx, appOf(app))
				if err != nil {
					return err
				}
				after = max(after, s.EventSeq-min(s.EventSeq, uint64(tail)))
			}
			return c.showEvents(ctx, client, appOf(app), after, follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with events as they come, until Ctrl-C")
	cmd.Flags().IntVarP(&tail, "tail", "n", 0, "only the last so many (default: all)")
	cmd.Flags().Uint64Var(&after, "after", 0, "only those after this `number`")
	return cmd
}

func (c *cli) showEvents(ctx context.Context, client *api.Client, app api.App, after uint64, follow bool) error {
	r := api.EventsResult{Head: api.NewHead(nil), Last: after}
	err := client.Events(ctx, app, after, follow, func(e api.Event) error {
		r.Count, r.Last = r.Count+1, e.Seq
		if c.out.json {
			return c.out.event(e)
		}
		_, err := fmt.Fprintln(c.out.stdout, c.out.eventLine(e))
		return err
	})
	if follow && errors.Is(err, context.Canceled) {
		err = nil // Ctrl-C is how following ends
	}
	if err != nil {
		return err
	}
	return c.out.result(r, func(io.Writer) {})
}
