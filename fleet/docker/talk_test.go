package docker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
)

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	s := w.spec(w.image(), 0, 1)
	s.Command = []string{"/probe", "talk"}
	id := w.launch(d, s)[0].ID
	ended(t, d, s.Fleet)
	read := func(o fleet.LogOptions) []string {
		r, err := d.Logs(t.Context(), id, o)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var texts []string
		for l := range strings.Lines(readAll(t, r)) {
			l = strings.TrimSuffix(l, "\n")
			at, rest, _ := strings.Cut(l, " ")
			if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
				t.Errorf("line %q: %v", l, err)
			}
			texts = append(texts, rest)
		}
		return texts
	}
	all := read(fleet.LogOptions{})
	want := map[string]bool{"out one": true, "err two": true, "out " + strings.Repeat("x", 40_000) + "end": true, "out no newline": true}
	for _, l := range all {
		if !want[l] {
			t.Errorf("unexpected line of %d bytes: %.80q", len(l), l)
		}
		delete(want, l)
	}
	if len(want) != 0 {
		t.Errorf("%d lines are missing", len(want))
	}
	if tail := read(fleet.LogOptions{Tail: 1}); len(tail) != 1 || tail[0] != all[len(all)-1] {
		t.Errorf("tail is %.80q", tail)
	}
	if none := read(fleet.LogOptions{Since: time.Now().Add(time.Hour)}); len(none) != 0 {
		t.Errorf("from the future: %.80q", none)
	}
	if _, err := d.Logs(t.Context(), fleet.NodeID{Fleet: s.Fleet, Node: w.installation + "-none"}, fleet.LogOptions{}); !errors.Is(err, fleet.ErrNoNode) {
		t.Errorf("no node: %v", err)
	}
}

func TestFollow(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	s := w.spec(w.image(), 0, 1)
	s.Command = []string{"/probe", "count"}
	id := w.launch(d, s)[0].ID
	ctx, cancel := context.WithCancel(t.Context())
	r, err := d.Logs(ctx, id, fleet.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lines := bufio.NewScanner(r)
	for i := range 20 {
		if !lines.Scan() || !strings.HasSuffix(lines.Text(), fmt.Sprintf(" out line %d", i)) {
			t.Fatalf("line %d is %q, error %v", i, lines.Text(), lines.Err())
		}
	}
	cancel()
	for lines.Scan() { // what was read already; then it must end
	}
}

func TestExec(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	s := w.spec(w.image(), 0, 1)
	n := w.launch(d, s)[0]
	run := func(spec fleet.ExecSpec) (int, string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		spec.Stdout, spec.Stderr = &out, &errs
		code, err := d.Exec(t.Context(), n.ID, spec)
		if err != nil {
			t.Fatal(err)
		}
		return code, out.String(), errs.String()
	}
	if code, _, _ := run(fleet.ExecSpec{Command: []string{"/probe", "exit", "9"}}); code != 9 {
		t.Errorf("code is %d", code)
	}
	if code, _, _ := run(fleet.ExecSpec{Command: []string{"/missing"}}); code != 126 && code != 127 {
		t.Errorf("a missing command gives %d", code)
	}
	if _, out, errs := run(fleet.ExecSpec{Command: []string{"/probe", "env", "A"}, Env: map[string]string{"A": "b c"}}); out != "b c" || errs != "said on stderr" {
		t.Errorf("output is %q, %q", out, errs)
	}
	text := strings.Repeat("0123456789", 20_000)
	if _, out, _ := run(fleet.ExecSpec{Command: []string{"/probe", "cat"}, Stdin: strings.NewReader(text)}); out != text {
		t.Errorf("input came back as %d bytes, want %d", len(out), len(text))
	}
	_, err := d.Exec(t.Context(), fleet.NodeID{Fleet: s.Fleet, Node: "nobody"}, fleet.ExecSpec{Command: []string{"/probe"}})
	if !errors.Is(err, fleet.ErrNoNode) {
		t.Errorf("no node: %v", err)
	}
}

func TestExecTerminal(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	n := w.launch(d, w.spec(w.image(), 0, 1))[0]
	r, out := io.Pipe()
	resize := make(chan fleet.Window)
	codes := make(chan int, 1)
	go func() {
		code, err := d.Exec(t.Context(), n.ID, fleet.ExecSpec{
			Command: []string{"/probe", "sizes"}, TTY: true, Window: fleet.Window{Columns: 91, Rows: 17}, Resize: resize, Stdout: out,
		})
		out.CloseWithError(err)
		codes <- code
	}()
	lines := bufio.NewScanner(r)
	wait := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.TrimSpace(lines.Text()) == want {
				return
			}
		}
		t.Fatalf("never %s: %v", want, lines.Err())
	}
	wait("91x17")
	resize <- fleet.Window{Columns: 40, Rows: 9}
	wait("40x9")
	resize <- fleet.Window{Columns: 1, Rows: 1}
	wait("1x1")
	if code := <-codes; code != 0 {
		t.Errorf("code is %d", code)
	}
}

// TestExecCut is a caller that goes away: the command must not stay behind.
func TestExecCut(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	n := w.launch(d, w.spec(w.image(), 0, 1))[0]
	ctx, cancel := context.WithCancel(t.Context())
	r, out := io.Pipe()
	ran := make(chan error, 1)
	go func() {
		_, err := d.Exec(ctx, n.ID, fleet.ExecSpec{Command: []string{"/probe", "hang"}, Stdout: out})
		ran <- err
	}()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	execs := inspect(t, d, n.ID.Node).ExecIDs
	if len(execs) != 1 {
		t.Fatalf("commands are %v", execs)
	}
	command, err := d.engine.ContainerExecInspect(t.Context(), execs[0])
	if err != nil || !command.Running {
		t.Fatalf("the command does not run: %+v, error %v", command, err)
	}
	cancel()
	if err := <-ran; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if os.Geteuid() != 0 {
		return // only root may kill it
	}
	fleettest.Eventually(t, "wait for the command's end", func() error {
		if err := unix.Kill(command.Pid, 0); err != unix.ESRCH {
			return fmt.Errorf("process %d is there: %v", command.Pid, err)
		}
		return nil
	})
}

func TestWatch(t *testing.T) {
	w := newWorld(t)
	r := newRelay(t)
	d := w.driver(func(o *Options) { o.Host = r.host })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hints, err := d.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wait := func(what string, want fleet.FleetID) {
		t.Helper()
		select {
		case id := <-hints:
			if id != want {
				t.Errorf("%s: got %s, want %s", what, id, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: no hint", what)
		}
	}
	s := w.spec(w.image(), 0, 1)
	n := w.launch(d, s)[0]
	wait("start", s.Fleet)
	if err := d.engine.ContainerKill(t.Context(), n.ID.Node, "KILL"); err != nil {
		t.Fatal(err)
	}
	wait("death", s.Fleet)
	r.cut(false)
	wait("broken connection", s.Fleet)
	if err := d.Destroy(t.Context(), s.Fleet); err != nil {
		t.Fatal(err)
	}
	wait("removal", s.Fleet)
	cancel()
	for range hints { // closes with ctx
	}
}
