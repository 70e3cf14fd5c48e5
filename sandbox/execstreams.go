package sandbox

import (
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// execStreams are the caller's side of the streams of a command that runs beside.
type execStreams struct {
	remote []*os.File // the command's ends: stdin, stdout, stderr; none with a terminal
	local  []*os.File // ours, to close in the end
	output sync.WaitGroup
	done   chan struct{} // closed at the end, for the resizer
}

func newExecStreams(s ExecSpec) (*execStreams, error) {
	x := &execStreams{done: make(chan struct{})}
	if s.TTY {
		return x, nil
	}
	if err := x.open(s); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *execStreams) open(s ExecSpec) error {
	if s.Stdin == nil {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		x.remote = append(x.remote, null)
	} else {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		x.remote, x.local = append(x.remote, r), append(x.local, w)
		go func() {
			_, _ = io.Copy(w, s.Stdin) // ends when the command does not read any more
			_ = w.Close()
		}()
	}
	for _, to := range []io.Writer{s.Stdout, s.Stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		x.remote, x.local = append(x.remote, w), append(x.local, r)
		x.take(r, to)
	}
	return nil
}

// take copies output until its end; a writer that fails gets no more, and the command is not blocked by that.
func (x *execStreams) take(from *os.File, to io.Writer) {
	if to == nil {
		to = io.Discard
	}
	x.output.Go(func() {
		if _, err := io.Copy(to, from); err != nil {
			_, _ = io.Copy(io.Discard, from)
		}
	})
}

// remoteFDs are blocking descriptors, as programs expect them.
func (x *execStreams) remoteFDs() []int {
	var fds []int
	for _, f := range x.remote {
		fds = append(fds, int(f.Fd()))
	}
	return fds
}

// useTerminal connects the streams to the terminal that the init opened.
func (x *execStreams) useTerminal(received *os.File, s ExecSpec) {
	terminal := pollable(received)
	x.local = append(x.local, terminal)
	if s.Stdin != nil {
		go func() { _, _ = io.Copy(terminal, s.Stdin) }()
	}
	x.take(terminal, s.Stdout)
	if s.Resize == nil {
		return
	}
	go func() {
		for {
			select {
			case <-x.done:
				return
			case size, ok := <-s.Resize:
				if !ok {
					return
				}
				_ = guest.SetWindow(terminal, size[0], size[1])
			}
		}
	}()
}

// pollable makes reads of a received descriptor end when the file is closed.
func pollable(f *os.File) *os.File {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return f
	}
	_ = f.Close()
	if err := unix.SetNonblock(fd, true); err != nil {
		return os.NewFile(uintptr(fd), "terminal")
	}
	return os.NewFile(uintptr(fd), "terminal")
}

// finish takes the last output after the command's end.
func (x *execStreams) finish() {
	all := make(chan struct{})
	go func() { x.output.Wait(); close(all) }()
	timer := time.NewTimer(execLinger)
	defer timer.Stop()
	select {
	case <-all:
	case <-timer.C:
		now := time.Now()
		for _, f := range x.local {
			_ = f.SetReadDeadline(now)
		}
		<-all
	}
}

func (x *execStreams) close() {
	close(x.done)
	guest.CloseAll(x.remote)
	guest.CloseAll(x.local)
}
