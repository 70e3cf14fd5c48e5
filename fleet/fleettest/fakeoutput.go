package fleettest

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/bootandshoot/release/fleet"
)

type logLine struct {
	at           time.Time
	stream, text string
}

func (l logLine) String() string {
	return l.at.Format(time.RFC3339Nano) + " " + l.stream + " " + l.text + "\n"
}

func (n *fakeNode) write(at time.Time, stream, text string) {
	n.log = append(n.log, logLine{at, stream, text})
	n.touch()
}

// Logs gives what Log, and the nodes' server, wrote.
func (f *Fake) Logs(ctx context.Context, id fleet.NodeID, opts fleet.LogOptions) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.nodes[id.Node]
	if !ok {
		return nil, fmt.Errorf("logs of %s: %w", id.Node, fleet.ErrNoNode)
	}
	lines := n.log
	for len(lines) > 0 && lines[0].at.Before(opts.Since) {
		lines = lines[1:]
	}
	if opts.Tail > 0 && len(lines) > opts.Tail {
		lines = lines[len(lines)-opts.Tail:]
	}
	var text strings.Builder
	for _, l := range lines {
		text.WriteString(l.String())
	}
	if !opts.Follow {
		return io.NopCloser(strings.NewReader(text.String())), nil
	}
	r, w := io.Pipe()
	go f.follow(ctx, n, len(n.log), text.String(), w)
	return r, nil
}

func (f *Fake) follow(ctx context.Context, n *fakeNode, seen int, text string, w *io.PipeWriter) {
	for {
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
		f.mu.Lock()
		text = ""
		for _, l := range n.log[seen:] {
			text += l.String()
		}
		seen = len(n.log)
		gone, changed := n.Presence == fleet.Gone, n.changed
		f.mu.Unlock()
		if text != "" {
			continue
		}
		if gone {
			_ = w.Close()
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			_ = w.CloseWithError(ctx.Err())
			return
		}
	}
}

// Exec knows the commands of testnode: "/testnode echo WORDS", "/testnode cat", "/testnode exit CODE".
func (f *Fake) Exec(ctx context.Context, id fleet.NodeID, spec fleet.ExecSpec) (int, error) {
	f.mu.Lock()
	n, ok := f.nodes[id.Node]
	gone := ok && n.Presence == fleet.Gone
	f.mu.Unlock()
	if !ok || gone {
		return 0, fmt.Errorf("exec in %s: %w", id.Node, fleet.ErrNoNode)
	}
	return fakeCommand(ctx, n.spec, spec)
}

// runCommand ends a node at once whose command is "/testnode exit CODE" or "/no-such-program"; the lock is held.
func (f *Fake) runCommand(n *fakeNode) {
	command := n.spec.Command
	if command[0] == "/no-such-program" {
		f.end(n, fleet.Exit{Code: 127, Reason: "could not start: the program " + command[0] + " is not in the image"})
		return
	}
	if len(command) == 3 && command[1] == "exit" {
		code, _ := strconv.Atoi(command[2])
		f.end(n, fleet.Exit{Code: code})
	}
}

func fakeCommand(ctx context.Context, booted fleet.Spec, spec fleet.ExecSpec) (int, error) {
	if len(spec.Command) < 2 || spec.Command[0] != "/testnode" {
		return 0, fmt.Errorf("exec %q: no such program", spec.Command)
	}
	args := spec.Command[2:]
	switch spec.Command[1] {
	case "echo":
		_, err := fmt.Fprintln(spec.Stdout, strings.Join(args, " "))
		return 0, err
	case "cat":
		_, err := io.Copy(spec.Stdout, spec.Stdin)
		return 0, err
	case "env":
		value, ok := spec.Env[args[0]]
		if !ok {
			value = nodeEnv(booted)[args[0]]
		}
		_, err := fmt.Fprintln(spec.Stdout, value)
		return 0, err
	case "complain":
		_, err := fmt.Fprintln(spec.Stderr, strings.Join(args, " "))
		return 0, err
	case "exit":
		return strconv.Atoi(args[0])
	case "tty":
		_, err := fmt.Fprintf(spec.Stdout, "terminal %dx%d\n", spec.Window.Columns, spec.Window.Rows)
		return 0, err
	case "sleep":
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 2, nil
}
