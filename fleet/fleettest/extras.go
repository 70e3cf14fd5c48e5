package fleettest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
)

func (s *suite) watch(t *testing.T) {
	d := s.New(t)
	w, ok := d.(fleet.Watcher)
	if !ok {
		t.Log("the driver does not watch")
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hints, err := w.Watch(ctx)
	if err != nil {
		t.Fatalf("watch: %v", err)
	}
	spec, nodes := s.boot(t, d, 1)
	awaitHint(t, hints, spec.Fleet)
	end(nodes[0], "1")
	// Hints may come early, and for other nodes; at the latest with the end there is one more.
	Eventually(t, "a hint comes with the end", func() error {
		awaitHint(t, hints, spec.Fleet)
		if n := s.nodes(t, d, spec.Fleet)[0]; n.Presence != fleet.Gone {
			return fmt.Errorf("presence is %s", n.Presence)
		}
		return nil
	})
	cancel()
	Eventually(t, "the channel closes", func() error {
		select {
		case _, open := <-hints:
			if !open {
				return nil
			}
		default:
		}
		return errors.New("still open")
	})
}

func awaitHint(t *testing.T, hints <-chan fleet.FleetID, id fleet.FleetID) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case got := <-hints:
			if got == id {
				return
			}
		case <-timeout:
			t.Fatalf("no hint about %s", id)
		}
	}
}

// say prints a line in the node and waits until it is kept, so that the order of lines is certain.
func say(t *testing.T, l fleet.Logger, n fleet.Node, stream, text string) {
	t.Helper()
	ask(t, n, "/print", "text", text, "to", stream)
	Eventually(t, "the line is kept", func() error {
		if lines := readLogs(t, l, n.ID, fleet.LogOptions{}); !strings.Contains(strings.Join(lines, ""), " "+stream+" "+text+"\n") {
			return fmt.Errorf("log holds %q", lines)
		}
		return nil
	})
}

