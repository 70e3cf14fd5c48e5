package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

func (c *cli) statusVerb() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "status [NODE]",
		Short: "Show routes, fleets, nodes and what is under way, on one screen",
		Long: `Shows the route with its split, the fleets with their nodes, requests and errors, the operation under way, and
the command to type next.

With the name of a node, or a unique part of it, that node alone is shown, and it is compared with its image now: files that were
added, changed or removed, processes whose program is not the image's, and settings.

With --all every app and environment that the agent knows is shown, in a line each, with -v as a screen each; no release.yaml
is needed.

When no agent answers, one is started only if this machine has state of an earlier one; else status says that nothing
runs and exits with 1.`,
		Example:           "  release status\n  release status -e staging --json\n  release status k3f9q\n  release status --all",
		Args:              between(0, 1, "a node"),
		ValidArgsFunction: c.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return fault.New(fault.Invalid, "release status: --all and a node exclude each other")
			}
			if all {
				return c.statusAll(cmd.Context())
			}
			app, client, err := c.appIfUsed(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return c.nodeStatus(cmd.Context(), client, appOf(app), args[0])
			}
			s, err := client.Status(cmd.Context(), appOf(app))
			if fault.Is(err, fault.NotFound) {
				s, err = api.Status{
					App: app.App, Env: app.Env, Size: app.Fleet.Size, Routes: []api.Route{}, Fleets: []api.Fleet{}, Next: "release up",
				}, nil
			}
			if err != nil {
				return err
			}
			return c.out.result(api.StatusResult{Head: api.NewHead(nil), Status: s}, func(w io.Writer) {
				fmt.Fprintln(w, strings.Join(c.out.statusLines(s, time.Now()), "\n"))
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every app and environment that the agent knows")
	return cmd
}

// appIfUsed is the app of the file, and the agent, for verbs that only look.
func (c *cli) appIfUsed(ctx context.Context) (*config.App, *api.Client, error) {
	return c.appWith(ctx, c.connectIfUsed)
}

// connectIfUsed is connect for verbs that only look: where no agent ever ran there is nothing to see, and none is started.
func (c *cli) connectIfUsed(ctx context.Context) (*api.Client, error) {
	client, agent, err := c.reach(ctx)
	if err == nil || !errors.Is(err, api.ErrNoAgent) {
		c.out.sayFound(agent.Found)
		return client, err
	}
	dir, err := c.stateDir()
	if err != nil {
		return nil, err
	}
	settings, err := c.settings("")
	if err != nil {
		return nil, err
	}
	used := slices.ContainsFunc([]string{storeFile, identityFile}, func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return !errors.Is(err, os.ErrNotExist)
	})
	if !used && settings.Store.Consul == nil {
		return nil, fault.New(fault.Unavailable, "no agent runs, and none ever did with the state folder %s", dir).
			WithHint("release up bakes, launches and cuts over")
	}
	return c.connect(ctx)
}

// manyNodes is how many nodes of a fleet are listed one by one without -v.
const manyNodes = 12

// statusLines is the one screen.
func (o *output) statusLines(s api.Status, now time.Time) []string {
	lines := []string{o.bold(s.App + "/" + s.Env), ""}
	if s.Freeze != nil {
		lines = append(lines, "  "+o.freezeLine(s.Freeze), "")
	}
	for _, r := range s.Routes {
		lines = append(lines, o.routeLines(r)...)
	}
	for _, f := range s.Found {
		lines = append(lines, "", fmt.Sprintf("  %s  %s, %s, %s", o.red("without a record"), f.Fleet, human.Count(f.Nodes, "node"), f.Driver))
	}
	if len(s.Fleets)+len(s.Found) == 0 {
		lines = append(lines, "  nothing runs")
	}
	roles := len(rolesOf(s)) > 1
	for _, fl := range s.Fleets {
		lines = append(lines, "", o.fleetLine(fl, roles, now))
		lines = append(lines, o.stormLines(fl, now)...)
		lines = append(lines, o.nodeLines(fl, now)...)
		if fl.DriftHeld != "" {
			lines = append(lines, "             "+o.yellow("no node is replaced for its drift: "+fl.DriftHeld))
		}
	}
	lines = append(lines, "")
	lines = append(lines, o.operationLines(s, now)...)
	lines = append(lines, o.taskLines(s, now)...)
	lines = append(lines, o.queueLines(s.Queue, now)...)
	lines = append(lines, o.databaseLines(s)...)
	lines = append(lines, o.volumeLines(s.Volumes, now)...)
	if s.Next != "" {
		lines = append(lines, "  next       "+o.cyan(s.Next))
	}
	return lines
}

