package machinechannel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// port is a virtio port: what is written while nobody is at the other end waits, what is read is the end of the file.
type port struct {
	mu    sync.Mutex
	some  *sync.Cond
	conn  net.Conn
	ended bool
}

func newPort(t *testing.T) (p *port, path string) {
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	p = &port{}
	p.some = sync.NewCond(&p.mu)
	go func() {
		for { // one at a time, as QEMU does
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			for p.conn != nil && !p.ended {
				p.some.Wait()
			}
			p.conn = conn
			p.mu.Unlock()
			p.some.Broadcast()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended = true
		if p.conn != nil {
			_ = p.conn.Close()
		}
		p.some.Broadcast()
	})
	return p, path
}

func (p *port) Read(b []byte) (int, error) {
	p.mu.Lock()
	c := p.conn
	p.mu.Unlock()
	if c == nil {
		return 0, io.EOF
	}
	n, err := c.Read(b)
	if err != nil {
		p.mu.Lock()
		p.conn = nil
		p.mu.Unlock()
		p.some.Broadcast()
		err = io.EOF
	}
	return n, err
}

func (p *port) Write(b []byte) (int, error) {
	for {
		p.mu.Lock()
		for p.conn == nil && !p.ended {
			p.some.Wait()
		}
		c := p.conn
		p.mu.Unlock()
		if c == nil {
			return 0, os.ErrClosed
		}
		if n, err := c.Write(b); err == nil {
			return n, nil
		}
		time.Sleep(time.Millisecond) // until the reader has noticed
	}
}

// host is a Machine of this machine's own processes.
type host struct{ stopped chan string }

func (h host) Stop(signal string) error {
	if signal == "NONE" {
		return errors.New("no such signal")
	}
	h.stopped <- signal
	return nil
}

func (h host) CopyOut(path string, to io.Writer) error {
	switch path {
	case "/none":
		return fs.ErrNotExist
	case "/torn":
		_, _ = io.WriteString(to, "half of it")
		return errors.New("the disk is bad")
	}
	_, err := io.Copy(to, io.LimitReader(endless{}, 5<<20)) // more than SSH lets be under way
	return err
}

// endless is as many bytes as anybody wants.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func (h host) Start(args, env []string, files [3]*os.File, terminal bool) (Process, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "OWN=of-services"}, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: terminal}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return process{cmd}, nil
}

type process struct{ cmd *exec.Cmd }

func (p process) Kill() { _ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) }

func (p process) Wait() Exit {
	_ = p.cmd.Wait()
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return Exit{Code: 128 + int(status.Signal())}
	}
	return Exit{Code: status.ExitStatus()}
}

