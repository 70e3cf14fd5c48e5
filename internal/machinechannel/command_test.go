package machinechannel

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCommands(t *testing.T) {
	h, path := serveHost(t)
	c := dialPath(t, path)
	large := strings.Repeat("data\n", 200_000)
	var group sync.WaitGroup
	for _, w := range []struct {
		command     Command
		in          string
		out, errOut string
		code        int
	}{
		{command: Command{Args: []string{"echo", "a", "b c", "d'e"}}, out: "a b c d'e\n"},
		{command: Command{Args: []string{"sh", "-c", "echo oh >&2; exit 42"}}, errOut: "oh\n", code: 42},
		{command: Command{Args: []string{"sh", "-c", "kill -TERM $$"}}, code: 143},
		{command: Command{Args: []string{"sh", "-c", "echo $OWN $X"}, Env: map[string]string{"X": "y z"}}, out: "of-services y z\n"},
		{command: Command{Args: []string{"cat"}}, in: large, out: large},
		{command: Command{Args: []string{"sh", "-c", "sleep 60 & echo left"}}, out: "left\n"},
		{command: Command{Args: []string{"sh", "-c", "stty size; test -t 1 && echo $TERM"}, TTY: true, Columns: 91, Rows: 33}, out: "33 91\r\nxterm\r\n"},
	} {
		group.Go(func() {
			var out, errOut bytes.Buffer
			w.command.Stdout, w.command.Stderr = &out, &errOut
			if w.in != "" {
				w.command.Stdin = strings.NewReader(w.in)
			}
			code, err := c.Run(t.Context(), w.command)
			if err != nil || code != w.code || out.String() != w.out || errOut.String() != w.errOut {
				t.Errorf("%v: %d, %v, %.80q, %.80q", w.command.Args, code, err, out.String(), errOut.String())
			}
		})
	}
	group.Wait()
	var said bytes.Buffer
	if code, err := c.Run(t.Context(), Command{Args: []string{"/no-such-program"}, Stderr: &said}); err != nil || code != cannotStart || !strings.Contains(said.String(), "no-such-program") {
		t.Errorf("a program that is not there: %d, %v, %q", code, err, said.String())
	}
	if err := c.Stop(t.Context(), "USR1"); err != nil || <-h.stopped != "USR1" {
		t.Errorf("stop: %v", err)
	}
	if err := c.Stop(t.Context(), "NONE"); err == nil {
		t.Error("a stop that was refused is none")
	}
}

// What a command said is there whole, however slowly it is taken.
func TestSlowReader(t *testing.T) {
	_, path := serveHost(t)
	c := dialPath(t, path)
	const size = 4 << 20 // more than SSH's window and the pipes hold
	slow := &slowWriter{pause: 4 * linger}
	if code, err := c.Run(t.Context(), Command{Args: []string{"head", "-c", "4194304", "/dev/zero"}, Stdout: slow}); err != nil || code != 0 || slow.n != size {
		t.Errorf("%d of %d bytes, %d, %v", slow.n, size, code, err)
	}
}

// slowWriter takes its time, once.
type slowWriter struct {
	n     int
	pause time.Duration
}

func (w *slowWriter) Write(b []byte) (int, error) {
	w.n += len(b)
	time.Sleep(w.pause)
	w.pause = 0
	return len(b), nil
}

func TestTheEndOfTheContextEndsTheCommand(t *testing.T) {
	_, path := serveHost(t)
	c := dialPath(t, path)
	pids, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, Command{Args: []string{"sh", "-c", "echo $$; exec sleep 60"}, Stdout: in})
		ended <- err
	}()
	buf := make([]byte, 32)
	n, err := pids.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	proc := "/proc/" + strings.TrimSpace(string(buf[:n]))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(proc); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the command goes on")
		}
	}
}
