package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// waitFlag adds --wait.
func waitFlag(cmd *cobra.Command, wait *bool) {
	cmd.Flags().BoolVar(wait, "wait", false, "wait for the operation under way to end, in turn with others who wait; --timeout bounds it")
}

// lookAgain is how often who waits looks what for.
const lookAgain = 250 * time.Millisecond

// submit asks for the operation, with --wait when its turn has come.
func (c *cli) submit(ctx context.Context, client *api.Client, a asked) (api.Submitted, error) {
	if !a.request.Wait {
		return client.Submit(ctx, appOf(a.app), a.request)
	}
	for {
		sub, err := c.queue(ctx, client, a)
		if errors.Is(err, api.ErrNoAgent) && ctx.Err() == nil {
			f := &follower{c: c, client: client}
			if err = f.reconnect(ctx); err == nil {
				continue // the queue was the agent's: stand in it again
			}
		}
		if err = ended(ctx, err); err != nil {
			if code := fault.CodeOf(err); code == fault.Running || code == fault.Interrupted {
				err = fault.New(code, "%w; %s has left the queue, nothing was begun", err, a.request.Kind).WithHint("release status shows what is under way")
			}
		}
		return sub, err
	}
}

// queue is one request that waits, and says meanwhile what for.
func (c *cli) queue(ctx context.Context, client *api.Client, a asked) (api.Submitted, error) {
	watching, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.sayQueue(watching, client, appOf(a.app))
	}()
	defer func() { stop(); <-done }()
	return client.Submit(ctx, appOf(a.app), a.request)
}

// sayQueue says what is waited for, whenever that changes.
func (c *cli) sayQueue(ctx context.Context, client *api.Client, app api.App) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	said := ""
	for {
		s, err := client.Status(ctx, app)
		if err == nil && s.Operation != nil && len(s.Queue) > 0 {
			if text := queueText(s); text != said {
				said = text
				c.out.note("%s", text)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func queueText(s api.Status) string {
	op := s.Operation
	text := fmt.Sprintf("waiting for %s of %s by %s (%s)", op.Kind, op.Release, op.By, op.ID)
	if op.Halted() {
		text += ", which waits for " + op.Waits
	}
	if n := len(s.Queue); n > 1 {
		text += "; " + human.Are(n, "request") + " in the queue"
	}
	return text
}

// queueLines lists who waits.
func (o *output) queueLines(queue []api.Queued, now time.Time) []string {
	var lines []string
	for i, w := range queue {
		what := w.Kind
		if w.Release != "" {
			what += " " + w.Release
		} else if w.Image != "" {
			what += " " + shortDigest(w.Image)
		}
		lines = append(lines, fmt.Sprintf("  queue %-4d %s by %s", i+1, o.bold(what), w.By)+o.dim("  "+span(now.Sub(w.Since))))
	}
	return lines
}
