package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

// statusAll shows every app and environment that the agent knows.
func (c *cli) statusAll(ctx context.Context) error {
	client, err := c.connectIfUsed(ctx)
	if err != nil {
		return err
	}
	apps, err := client.Apps(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(apps, func(a, b api.App) int { return cmp.Or(strings.Compare(a.App, b.App), strings.Compare(a.Env, b.Env)) })
	r := api.StatusesResult{Head: api.NewHead(nil), Apps: []api.Status{}}
	for _, app := range apps {
		s, err := client.Status(ctx, app)
		if fault.Is(err, fault.NotFound) {
			continue // it was forgotten meanwhile
		}
		if err != nil {
			return err
		}
		r.Apps = append(r.Apps, s)
	}
	return c.out.result(r, func(w io.Writer) { fmt.Fprintln(w, strings.Join(c.out.statusesLines(r.Apps, time.Now()), "\n")) })
}

// statusesLines is a line an app and environment; with -v each as status shows it.
func (o *output) statusesLines(all []api.Status, now time.Time) []string {
	if len(all) == 0 {
		return []string{"the agent knows no app"}
	}
	var lines []string
	if o.verbose {
		for i, s := range all {
			if i > 0 {
				lines = append(lines, "")
			}
			lines = append(lines, o.statusLines(s, now)...)
		}
		return lines
	}
	var t table
	t.row(plain("APP"), plain("ROUTE"), plain("TRAFFIC"), plain("NODES"), plain("NOW"))
	for _, s := range all {
		t.row(plain(s.App+"/"+s.Env), plain(listensOf(s)), plain(trafficOf(s)), o.healthOfNodes(s), o.nowOf(s))
	}
	return t.lines("")
}

// listensOf is where users reach an app.
func listensOf(s api.Status) string {
	var list []string
	for _, r := range s.Routes {
		if !r.Internal {
			list = append(list, r.Listen)
		}
	}
	return strings.Join(list, " ")
}

// trafficOf is the split of the route that stands first; that of roles is the same.
func trafficOf(s api.Status) string {
	for _, r := range s.Routes {
		var shares []string
		for _, w := range r.Weights {
			shares = append(shares, fmt.Sprintf("%s %d %%", w.Release, w.Percent))
		}
		if len(shares) > 0 {
			return strings.Join(shares, ", ")
		}
	}
	return "none"
}

// healthOfNodes is how many nodes are healthy, of all that are meant to be.
func (o *output) healthOfNodes(s api.Status) cell {
	healthy, all := 0, 0
	for _, fl := range s.Fleets {
		for _, n := range fl.Nodes {
			if n.State == "quarantined" || n.State == "draining" || n.State == "dead" {
				continue
			}
			all++
			if n.State == "healthy" {
				healthy++
			}
		}
	}
	text := fmt.Sprintf("%d/%d healthy", healthy, all)
	if healthy < all {
		return cell{text, o.yellow(text)}
	}
	return plain(text)
}

// nowOf is what is under way, or keeps anything from being so.
func (o *output) nowOf(s api.Status) cell {
	var text string
	switch op := s.Operation; {
	case op != nil && op.Halted():
		text = fmt.Sprintf("%s %s: waits for %s", op.Kind, op.Release, cmp.Or(op.Waits, "a person"))
	case op != nil:
		return plain(strings.TrimSpace(fmt.Sprintf("%s %s", op.Kind, op.Release)) + ": " + op.Phase)
	case s.Freeze != nil:
		text = frozenText(s.Freeze)
	case len(s.Found) > 0:
		text = "fleets without a record"
	case len(s.Fleets) == 0:
		return plain("nothing runs")
	default:
		return plain("")
	}
	return cell{text, o.yellow(text)}
}
