package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// asked is an operation to run, as a verb wants it.
type asked struct {
	app     *config.App
	request api.Request
	detach  bool
	undoes  bool // an operation that ends aborted is what was asked for
	image   string
	images  []string // ROLE=IMAGE, as they were given
	dryRun  bool     // only say what would be done
	plans   bool     // the same, for the verb plan
	out     string   // file for the plan
}

// detachFlag adds --detach.
func detachFlag(cmd *cobra.Command, detach *bool) {
	cmd.Flags().BoolVar(detach, "detach", false, "print the operation's id and do not wait for its end")
}

// configured puts the app's configuration into the request.
func (a *asked) configured() error {
	b, err := json.Marshal(a.app)
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	a.request.Config = b
	return nil
}

// operate submits the request, follows the operation to its end and shows the result.
func (c *cli) operate(ctx context.Context, a asked) error {
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	a.request.By = c.who()
	if a.dryRun || a.plans {
		return c.showPlan(ctx, client, a)
	}
	sub, err := c.submit(ctx, client, a)
	if err != nil {
		return err
	}
	if a.detach && !sub.Operation.Done() {
		return c.out.result(a.result(sub.Operation), func(w io.Writer) { fmt.Fprintln(w, sub.Operation.ID) })
	}
	return c.follow(ctx, client, a, sub)
}

func (a asked) result(op api.Operation) api.OperationResult {
	r := api.ResultOf(op)
	r.Image = a.image
	return r
}

// follow shows an operation that was submitted until its end.
func (c *cli) follow(ctx context.Context, client *api.Client, a asked, sub api.Submitted) error {
	op := sub.Operation
	if !op.Done() {
		f := &follower{c: c, client: client, app: appOf(a.app), id: op.ID, seq: sub.EventSeq, view: c.out.newView()}
		last, err := f.run(ctx)
		if last.ID != "" {
			op = last
		}
		if err != nil {
			return c.failed(a, op, err)
		}
	}
	switch {
	case op.Failure != nil && !(a.undoes && fault.Code(op.Failure.Code) == fault.RolledBack):
		c.out.tails(op.Failure.Logs)
		return c.failed(a, op, op.Failure.Fault())
	case !op.Done():
		return c.failed(a, op, heldFault(op))
	}
	return c.out.result(a.result(op), func(w io.Writer) {
		fmt.Fprintln(w, c.summary(a, op))
		if c.out.verbose {
			for _, line := range ledgerLines(op.Ledger, "  ") {
				fmt.Fprintln(w, line)
			}
		}
	})
}

// heldFault says why an operation waits for a person, and for which word.
func heldFault(op api.Operation) error {
	if op.Gate != "" && !op.Paused {
		return fault.New(fault.Held, "%s of %s: held at %d %%, waits for approval by %s: release approve", op.Kind, op.Release, op.Percent, op.Gate).
			WithHint("release approve lets it go on, %s", wayBack(op))
	}
	why := op.Held
	if why != "" {
		why = ": " + why
	}
	return fault.New(fault.Held, "%s of %s is held at %d %%%s", op.Kind, op.Release, op.Percent, why).
		WithHint("release resume goes on, %s%s", wayBack(op), littleTraffic(op))
}

// littleTraffic says what helps where an operation is held since its requests show nothing.
func littleTraffic(op api.Operation) string {
	n := len(op.Verdicts)
	if n == 0 || op.Verdicts[n-1].Outcome != "open" || strings.HasPrefix(op.Held, "abort_on") {
		return ""
	}
	return "; with little traffic set cutover.verdict.enough, or verdict: off"
}

// wayBack says how an operation is undone.
func wayBack(op api.Operation) string {
	if op.OneWay != "" {
		return "release abort --force routes back, though " + op.OneWay
	}
	return "release abort routes back"
}

// failed gives the error back after the result that carries it is written.
func (c *cli) failed(a asked, op api.Operation, err error) error {
	if !c.out.json {
		return err
	}
	r := a.result(op)
	r.Head = api.NewHead(err)
	if op.Failure != nil {
		r.Error.Logs = op.Failure.Logs
	}
	if writeErr := c.out.result(r, nil); writeErr != nil {
		return errors.Join(err, writeErr)
	}
	return err
}

// tails shows the last lines of nodes that failed.
func (o *output) tails(tails []api.NodeTail) {
	for _, t := range tails {
		fmt.Fprintf(o.stderr, "last lines of %s:\n", o.bold(t.Node))
		for _, line := range t.Lines {
			fmt.Fprintf(o.stderr, "  %s %s\n", o.dim("|"), line)
		}
		if len(t.Lines) == 0 {
			fmt.Fprintf(o.stderr, "  %s\n", o.dim("(it printed nothing)"))
		}
	}
}

// summary is one line of what was reached.
func (c *cli) summary(a asked, op api.Operation) string {
	took := span(seconds(op.Seconds))
	where := a.app.App + "/" + a.app.Env
	switch {
	case op.ID == "":
		return c.nothingToDo(where, op)
	case op.Failure != nil:
		return fmt.Sprintf("%s: %s aborted, users are on %s; %s", where, op.Kind, orNone(op.From), ledgerText(op.Ledger))
	case op.Kind == "launch":
		return fmt.Sprintf("%s: %s is ready, in %s; next: release cutover %s", where, op.Release, took, op.Release)
	case op.Kind == "destroy":
		return fmt.Sprintf("%s: all fleets are shot, in %s", where, took)
	case op.Kind == "contract":
		return fmt.Sprintf("%s: contract of %s done, in %s; %s", where, op.Release, took, ledgerText(op.Ledger))
	case op.Kind == "scale", op.Kind == "replace", op.Kind == "quarantine":
		return fmt.Sprintf("%s: %s done, in %s; %s", where, op.Kind, took, ledgerText(op.Ledger))
	}
	return fmt.Sprintf("%s: %s serves %d %% (from %s), in %s; %s", where, c.out.bold(op.Release), op.Percent,
		orNone(op.From), took, ledgerText(op.Ledger))
}

func (c *cli) nothingToDo(where string, op api.Operation) string {
	switch {
	case op.Release == "":
		return where + ": nothing to do"
	case op.Percent == 0:
		return fmt.Sprintf("%s: nothing to do, %s is ready; next: release cutover %s", where, op.Release, op.Release)
	}
	return fmt.Sprintf("%s: nothing to do, %s serves %d %%", where, op.Release, op.Percent)
}

func orNone(release string) string {
	if release == "" {
		return "no release"
	}
	return release
}