func readLogs(t *testing.T, l fleet.Logger, id fleet.NodeID, opts fleet.LogOptions) []string {
	t.Helper()
	r, err := l.Logs(t.Context(), id, opts)
	if err != nil {
		t.Fatalf("logs: %v", err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read logs: %v", err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		lines = append(lines, line)
	}
	return lines
}

// line takes a log line apart.
func line(t *testing.T, text string) (at time.Time, stream, said string) {
	t.Helper()
	f := strings.SplitN(strings.TrimSuffix(text, "\n"), " ", 3)
	if len(f) != 3 {
		t.Fatalf("log line %q is not \"time stream text\"", text)
	}
	at, err := time.Parse(time.RFC3339Nano, f[0])
	if err != nil {
		t.Fatalf("log line %q: %v", text, err)
	}
	return at, f[1], f[2]
}

func (s *suite) logs(t *testing.T) {
	d := s.New(t)
	l, ok := d.(fleet.Logger)
	if !ok {
		t.Log("the driver keeps no logs")
		return
	}
	spec, nodes := s.boot(t, d, 1)
	say(t, l, nodes[0], "out", "one")
	say(t, l, nodes[0], "err", "two two")
	say(t, l, nodes[0], "out", "three")
	lines := readLogs(t, l, nodes[0].ID, fleet.LogOptions{Tail: 3})
	if len(lines) != 3 {
		t.Fatalf("a tail of 3 gives %q", lines)
	}
	var last time.Time
	for i, want := range []string{"out one", "err two two", "out three"} {
		at, stream, said := line(t, lines[i])
		if stream+" "+said != want || at.Before(last) || time.Since(at).Abs() > time.Minute {
			t.Errorf("line %d is %q, want %q", i, lines[i], want)
		}
		last = at
	}
	if got := readLogs(t, l, nodes[0].ID, fleet.LogOptions{Since: last}); len(got) != 1 || got[0] != lines[2] {
		t.Errorf("since the last line there is %q, want that one", got)
	}
	if got := readLogs(t, l, nodes[0].ID, fleet.LogOptions{Since: time.Now().Add(time.Hour)}); len(got) != 0 {
		t.Errorf("since the future there is %q", got)
	}
	end(nodes[0], "0")
	s.gone(t, d, spec.Fleet)
	if got := readLogs(t, l, nodes[0].ID, fleet.LogOptions{Tail: 1}); len(got) != 1 {
		t.Errorf("after the end there is %q", got)
	}
	if _, err := l.Logs(t.Context(), fleet.NodeID{Fleet: spec.Fleet, Node: "never-there"}, fleet.LogOptions{}); !errors.Is(err, fleet.ErrNoNode) {
		t.Errorf("logs of no node: %v, want ErrNoNode", err)
	}
}

func (s *suite) logsFollow(t *testing.T) {
	d := s.New(t)
	l, ok := d.(fleet.Logger)
	if !ok {
		t.Log("the driver keeps no logs")
		return
	}
	spec, nodes := s.boot(t, d, 1)
	r, err := l.Logs(t.Context(), nodes[0].ID, fleet.LogOptions{Follow: true})
	if err != nil {
		t.Fatalf("follow: %v", err)
	}
	defer r.Close()
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(r); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	for _, text := range []string{"first", "second"} {
		ask(t, nodes[0], "/print", "text", text)
		awaitLine(t, lines, " out "+text)
	}
	end(nodes[0], "0")
	s.gone(t, d, spec.Fleet)
	timeout := time.After(patience)
	for open := true; open; {
		select {
		case _, open = <-lines:
		case <-timeout:
			t.Fatal("following does not end with the node")
		}
	}
	// The end of the context ends it too.
	_, nodes = s.boot(t, d, 1)
	ctx, cancel := context.WithCancel(t.Context())
	r, err = l.Logs(ctx, nodes[0].ID, fleet.LogOptions{Follow: true})
	if err != nil {
		t.Fatalf("follow: %v", err)
	}
	defer r.Close()
	cancel()
	_, _ = io.Copy(io.Discard, r)
}

func awaitLine(t *testing.T, lines <-chan string, suffix string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case got, open := <-lines:
			if !open {
				t.Fatalf("following ended before %q", suffix)
			}
			if strings.HasSuffix(got, suffix) {
				return
			}
		case <-timeout:
			t.Fatalf("no line ends in %q", suffix)
		}
	}
}

func (s *suite) exec(t *testing.T) {
	d := s.New(t)
	x, ok := d.(fleet.Execer)
	if !ok {
		t.Log("the driver runs no commands in nodes")
		return
	}
	spec, nodes := s.boot(t, d, 1, func(spec *fleet.Spec) { spec.Env = map[string]string{"NODE_ENV": "of node"} })
	for _, c := range []struct {
		name        string
		spec        fleet.ExecSpec
		stdin       string
		out, errOut string
		code        int
	}{
		{name: "output", spec: fleet.ExecSpec{Command: []string{"/testnode", "echo", "a", "b c"}}, out: "a b c\n"},
		{name: "error output", spec: fleet.ExecSpec{Command: []string{"/testnode", "complain", "oh"}}, errOut: "oh\n"},
		{name: "code", spec: fleet.ExecSpec{Command: []string{"/testnode", "exit", "42"}}, code: 42},
		{name: "input", spec: fleet.ExecSpec{Command: []string{"/testnode", "cat"}}, stdin: strings.Repeat("data\n", 50_000), out: strings.Repeat("data\n", 50_000)},
		{name: "node's environment", spec: fleet.ExecSpec{Command: []string{"/testnode", "env", "NODE_ENV"}}, out: "of node\n"},
		{name: "own environment", spec: fleet.ExecSpec{Command: []string{"/testnode", "env", "X"}, Env: map[string]string{"X": "y"}}, out: "y\n"},
	} {
		var out, errOut bytes.Buffer
		c.spec.Stdout, c.spec.Stderr = &out, &errOut
		if c.stdin != "" {
			c.spec.Stdin = strings.NewReader(c.stdin)
		}
		code, err := x.Exec(t.Context(), nodes[0].ID, c.spec)
		if err != nil || code != c.code || out.String() != c.out || errOut.String() != c.errOut {
			t.Errorf("%s: code %d, %v, out %.80q, err %.80q", c.name, code, err, out.String(), errOut.String())
		}
	}
	quiet := func(command ...string) fleet.ExecSpec {
		return fleet.ExecSpec{Command: command, Stdout: io.Discard, Stderr: io.Discard}
	}
	if code, err := x.Exec(t.Context(), nodes[0].ID, quiet("/no-such-program")); err == nil && code != 126 && code != 127 {
		t.Errorf("a program that is not there ran with %d", code)
	}
	if _, err := x.Exec(t.Context(), fleet.NodeID{Fleet: spec.Fleet, Node: "never-there"}, quiet("/testnode", "echo")); !errors.Is(err, fleet.ErrNoNode) {
		t.Errorf("exec in no node: %v, want ErrNoNode", err)
	}
	end(nodes[0], "0")
	s.gone(t, d, spec.Fleet)
	if _, err := x.Exec(t.Context(), nodes[0].ID, quiet("/testnode", "echo")); err == nil {
		t.Error("exec in a node that ended worked")
	}
}