func (o *output) routeLines(r api.Route) []string {
	var shares []string
	for _, w := range r.Weights {
		shares = append(shares, fmt.Sprintf("%s %s", o.bold(w.Release), o.green(fmt.Sprintf("%d %%", w.Percent))))
	}
	if len(shares) == 0 {
		shares = []string{o.dim("no traffic yet")}
	}
	what := r.Role
	if r.Internal {
		what += " (for roles)"
	}
	line := fmt.Sprintf("  route      %s  %s  %s  %s", what, r.Listen, strings.Join(shares, ", "), o.dim("table "+r.Version))
	if r.Error != "" {
		return []string{line, "             " + o.red(r.Error)}
	}
	return []string{line}
}

// rolesOf are the roles of the fleets that there are.
func rolesOf(s api.Status) []string {
	var roles []string
	for _, fl := range s.Fleets {
		if !slices.Contains(roles, fl.Role) {
			roles = append(roles, fl.Role)
		}
	}
	return roles
}

// fleetLine is a fleet's state, nodes and traffic in one line, with its role where there are several.
func (o *output) fleetLine(fl api.Fleet, roles bool, now time.Time) string {
	healthy, members := 0, 0
	for _, n := range fl.Nodes {
		if n.State != "quarantined" {
			members++
		}
		if n.State == "healthy" {
			healthy++
		}
	}
	state := fl.State
	if fl.Percent > 0 {
		state += fmt.Sprintf(" %d %%", fl.Percent)
	}
	nodes := fmt.Sprintf("%d/%d healthy", healthy, members)
	name, shown := fl.Release, o.bold(fl.Release)
	if roles {
		name, shown = name+" "+fl.Role, shown+" "+fl.Role
	}
	line := fmt.Sprintf("  %s  %s  %s", pad(name, shown, 9),
		pad(state, strings.Replace(state, fl.State, o.byState(fl.State), 1), 13), pad(nodes, nodes, 14))
	if r := fl.Rates; r != nil {
		line += fmt.Sprintf("  %7.1f req/s  %5.2f %% errors", r.RequestsPerSecond, 100*r.ErrorRate)
		if r.P99 > 0 {
			line += "  p99 " + span(seconds(r.P99))
		}
	}
	if left := fleetLeft(fl, now); left != "" {
		line += "  " + left
	}
	line += o.dim("  " + fl.Driver + " " + shortDigest(fl.Image))
	if fl.WarmLeft > 0 {
		line += o.dim("  kept for " + span(seconds(fl.WarmLeft)))
	}
	if fl.Reason != "" {
		line += "  " + o.yellow(fl.Reason)
	}
	return line
}

func (o *output) nodeLines(fl api.Fleet, now time.Time) []string {
	var t table
	left := 0
	for i, n := range fl.Nodes {
		if i >= manyNodes && !o.verbose && n.State == "healthy" && n.Drift == nil {
			left++
			continue
		}
		since := span(now.Sub(n.Since))
		why := n.Reason
		if why == "" && n.State != "healthy" {
			why = n.Health
		}
		if left := cmp.Or(nodeLeft(n, now), quarantineLeft(n)); left != "" {
			why = strings.TrimPrefix(why+": "+left, ": ")
		}
		t.row(plain(n.ID), cell{n.State, o.byState(n.State)}, plain(since), plain(n.Address), plain(fmt.Sprintf("pid %d", n.PID)), plain(why))
		if n.Drift != nil {
			t.note(o.yellow("differs from its image: " + driftText(*n.Drift)))
		}
	}
	lines := t.lines("             ")
	if left > 0 {
		lines = append(lines, fmt.Sprintf("             and %d more healthy ones (-v lists them)", left))
	}
	return lines
}

func (o *output) operationLines(s api.Status, now time.Time) []string {
	var lines []string
	add := func(op api.Operation) {
		line := fmt.Sprintf("  operation  %s %s: %s", o.bold(op.Kind), op.Release, op.Phase)
		switch {
		case op.Held != "" || op.Failure != nil && op.Paused:
			line += ", " + o.yellow("held")
		case op.Paused:
			line += ", " + o.yellow("paused")
		}
		if op.Waits != "" {
			line += ", waits for " + op.Waits
		}
		lines = append(lines, line+o.dim(fmt.Sprintf("  (%s by %s, %s ago)", op.ID, op.By, span(now.Sub(op.At)))))
		if op.Failure != nil {
			lines = append(lines, "             "+o.red(op.Failure.Message))
		}
		if op.Held != "" {
			lines = append(lines, "             "+o.yellow("held: "+op.Held))
		}
		if op.Verdict != nil && len(op.Compared) == 0 {
			lines = append(lines, "             "+verdictText(op, *op.Verdict))
		}
		for _, v := range op.Compared {
			lines = append(lines, "             "+verdictText(op, v))
		}
		for _, check := range op.Checks {
			lines = append(lines, "             "+o.checkText(check))
		}
	}
	if s.Operation != nil {
		add(*s.Operation)
	}
	for _, op := range s.Background {
		add(op)
	}
	return lines
}
