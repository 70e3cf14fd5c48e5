package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
)

func (c *cli) statsVerb() *cobra.Command {
	var since string
	var all bool
	cmd := &cobra.Command{
		Use: "stats", Short: "Show how often, how fast and how well releases are made",
		Long: `Shows the four measures of delivery that DORA's reports use, from what is recorded, for each environment of the app:
how many releases got all the traffic, and how many that is a day; the lead time, from the bake of a release's image to all of the
traffic; the share of releases with traffic that were aborted or rolled back; and the time to recovery, from such a release's first
traffic to its last. Releases that failed their gate are counted apart: no user saw them.`,
		Example: "  release stats --since 30d\n  release stats --all --json",
		Args:    noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := sinceTime(since, time.Now())
			if err != nil {
				return err
			}
			client, err := c.connectIfUsed(cmd.Context())
			if err != nil {
				return err
			}
			r := api.StatsResult{Head: api.NewHead(nil), Stats: []api.Stats{}}
			apps, err := c.statsApps(cmd.Context(), client, all)
			if err != nil {
				return err
			}
			for _, app := range apps {
				s, err := client.Stats(cmd.Context(), app, from)
				if err != nil {
					return err
				}
				r.Stats = append(r.Stats, s)
			}
			return c.out.result(r, func(w io.Writer) { showStats(w, r.Stats) })
		},
	}
	cmd.Flags().StringVar(&since, "since", "30d", "from this `time` on: 30d, 1y, 2006-01-02")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "all apps of the agent, not only that of release.yaml")
	return cmd
}

// statsApps are the environments to show: with -e that one, else all of the app's that the agent knows, or all that it knows.
func (c *cli) statsApps(ctx context.Context, client *api.Client, all bool) ([]api.App, error) {
	known, err := client.Apps(ctx)
	if err != nil || all {
		return known, err
	}
	app, err := c.app()
	if err != nil {
		return nil, err
	}
	if c.flags.env != "" {
		return []api.App{appOf(app)}, nil
	}
	var own []api.App
	for _, a := range known {
		if a.App == app.App {
			own = append(own, a)
		}
	}
	return own, nil
}

func showStats(w io.Writer, list []api.Stats) {
	var t table
	t.row(plain("APP"), plain("RELEASES"), plain("A DAY"), plain("LEAD TIME"), plain("FAILED"), plain("RECOVERY"), plain("STOPPED AT THE GATE"))
	for _, s := range list {
		failed := "-"
		if s.Changes > 0 {
			failed = fmt.Sprintf("%d of %d (%.0f %%)", s.Failed, s.Changes, s.FailureRate*100)
		}
		t.row(plain(s.App+"/"+s.Env), plain(fmt.Sprint(s.Deployments)), plain(fmt.Sprintf("%.2g", s.PerDay)), plain(spreadText(s.LeadTime)),
			plain(failed), plain(spreadText(s.Recovery)), plain(fmt.Sprint(s.Stopped)))
	}
	fmt.Fprintln(w, strings.Join(t.lines(""), "\n"))
}

// spreadText is "5m (at most 2h)".
func spreadText(s api.Spread) string {
	switch s.Count {
	case 0:
		return "-"
	case 1:
		return span(seconds(s.Median))
	}
	return fmt.Sprintf("%s (at most %s)", span(seconds(s.Median)), span(seconds(s.Max)))
}
