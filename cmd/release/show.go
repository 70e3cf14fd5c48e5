package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/human"
)

func (c *cli) showVerb() *cobra.Command {
	return &cobra.Command{
		Use: "show RELEASE", Short: "Show all that is known of a release",
		Long: `Shows one release as a whole: image and configuration, who made it and when, each operation that moved to it or away from it
with steps, verdicts and cost, nodes that were shot, and the last lines of nodes that failed. With -v also the configuration and
every entry of the journal. It answers for as long as history is kept (agent.yaml), also when the release cannot be gone back to.`,
		Example: "  release show r8\n  release show r8 -v\n  release show r8 --json",
		Args:    between(1, 1, "the release"), ValidArgsFunction: c.completeReleases,
		RunE: func(cmd *cobra.Command, args []string) error {
			app, client, err := c.appIfUsed(cmd.Context())
			if err != nil {
				return err
			}
			rec, err := client.Release(cmd.Context(), appOf(app), args[0])
			if err != nil {
				return err
			}
			return c.out.result(api.ShowResult{Head: api.NewHead(nil), ReleaseRecord: rec}, func(w io.Writer) { c.out.record(w, rec) })
		},
	}
}

func (o *output) record(w io.Writer, rec api.ReleaseRecord) {
	var t table
	line := func(name, value string) { t.row(plain(name), plain(value)) }
	t.row(plain("release"), cell{rec.ID + "  " + rec.State, o.bold(rec.ID) + "  " + o.byState(rec.State)})
	line("image", rec.Image)
	line("configuration", rec.ConfigDigest)
	line("by", rec.By)
	line("at", rec.At.Local().Format(time.DateTime))
	if !rec.BakedAt.IsZero() {
		line("image since", rec.BakedAt.Local().Format(time.DateTime))
	}
	if !rec.CompletedAt.IsZero() {
		line("completed", fmt.Sprintf("%s, %s after its launch", rec.CompletedAt.Local().Format(time.DateTime), span(rec.CompletedAt.Sub(rec.At))))
	}
	line("cost", ledgerText(rec.Ledger))
	if len(rec.Shot) > 0 {
		line("nodes shot", human.Count(len(rec.Shot), "node"))
	}
	fmt.Fprintln(w, strings.Join(t.lines(""), "\n"))
	for _, op := range rec.Operations {
		o.recordOperation(w, op, rec.Events)
	}
	for _, tail := range rec.Tails {
		fmt.Fprintf(w, "\nlast lines of %s:\n", o.bold(tail.Node))
		for _, l := range tail.Lines {
			fmt.Fprintf(w, "  %s %s\n", o.dim("|"), harmless(l))
		}
	}
	if o.verbose {
		o.recordWhole(w, rec)
	}
}

// recordOperation tells one operation: who and how it ended, then what it says of itself in the journal.
func (o *output) recordOperation(w io.Writer, op api.Operation, events []api.Event) {
	_, outcome := o.outcome(op)
	fmt.Fprintf(w, "\n%s  %s, %s, by %s%s: %s\n", o.bold(op.ID), whatWas(op), op.At.Local().Format(time.DateTime), op.By, from(op.Origin), outcome)
	fmt.Fprintf(w, "  took %s; %s\n", span(seconds(op.Seconds)), ledgerText(op.Ledger))
	for _, e := range events {
		object, _, _ := strings.Cut(e.Type, ".")
		if e.Operation == op.ID && object != "node" && object != "fleet" {
			fmt.Fprintf(w, "  %s %s\n", o.dim(e.At.Local().Format(time.TimeOnly)), harmless(e.Message))
		}
	}
}

// from is where an operation was asked for, as the end of a sentence.
func from(origin *api.Origin) string {
	if origin == nil {
		return ""
	}
	return fmt.Sprintf(" (%s, pid %d, %s)", origin.User, origin.PID, origin.Via)
}

// recordWhole adds the configuration and the journal.
func (o *output) recordWhole(w io.Writer, rec api.ReleaseRecord) {
	var app config.App
	if len(rec.Config) == 0 {
		fmt.Fprintln(w, "\nits configuration is no longer kept")
	} else if err := json.Unmarshal(rec.Config, &app); err == nil {
		if text, err := app.YAML(); err == nil {
			fmt.Fprintf(w, "\n%s", text)
		}
	}
	fmt.Fprintln(w)
	for _, e := range rec.Events {
		fmt.Fprintln(w, o.eventLine(e))
	}
}
