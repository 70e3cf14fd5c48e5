package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
)

func (c *cli) historyVerb() *cobra.Command {
	return &cobra.Command{
		Use: "history", Short: "List releases and what was done with them",
		Long: `Lists the releases, and the operations that ended with who asked for them and what they cost the users:
FAILED is what the router had to answer itself, 502, 503 or 504, or what broke in the middle, 5XX what nodes answered. With -v also by
release and cause, and the verdicts of cutovers with their numbers. release show tells all of one release.`,
		Example: "  release history\n  release history --json", Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			app, client, err := c.appIfUsed(cmd.Context())
			if err != nil {
				return err
			}
			r := api.HistoryResult{Head: api.NewHead(nil)}
			if r.Releases, err = client.Releases(cmd.Context(), appOf(app)); err != nil {
				return err
			}
			if r.Operations, err = client.History(cmd.Context(), appOf(app)); err != nil {
				return err
			}
			return c.out.result(r, func(w io.Writer) { c.out.history(w, r) })
		},
	}
}

func (o *output) history(w io.Writer, r api.HistoryResult) {
	var releases, ops table
	releases.row(plain("RELEASE"), plain("STATE"), plain("IMAGE"), plain("AT"), plain("BY"))
	for i := len(r.Releases) - 1; i >= 0; i-- {
		rel := r.Releases[i]
		releases.row(plain(rel.ID), cell{rel.State, o.byState(rel.State)}, plain(shortDigest(rel.Image)),
			plain(rel.At.Local().Format(time.DateTime)), plain(rel.By))
	}
	ops.row(plain("OPERATION"), plain("WHAT"), plain("AT"), plain("TOOK"), plain("REQUESTS"), plain("FAILED"), plain("5XX"), plain("RETRIED"), plain("CUT"), plain("BY"), plain("OUTCOME"))
	for _, op := range r.Operations {
		outcome, shown := o.outcome(op)
		ops.row(plain(op.ID), plain(whatWas(op)), plain(op.At.Local().Format(time.DateTime)), plain(span(seconds(op.Seconds))),
			plain(fmt.Sprint(op.Ledger.Requests)), plain(fmt.Sprint(op.Ledger.Failed)),
			plain(fmt.Sprint(op.Ledger.Causes.Status5x)), plain(fmt.Sprint(op.Ledger.Retried)), plain(fmt.Sprint(op.Ledger.Cut)), plain(op.By), cell{outcome, shown})
	}
	fmt.Fprintf(w, "%s\n\n%s\n", strings.Join(releases.lines(""), "\n"), strings.Join(ops.lines(""), "\n"))
	if o.verbose {
		o.historyVerdicts(w, r.Operations)
		o.historyCosts(w, r.Operations)
	}
}

// whatWas is what an operation did, in a few words.
func whatWas(op api.Operation) string {
	what := strings.TrimSpace(op.Kind + " " + op.Release)
	if op.Auto {
		what += " by itself"
	}
	if op.From != "" && op.From != op.Release {
		what += " from " + op.From
	}
	return what
}

// outcome is how an operation ended, plain and as it is shown.
func (o *output) outcome(op api.Operation) (text, shown string) {
	switch {
	case op.Failure != nil:
		return op.Failure.Message, o.red(op.Failure.Message)
	case !op.Done():
		return op.Phase, o.yellow(op.Phase)
	}
	approvals := ""
	for _, a := range op.Approvals {
		approvals += fmt.Sprintf(", %d %% approved by %s", a.Percent, a.By)
	}
	return "done" + approvals, o.green("done") + approvals
}

// historyCosts tells causes and each release's part of the operations that cost anything.
func (o *output) historyCosts(w io.Writer, ops []api.Operation) {
	for _, op := range ops {
		if lines := ledgerLines(op.Ledger, "  "); lines != nil {
			fmt.Fprintf(w, "\n%s %s: %s\n%s\n", op.ID, strings.TrimSpace(op.Kind+" "+op.Release), ledgerText(op.Ledger), strings.Join(lines, "\n"))
		}
	}
}
