package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/nodename"
)

// logsFlags are the flags of logs.
type logsFlags struct {
	follow   bool
	tail     int
	since    time.Duration
	release  string
	previous bool
}

func (c *cli) logsVerb() *cobra.Command {
	var f logsFlags
	cmd := &cobra.Command{
		Use: "logs [NODE...]", Short: "Show what nodes print",
		Long: `Shows the output of the nodes named, or of all nodes of the serving fleets, each line with its node.
With --previous it shows the last output of nodes that are gone: 256 KiB of each of the newest 20 of the app.`,
		Example:           "  release logs --follow\n  release logs k3f9q --tail 50\n  release logs --release r8\n  release logs --previous --tail 20",
		ValidArgsFunction: c.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			app, err := c.app()
			if err != nil {
				return err
			}
			if f.tail < 0 {
				return fault.New(fault.Invalid, "read --tail: %d is negative", f.tail)
			}
			if f.previous && f.follow {
				return fault.New(fault.Invalid, "release logs: --previous and --follow exclude each other: nodes that are gone say nothing more")
			}
			return c.logs(cmd.Context(), app, args, f)
		},
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on until the nodes end, or Ctrl-C")
	cmd.Flags().IntVarP(&f.tail, "tail", "n", 0, "only the last so many lines of each node (default: all)")
	cmd.Flags().DurationVar(&f.since, "since", 0, "only lines of the last `time`, e.g. 10m")
	cmd.Flags().BoolVarP(&f.previous, "previous", "p", false, "of nodes that are gone, whatever ended them")
	cmd.Flags().StringVar(&f.release, "release", "", "all nodes of this `release`")
	_ = cmd.RegisterFlagCompletionFunc("release", c.completeReleases)
	return cmd
}

func (c *cli) logs(ctx context.Context, app *config.App, nodes []string, f logsFlags) error {
	client, err := c.connectIfUsed(ctx)
	if err != nil {
		return err
	}
	named := len(nodes) > 0
	if f.previous {
		nodes, err = c.previousNodes(ctx, client, app, nodes, f.release)
		if err != nil {
			return err
		}
	}
	if len(nodes) == 0 {
		s, err := client.Status(ctx, appOf(app))
		if err != nil {
			return err
		}
		if nodes = nodesOf(s, f.release); len(nodes) == 0 {
			return noLogs(ctx, client, appOf(app), f.release, false, releasesWithNodes(s))
		}
	}
	opts := api.LogOptions{Tail: f.tail, Follow: f.follow}
	if f.since > 0 {
		opts.Since = time.Now().Add(-f.since)
	}
	p := &logPrinter{out: c.out, named: len(nodes) > 1}
	group, ctx := errgroup.WithContext(ctx)
	if !f.follow {
		group.SetLimit(1) // node after node, whole
	}
	for _, node := range nodes {
		group.Go(func() error {
			err := p.copy(ctx, client, appOf(app), node, opts)
			if fault.Is(err, fault.NotFound) && !named {
				c.out.note("%v", err) // it was removed since it was listed
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil && !(f.follow && errors.Is(err, context.Canceled)) {
		return err
	}
	return c.out.result(api.FailedResult{Head: api.NewHead(nil)}, func(io.Writer) {})
}

// previousNodes are the nodes that are gone and whose last output is kept: those that are named, by a part too, or all.
func (c *cli) previousNodes(ctx context.Context, client *api.Client, app *config.App, names []string, release string) ([]string, error) {
	kept, err := client.Previous(ctx, appOf(app))
	if err != nil {
		return nil, err
	}
	var all, releases []string
	for _, n := range kept {
		releases = append(releases, n.Release)
		if release == "" || n.Release == release {
			all = append(all, n.ID)
		}
	}
	if len(all) == 0 {
		return nil, noLogs(ctx, client, appOf(app), release, true, releases)
	}
	if len(names) == 0 {
		return all, nil
	}
	var chosen []string
	for _, name := range names {
		i, err := nodename.Find("those gone of "+app.App+"/"+app.Env, name, all)
		if fault.Is(err, fault.NotFound) {
			return nil, fault.New(fault.NotFound, "show the last output of %s: nothing is kept of such a node", name).
				WithHint("there is that of %s", strings.Join(all, ", "))
		}
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// nodesOf lists the nodes of a release, or of all fleets that have traffic, or of all fleets.
func nodesOf(s api.Status, release string) []string {
	var serving, all []string
	for _, fl := range s.Fleets {
		for _, n := range fl.Nodes {
			if release == "" || fl.Release == release {
				all = append(all, n.ID)
			}
			if release == "" && fl.Percent > 0 {
				serving = append(serving, n.ID)
			}
		}
	}
	if len(serving) > 0 {
		return serving
	}
	return all
}

// logPrinter writes lines of several nodes, whole.
type logPrinter struct {
	mu    sync.Mutex
	out   *output
	named bool
}

// logLine is a line of output with --json.
type logLine struct {
	Type   string `json:"type"` // "log"
	Node   string `json:"node"`
	At     string `json:"at"`
	Stream string `json:"stream"`
	Text   string `json:"text"`
}

func (p *logPrinter) copy(ctx context.Context, client *api.Client, app api.App, node string, opts api.LogOptions) error {
	r, err := client.Logs(ctx, app, node, opts)
	if err != nil {
		return err
	}
	defer r.Close()
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			if err := p.line(node, strings.TrimSuffix(line, "\n")); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("read logs of %s: %w", node, err)
		}
	}
}

func (p *logPrinter) line(node, line string) error {
	at, rest, _ := strings.Cut(line, " ")
	stream, text, _ := strings.Cut(rest, " ")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out.json {
		return p.out.event(logLine{Type: "log", Node: node, At: at, Stream: stream, Text: text})
	}
	prefix := ""
	if p.named {
		prefix = p.out.cyan(node) + "  "
	}
	if p.out.verbose {
		prefix += p.out.dim(at) + " " + stream + " "
	}
	_, err := fmt.Fprintln(p.out.stdout, prefix+text)
	return err
}
