package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// stopTaskWithin bounds how long Ctrl-C waits for the end of a command.
const stopTaskWithin = 30 * time.Second

// attendant shows what a task prints, and goes on where it was when the agent comes back.
type attendant struct {
	c      *cli
	client *api.Client
	app    api.App
	task   api.Task

	last time.Time // of the last line shown
	same int       // lines shown with that time
}

// attend shows a task's output until its end; the exit code is the command's.
func (c *cli) attend(ctx context.Context, client *api.Client, app *config.App, t api.Task) error {
	a := &attendant{c: c, client: client, app: appOf(app), task: t}
	if !c.out.json {
		c.out.note("%s: %s of %s in %s", t.ID, taskWhat(t), t.Release, t.Node)
	}
	err := a.follow(ctx)
	if err != nil {
		if err = a.leave(ended(ctx, err)); a.task.Done() && c.out.json {
			return errors.Join(err, c.out.result(api.TaskResult{Head: api.NewHead(err), Task: a.task}, nil))
		}
		return err
	}
	return a.result()
}

// taskWhat is what a task does, for people.
func taskWhat(t api.Task) string {
	if t.Job != "" {
		return "job " + t.Job
	}
	return strings.Join(t.Command, " ")
}

// result ends as the command did.
func (a *attendant) result() error {
	t, out := a.task, a.c.out
	if t.Failure != nil {
		err := t.Failure.Fault()
		if !out.json {
			return err
		}
		if writeErr := out.result(api.TaskResult{Head: api.NewHead(err), Task: t}, nil); writeErr != nil {
			return errors.Join(err, writeErr)
		}
		return err
	}
	if t.Reason != "" {
		out.note("%s: %s", t.ID, t.Reason)
	}
	out.finished = !out.json // standard output is the command's
	if out.json {
		if err := out.result(api.TaskResult{Head: api.NewHead(nil), Task: t}, nil); err != nil {
			return err
		}
	}
	if t.ExitCode != 0 {
		return exitStatus(t.ExitCode)
	}
	return nil
}

// follow shows the output and waits for the task's end. A lost agent is looked for, and started again when it is gone.
func (a *attendant) follow(ctx context.Context) error {
	for {
		err := a.output(ctx)
		if err == nil {
			err = a.await(ctx)
		}
		if err == nil || !errors.Is(err, api.ErrNoAgent) || ctx.Err() != nil {
			return err
		}
		f := &follower{c: a.c, client: a.client, app: a.app}
		if err := f.reconnect(ctx); err != nil {
			return err
		}
	}
}

// await waits for the task's end. The task stays what was last known of it when the agent is gone.
func (a *attendant) await(ctx context.Context) error {
	for {
		t, err := a.client.Task(ctx, a.app, a.task.ID, longPoll)
		if err != nil {
			return err
		}
		if a.task = t; t.Done() {
			return nil
		}
		if t.Waits != "" && time.Since(t.At) > longPoll {
			a.c.out.note("%s waits for %s", t.ID, t.Waits)
		}
	}
}

// output shows lines until the task has no more.
func (a *attendant) output(ctx context.Context) error {
	r, err := a.client.TaskOutput(ctx, a.app, a.task.ID, a.last)
	if err != nil {
		return err
	}
	defer r.Close()
	known, from := a.same, a.last
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadString('\n')
		if at, ok := timeOf(line); ok && known > 0 && at.Equal(from) {
			known--
		} else if line != "" {
			if err := a.show(strings.TrimSuffix(line, "\n")); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("read the output of %s: %w: %w", a.task.ID, api.ErrNoAgent, err)
		}
	}
}

func timeOf(line string) (time.Time, bool) {
	stamp, _, _ := strings.Cut(line, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	return at, err == nil
}

// show writes a line to the stream that it came from.
func (a *attendant) show(line string) error {
	if at, ok := timeOf(line); ok {
		if !at.Equal(a.last) {
			a.same = 0
		}
		a.last, a.same = at, a.same+1
	}
	stamp, rest, _ := strings.Cut(line, " ")
	stream, text, _ := strings.Cut(rest, " ")
	if a.c.out.json {
		return a.c.out.event(logLine{Type: "log", Node: a.task.Node, At: stamp, Stream: stream, Text: text})
	}
	w := a.c.out.stdout
	if stream == "err" {
		w = a.c.out.stderr
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// leave ends the command when a person interrupts us; when only our time is over it goes on.
func (a *attendant) leave(err error) error {
	switch fault.CodeOf(err) {
	case fault.Running:
		return fault.New(fault.Running, "%w; %s goes on in the agent", err, a.task.ID).
			WithHint("see what it prints: release logs %s --follow", a.task.ID)
	case fault.Interrupted:
	default:
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTaskWithin)
	defer cancel()
	stopped := a.client.StopTask(ctx, a.app, a.task.ID, a.c.who())
	if stopped == nil {
		stopped = a.await(ctx)
	}
	if stopped != nil {
		return fault.New(fault.Interrupted, "%w; %s may still run: %w", err, a.task.ID, stopped).WithHint("release run --list shows what runs")
	}
	return fault.New(fault.Interrupted, "%w; %s is stopped and its node removed", err, a.task.ID)
}
