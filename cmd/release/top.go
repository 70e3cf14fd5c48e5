package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

// topResult is the result of top: its last reading.
type topResult struct {
	api.Head
	topSample
}

func (c *cli) topVerb() *cobra.Command {
	var every time.Duration
	var count int
	cmd := &cobra.Command{
		Use: "top", Short: "Watch the traffic: requests, errors and latency of each route, fleet and node",
		Long: `Shows what the routers count, again and again: requests a second, errors, the 50th, 95th and 99th percentile of
the time to an answer's header, and what is in flight, of each route, fleet and node. Ctrl-C ends it.`,
		Example: "  release top\n  release top --count 1 --json", Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < leastInterval || count < 0 {
				return usage(fault.New(fault.Invalid, "read --interval and --count: %s and %d; at least %s and 0 are possible", span(every), count, span(leastInterval)))
			}
			app, client, err := c.appIfUsed(cmd.Context())
			if err != nil {
				return err
			}
			return c.top(cmd.Context(), client, appOf(app), every, count)
		},
	}
	cmd.Flags().DurationVar(&every, "interval", time.Second, "`time` between two readings")
	cmd.Flags().IntVar(&count, "count", 0, "`number` of readings; 0: until Ctrl-C")
	return cmd
}

// leastInterval is how often the agent reads the edges: sooner there is nothing new.
const leastInterval = 250 * time.Millisecond

// top reads until the count is reached or ctx ends.
func (c *cli) top(ctx context.Context, client *api.Client, app api.App, every time.Duration, count int) error {
	before, err := client.Traffic(ctx, app)
	if err != nil {
		return err
	}
	show, done := c.out.topView()
	defer done()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last topSample
	for n := 0; count == 0 || n < count; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now, err := client.Traffic(ctx, app)
		if err != nil {
			return err
		}
		status, err := client.Status(ctx, app)
		if err != nil {
			return err
		}
		last = sampleOf(before, now, status)
		before = now
		show(last)
	}
	if c.out.json {
		return c.out.result(topResult{Head: api.NewHead(nil), topSample: last}, nil)
	}
	return nil
}

// topView shows samples as the output wants them.
func (o *output) topView() (show func(topSample), done func()) {
	switch {
	case o.json:
		return func(s topSample) { _ = o.event(topEvent{Type: "traffic", topSample: s}) }, func() {}
	case o.live():
		s := o.screen()
		return func(sample topSample) { s.Update(o.topLines(sample)) }, func() { s.Close(true) }
	}
	return func(s topSample) { fmt.Fprintln(o.stdout, strings.Join(o.topLines(s), "\n")) }, func() {}
}
