package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/human"
)

// plan shows a plan to people, from what changes to how long it takes.
func (o *output) plan(w io.Writer, r planResult, file string) {
	where := r.App + "/" + r.Env
	if r.DryRun {
		fmt.Fprintln(w, o.yellow("dry run, nothing is done"))
	}
	if r.Freeze != nil {
		fmt.Fprintln(w, o.freezeLine(r.Freeze))
	}
	if r.Nothing {
		fmt.Fprintf(w, "%s: nothing to do for %s\n", where, strings.TrimSpace(r.Kind+" "+r.Release))
		return
	}
	fmt.Fprintf(w, "%s: %s\n", where, o.planTitle(r.Plan))
	if d := r.ImageDiff; d != nil {
		fmt.Fprintf(w, "\n%s\n", o.bold("Image"))
		diffView{out: o, names: [2]string{r.From, r.Release}}.write(w, *d)
	}
	for _, s := range []struct {
		title string
		lines []string
	}{{"Configuration", o.planChanges(r.Changes)}, {"Schedule", o.planSchedule(r.Plan)}, {"Gaps", o.planGaps(r.Gaps)}, {"Asked while a step is held", planAsks(r.Asks)}, {"Fleets", o.planFleets(r.Fleets)}, {"Cost", o.planCost(r.Plan)}} {
		if len(s.lines) > 0 {
			fmt.Fprintf(w, "\n%s\n%s\n", o.bold(s.title), strings.Join(s.lines, "\n"))
		}
	}
	if file != "" {
		fmt.Fprintf(w, "\nrun exactly this: %s\n", o.cyan("release up --plan "+file))
	}
}

func (o *output) planTitle(p api.Plan) string {
	title := o.bold(strings.TrimSpace(p.Kind + " " + p.Release))
	if p.Image != "" {
		title += " (" + shortDigest(p.Image) + ")"
	}
	if p.From != "" && p.From != p.Release {
		title += fmt.Sprintf(" from %s (%s)", p.From, shortDigest(p.FromImage))
	}
	return title
}

func (o *output) planChanges(changes []api.PlannedChange) []string {
	var t table
	for _, c := range changes {
		t.row(plain(c.Path), plain(quoteEmpty(c.From)+" → "+quoteEmpty(c.To)))
	}
	return t.lines("  ")
}

// planSchedule is what the journal would say, and when.
func (o *output) planSchedule(p api.Plan) []string {
	var t table
	for _, m := range p.Schedule {
		at := after(m.After)
		text := m.Message
		if strings.HasSuffix(m.Type, ".gate") {
			t.row(plain(at), cell{text, o.yellow(text)})
			continue
		}
		t.row(plain(at), plain(text))
	}
	if p.Waits != "" {
		t.row(plain("?"), cell{"it waits for " + p.Waits, o.yellow("it waits for " + p.Waits)})
	}
	return t.lines("  ")
}

// planAsks is what is asked meanwhile.
func planAsks(asks []string) []string {
	var lines []string
	for _, a := range asks {
		lines = append(lines, "  "+harmless(a))
	}
	return lines
}

// planGaps is when nobody does the work of a role.
func (o *output) planGaps(gaps []string) []string {
	var lines []string
	for _, gap := range gaps {
		lines = append(lines, "  "+o.yellow(gap))
	}
	return lines
}

// planFleets is what becomes of each fleet.
func (o *output) planFleets(fleets []api.PlannedFleet) []string {
	var t table
	for _, fl := range fleets {
		now, then := fl.Now, fl.Then
		if now == "" {
			now = "new"
		}
		if then == "" {
			then = "gone"
		}
		shot := ""
		if s := fl.Shot; s != nil {
			shot = fmt.Sprintf("shot %s: %s; requests may take %s, long connections %s", after(s.After), s.Why,
				span(seconds(s.Drain)), span(seconds(s.LongConnections)))
		}
		name := fl.Release
		if fl.Role != "web" {
			name += " " + fl.Role
		}
		t.row(cell{name, o.bold(name)}, plain(now+" → "+then), plain(human.Count(fl.Nodes, "node")), plain(fl.Driver), plain(shot))
	}
	return t.lines("  ")
}

// after is a time from the beginning, to the second: what is less is the steps of the rehearsal.
func after(s float64) string {
	if s < 1 {
		return "at once"
	}
	return "+" + span(seconds(s).Truncate(time.Second))
}

func (o *output) planCost(p api.Plan) []string {
	var t table
	t.row(plain("nodes"), plain(fmt.Sprintf("%d now, %d at the peak, %d in the end", p.Nodes.Now, p.Nodes.Peak, p.Nodes.Then)))
	holds := "no holds"
	if p.Holds >= 1 {
		holds = "holds of " + span(seconds(p.Holds).Truncate(time.Second))
	}
	usual := "no history to tell more"
	if p.UsualOf > 0 {
		usual = fmt.Sprintf("the last %s took %s in the median", human.Count(p.UsualOf, p.Kind), span(seconds(p.Usual)))
	}
	t.row(plain("time"), plain(holds+"; "+usual))
	return t.lines("  ")
}