func serveHost(t *testing.T) (h host, path string) {
	p, path := newPort(t)
	h = host{stopped: make(chan string, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = Serve(ctx, p, h) }()
	t.Cleanup(func() { cancel(); <-done })
	return h, path
}

func dialPath(t *testing.T, path string) *Client {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

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

// stuck is a line to a machine that answers nothing from some moment on.
type stuck struct {
	net.Conn
	from, closed chan struct{}
	once         sync.Once
}

func (s *stuck) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	select {
	case <-s.from:
		<-s.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (s *stuck) Write(b []byte) (int, error) {
	select {
	case <-s.from:
		<-s.closed
		return 0, net.ErrClosed
	default:
		return s.Conn.Write(b)
	}
}

func (s *stuck) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// What is asked of a machine whose kernel is stuck ends with its context all the same.
func TestStuckMachine(t *testing.T) {
	_, path := serveHost(t)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	line := &stuck{Conn: conn, from: make(chan struct{}), closed: make(chan struct{})}
	c, err := Dial(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	close(line.from)
	ended := make(chan error, 2)
	go func() { _, err := c.Run(ctx, Command{Args: []string{"true"}}); ended <- err }()
	go func() { _, err := c.CopyOut(ctx, "/"); ended <- err }()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
}

// Whatever the one before left on the line, the next one speaks.
func TestConnectionsFollowEachOther(t *testing.T) {
	_, path := serveHost(t)
	for i := range 20 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		switch i % 4 {
		case 0: // leaves in the middle of a mark
			_, _ = conn.Write(mark[:7])
		case 1: // and in the middle of a question
			c, err := Dial(t.Context(), conn)
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = c.Run(t.Context(), Command{Args: []string{"yes"}, Stdout: io.Discard}) }()
			time.Sleep(time.Duration(i) * time.Millisecond)
		case 2: // or says nothing that is meant
			_, _ = conn.Write(bytes.Repeat([]byte("nonsense"), 10_000))
		}
		_ = conn.Close()
		var out bytes.Buffer
		c := dialPath(t, path)
		if code, err := c.Run(t.Context(), Command{Args: []string{"echo", "here"}, Stdout: &out}); err != nil || code != 0 || out.String() != "here\n" {
			t.Fatalf("connection %d: %d, %v, %q", i, code, err, out.String())
		}
		_ = c.Close()
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	ours, theirs := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, ours); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// However the bytes are cut, each stream gets those between its mark and the next.
func TestLineSorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent []byte
		var want []string
		for range rapid.IntRange(1, 4).Draw(t, "streams") {
			sent = append(append(sent, mark[:]...), rapid.SliceOfN(rapid.Byte(), markSize, markSize).Draw(t, "nonce")...)
			piece := rapid.SliceOfN(rapid.SampledFrom([]byte{mark[0], mark[1], mark[2], 'x'}), 0, 40).Draw(t, "piece")
			sent, want = append(sent, piece...), append(want, string(piece))
		}
		sent = append(sent, "end of the line, longer than a mark"...)
		want[len(want)-1] += "end of the line, longer than a mark"
		var mu sync.Mutex
		var got []*bytes.Buffer
		var group sync.WaitGroup
		group.Add(len(want))
		in := &pieces{data: sent, size: rapid.IntRange(1, 50).Draw(t, "size")}
		_ = accept(context.Background(), in, func(conn net.Conn) {
			defer group.Done()
			b := &bytes.Buffer{}
			mu.Lock()
			got = append(got, b)
			mu.Unlock()
			_, _ = io.Copy(b, conn)
		})
		group.Wait()
		var texts []string
		for _, b := range got {
			texts = append(texts, b.String())
		}
		for _, w := range want {
			if !slices.ContainsFunc(texts, func(got string) bool {
				rest, ok := strings.CutPrefix(got, w)
				return ok && strings.HasPrefix(string(mark[:markSize-1]), rest)
			}) {
				t.Fatalf("%q is missing in %q", w, texts)
			}
		}
	})
}

// Nothing waits for what may never come: whatever a question ends with, it arrives.
func TestLineHoldsNothingBack(t *testing.T) {
	for n := range markSize {
		ours, theirs := net.Pipe()
		got := make(chan string, 1)
		go func() {
			_ = accept(t.Context(), theirs, func(conn net.Conn) {
				b := make([]byte, 8+n)
				_, _ = io.ReadFull(conn, b)
				got <- string(b)
			})
		}()
		head := append(mark[:], make([]byte, markSize)...)
		if _, err := ours.Write(head); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(ours, head); err != nil {
			t.Fatal(err)
		}
		question := "question" + string(mark[:n])
		if _, err := ours.Write([]byte(question)); err != nil {
			t.Fatal(err)
		}
		select {
		case text := <-got:
			if text != question {
				t.Errorf("%q came as %q", question, text)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("a question that ends in %d bytes of a mark does not arrive", n)
		}
		_ = ours.Close()
	}
}

// pieces is a port that gives so many bytes at a time, and then fails.
type pieces struct {
	data []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, errors.New("unplugged")
	}
	n := copy(b, p.data[:min(p.size, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}

func (p *pieces) Write(b []byte) (int, error) { return len(b), nil }

// TestCopies reads files, beside another connection's commands and after each other; what is not there, not whole, or given up is told as such.
func TestCopies(t *testing.T) {
	_, path := serveHost(t)
	c := dialPath(t, path)
	for range 2 {
		r, err := c.CopyOut(t.Context(), "/file")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n != 5<<20 {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.CopyOut(t.Context(), "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	r, err := c.CopyOut(t.Context(), "/torn")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "the disk is bad") {
		t.Errorf("a file that cannot be read whole: %v", err)
	}
	_ = r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	if r, err = c.CopyOut(ctx, "/file"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(r); err == nil {
		t.Error("a copy that is given up is whole")
	}
	_ = r.Close()
	if code, err := c.Run(t.Context(), Command{Args: []string{"true"}}); err != nil || code != 0 {
		t.Errorf("a command after that: %d %v", code, err)
	}
}
