package sandbox

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// TestAttachedTerminal types into a command that has a terminal of its own, and changes its size.
func TestAttachedTerminal(t *testing.T) {
	s := newRoot(t)
	typed, keys := io.Pipe()
	sizes := make(chan [2]int)
	out := &waiter{}
	s.TTY = &TTY{Columns: 91, Rows: 33, Resize: sizes}
	s.Stdin, s.Stdout = typed, out
	s.Command = []string{"/bin/sh", "-c", `tty; stty size; echo ready; read line; echo "got $line"; stty size; test -t 1 && test -t 2 && exit 7`}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p, err := Start(ctx, s)
	check(t, err)
	out.await(t, "ready")
	sizes <- [2]int{60, 20}
	sizes <- [2]int{60, 20} // taken only once the first has had its effect
	_, err = keys.Write([]byte("hello\r"))
	check(t, err)
	exit, err := p.Wait()
	if err != nil || exit.Code != 7 {
		t.Errorf("exit %+v, %v", exit, err)
	}
	for _, want := range []string{"/dev/pts/0", "33 91", "got hello", "20 60"} {
		if !strings.Contains(out.text(), want) {
			t.Errorf("no %q in %q", want, out.text())
		}
	}
	check(t, keys.Close())
}

// TestAttachedTerminalLastOutput takes all of a command's output though it ends at once.
func TestAttachedTerminalLastOutput(t *testing.T) {
	s := newRoot(t)
	var out bytes.Buffer
	s.TTY, s.Stdout = &TTY{}, &out
	s.Command = []string{"/bin/sh", "-c", "seq 2000"}
	exit, err := Run(t.Context(), s)
	if err != nil || exit.Code != 0 || !strings.HasSuffix(out.String(), "1999\r\n2000\r\n") {
		t.Errorf("exit %+v, %v, output ends %q", exit, err, out.String()[max(0, out.Len()-40):])
	}
	s = newRoot(t)
	s.TTY, s.Command = &TTY{}, []string{"/bin/nothing"}
	if exit, err := Run(t.Context(), s); err != nil || exit.Code != 127 {
		t.Errorf("a program that is not there: %+v, %v", exit, err)
	}
}
