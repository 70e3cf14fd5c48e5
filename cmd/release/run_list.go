package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
)

// listTasks shows the jobs and the tasks.
func (c *cli) listTasks(ctx context.Context, app *config.App) error {
	client, err := c.connectIfUsed(ctx)
	if err != nil {
		return err
	}
	s, err := client.Status(ctx, appOf(app))
	if err != nil {
		return err
	}
	tasks, err := client.Tasks(ctx, appOf(app), "")
	if err != nil {
		return err
	}
	r := api.TasksResult{Head: api.NewHead(nil), Jobs: append([]api.Job{}, s.Jobs...), Tasks: tasks}
	return c.out.result(r, func(w io.Writer) { c.out.tasks(w, r) })
}

// shownTasks is how many tasks are listed without -v.
const shownTasks = 20

func (o *output) tasks(w io.Writer, r api.TasksResult) {
	if len(r.Jobs) > 0 {
		var t table
		t.row(plain("JOB"), plain("SCHEDULE"), plain("NEXT"), plain("LAST"), plain("TOOK"), plain("OUTCOME"))
		for _, j := range r.Jobs {
			t.row(plain(j.Name), plain(scheduleText(j.Schedule)), plain(localTime(j.Next)), plain(localTime(j.LastAt)), plain(tookText(j.Last != "", j.Seconds)), o.jobOutcome(j))
		}
		fmt.Fprintf(w, "%s\n\n", strings.Join(t.lines(""), "\n"))
	}
	if len(r.Tasks) == 0 {
		fmt.Fprintln(w, "no task runs, and none ran")
		return
	}
	var t table
	t.row(plain("TASK"), plain("WHAT"), plain("RELEASE"), plain("AT"), plain("TOOK"), plain("BY"), plain("OUTCOME"))
	for i, task := range r.Tasks {
		if i == shownTasks && !o.verbose {
			break
		}
		t.row(plain(task.ID), plain(shortened(taskWhat(task))), plain(task.Release), plain(localTime(task.At)),
			plain(tookText(!task.Started.IsZero(), task.Seconds)), plain(task.By), o.taskOutcome(task))
	}
	fmt.Fprintln(w, strings.Join(t.lines(""), "\n"))
	if more := len(r.Tasks) - shownTasks; more > 0 && !o.verbose {
		fmt.Fprintf(w, "and %d more (-v lists them)\n", more)
	}
}

func localTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

func tookText(known bool, s float64) string {
	if !known {
		return ""
	}
	return span(seconds(s))
}

// shortened is the beginning of a command, for a table.
func shortened(text string) string {
	const most = 50
	text, _, _ = strings.Cut(text, "\n")
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}

func (o *output) taskOutcome(t api.Task) cell {
	switch {
	case !t.Done():
		return cell{t.State, o.yellow(t.State)}
	case t.Failure != nil:
		return cell{t.Failure.Message, o.red(t.Failure.Message)}
	}
	return o.exitCode(t.ExitCode)
}

func (o *output) jobOutcome(j api.Job) cell {
	switch {
	case j.Running != "":
		text := "runs as " + j.Running
		return cell{text, o.yellow(text)}
	case j.Last == "":
		return plain("did not run yet")
	case j.Failure != "":
		return cell{j.Failure, o.red(j.Failure)}
	}
	return o.exitCode(j.ExitCode)
}

func (o *output) exitCode(code int) cell {
	if code == 0 {
		return cell{"done", o.green("done")}
	}
	text := fmt.Sprintf("exit code %d", code)
	return cell{text, o.red(text)}
}

// taskLines are the tasks and jobs of the one screen.
func (o *output) taskLines(s api.Status, now time.Time) []string {
	var lines []string
	for _, t := range s.Tasks {
		line := fmt.Sprintf("  task       %s %s: %s", o.bold(t.ID), shortened(taskWhat(t)), t.State)
		if t.Waits != "" {
			line += ", waits for " + t.Waits
		}
		lines = append(lines, line+o.dim(fmt.Sprintf("  (%s by %s, %s ago)", t.Release, t.By, span(now.Sub(t.At)))))
	}
	for _, j := range s.Jobs {
		if j.Failure != "" || j.ExitCode != 0 {
			lines = append(lines, fmt.Sprintf("  job        %s: %s", o.bold(j.Name), o.jobOutcome(j).shown)+o.dim("  ("+j.Last+")"))
		}
	}
	return lines
}

// completeJobs names the jobs of the file.
func (c *cli) completeJobs(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	app, err := c.app()
	if err != nil || len(args) > 0 {
		return nil, noFiles
	}
	var names []string
	for name, job := range app.Jobs {
		names = append(names, name+"\t"+job.Cmd.String())
	}
	return names, noFiles
}

func scheduleText(schedule string) string {
	if schedule == "" {
		return "by hand"
	}
	return schedule
}
