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
	var q api.EventQuery
	var tail int
	var since string
	cmd := &cobra.Command{
		Use: "events", Short: "Show the journal: what happened, when and why",
		Long: `Shows the journal of the app, the oldest entry first. --since takes a length of time, a time, or a release: then it begins with
the release's launch. --type takes a type such as node.died, or what types begin with, such as node; it may be given several times.`,
		Example: "  release events --tail 20 --follow\n  release events --since 1h --type node --type fleet.shot\n  release events --since r8 --json",
		Args:    noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			app, client, err := c.appIfUsed(ctx)
			if err != nil {
				return err
			}
			if tail > 0 {
				s, err := client.Status(ctx, appOf(app))
				if err != nil {
					return err
				}
				q.After = max(q.After, s.EventSeq-min(s.EventSeq, uint64(tail)))
			}
			if q.Since, err = c.since(ctx, client, appOf(app), since); err != nil {
				return err
			}
			return c.showEvents(ctx, client, appOf(app), q)
		},
	}
	cmd.Flags().BoolVarP(&q.Follow, "follow", "f", false, "go on with events as they come, until Ctrl-C")
	cmd.Flags().IntVarP(&tail, "tail", "n", 0, "only the last so many (default: all)")
	cmd.Flags().Uint64Var(&q.After, "after", 0, "only those after this `number`")
	cmd.Flags().StringVar(&since, "since", "", "only those since this `time`: 1h, 7d, 2006-01-02, 2006-01-02T15:04:05Z, or r8 for a release's launch")
	cmd.Flags().StringArrayVar(&q.Types, "type", nil, "only those of this `type`, node.died or node")
	_ = cmd.RegisterFlagCompletionFunc("since", c.completeReleases)
	return cmd
}

func (c *cli) showEvents(ctx context.Context, client *api.Client, app api.App, q api.EventQuery) error {
	r := api.EventsResult{Head: api.NewHead(nil), Last: q.After}
	err := client.EventsOf(ctx, app, q, func(e api.Event) error {
		r.Count, r.Last = r.Count+1, e.Seq
		if c.out.json {
			return c.out.event(e)
		}
		_, err := fmt.Fprintln(c.out.stdout, c.out.eventLine(e))
		return err
	})
	if q.Follow && errors.Is(err, context.Canceled) {
		err = nil // Ctrl-C is how following ends
	}
	if err != nil {
		return err
	}
	return c.out.result(r, func(io.Writer) {})
}