func (s *suite) execTerminal(t *testing.T) {
	d := s.New(t)
	x, ok := d.(fleet.Execer)
	if !ok {
		t.Log("the driver runs no commands in nodes")
		return
	}
	_, nodes := s.boot(t, d, 1)
	var out bytes.Buffer
	code, err := x.Exec(t.Context(), nodes[0].ID, fleet.ExecSpec{Command: []string{"/testnode", "tty"}, TTY: true,
		Window: fleet.Window{Columns: 91, Rows: 33}, Stdout: &out})
	if err != nil || code != 0 || strings.TrimSpace(out.String()) != "terminal 91x33" {
		t.Errorf("code %d, %v, output %q", code, err, out.String())
	}
}

// The end of the context ends the wait for a command.
func (s *suite) execEnd(t *testing.T) {
	d := s.New(t)
	x, ok := d.(fleet.Execer)
	if !ok {
		t.Log("the driver runs no commands in nodes")
		return
	}
	_, nodes := s.boot(t, d, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := x.Exec(ctx, nodes[0].ID, fleet.ExecSpec{Command: []string{"/testnode", "sleep"}, Stdout: io.Discard, Stderr: io.Discard})
	if err == nil || time.Since(start) > 15*time.Second {
		t.Errorf("exec ended after %s with %v", time.Since(start), err)
	}
}

func (s *suite) unavailable(t *testing.T) {
	if s.Unavailable == nil {
		t.Log("the driver has no engine that could be away")
		return
	}
	d := s.Unavailable(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	spec := fleet.Spec{Fleet: fleet.FleetID{App: "suite-" + s.tag, Env: "test", Role: "web", Release: "r0", Incarnation: 1},
		Installation: s.Installation, Kind: fleet.Serve, Image: s.Image, Port: 8080}
	spec.Nodes = []fleet.NodeSpec{s.node(spec.Fleet, 0)}
	_, ensureErr := d.Ensure(ctx, spec)
	_, nodesErr := d.Nodes(ctx, spec.Fleet)
	_, fleetsErr := d.Fleets(ctx)
	for call, err := range map[string]error{
		"Prepare": d.Prepare(ctx, spec), "Ensure": ensureErr, "Nodes": nodesErr, "Fleets": fleetsErr,
		"Remove":  d.Remove(ctx, fleet.NodeID{Fleet: spec.Fleet, Node: spec.Nodes[0].Name}, time.Second),
		"Destroy": d.Destroy(ctx, spec.Fleet),
	} {
		if !errors.Is(err, fleet.ErrUnavailable) {
			t.Errorf("%s without an engine: %v, want ErrUnavailable", call, err)
		}
	}
}
