package machinechannel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
)

// cannotStart is the exit code of a command that cannot be run, as shells have it.
const cannotStart = 127

// Ends of a copy.
const (
	copyFailed = 1
	copyAbsent = 2
)

// session runs one command, or sends files (RFC 4254 section 6).
type session struct {
	channel ssh.Channel
	machine Machine
	env     []string

	mu       sync.Mutex
	tty      bool
	size     pty.Winsize
	terminal *os.File // of the command that runs
}

// The payloads of the requests, as RFC 4254 has them.
type (
	envPayload struct{ Name, Value string }
	ptyPayload struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	sizePayload struct{ Columns, Rows, Width, Height uint32 }
	execPayload struct{ Command string }
	exitPayload struct{ Code uint32 }
)

// serve answers requests until the caller has left; then its command ends.
func (s *session) serve(ctx context.Context, asked <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for r := range asked {
		ok, begin := s.request(ctx, r)
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
		if begin != nil {
			go begin()
		}
	}
}

// request takes a request; begin is what it asks for, once it is answered: what is over at once closes the channel before.
func (s *session) request(ctx context.Context, r *ssh.Request) (ok bool, begin func()) {
	switch r.Type {
	case "env":
		p, ok := parse[envPayload](r.Payload)
		s.env = append(s.env, p.Name+"="+p.Value)
		return ok, nil
	case "pty-req":
		p, ok := parse[ptyPayload](r.Payload)
		s.tty = true
		s.env = append(s.env, "TERM="+p.Term)
		s.resize(p.Columns, p.Rows)
		return ok, nil
	case resizeRequest:
		p, ok := parse[sizePayload](r.Payload)
		s.resize(p.Columns, p.Rows)
		return ok, nil
	case "exec":
		p, ok := parse[execPayload](r.Payload)
		args, isList := commandLine(p.Command)
		if !ok || !isList {
			return false, nil
		}
		return true, func() { s.run(ctx, args) }
	case copyRequest:
		return true, func() { s.copyOut(string(r.Payload)) }
	}
	return false, nil
}

// copyOut sends files. They end where the caller leaves: then nothing more can be written.
func (s *session) copyOut(path string) {
	defer s.channel.Close()
	code := uint32(0)
	if err := s.machine.CopyOut(path, s.channel); err != nil {
		if code = copyFailed; errors.Is(err, fs.ErrNotExist) {
			code = copyAbsent
		}
		_, _ = io.WriteString(s.channel.Stderr(), err.Error())
	}
	s.exit(code)
}

func (s *session) exit(code uint32) {
	_, _ = s.channel.SendRequest("exit-status", false, ssh.Marshal(exitPayload{code}))
}

func (s *session) resize(columns, rows uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size = pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}
	if s.terminal != nil {
		_ = pty.Setsize(s.terminal, &s.size)
	}
}

// run runs the command and tells its end.
func (s *session) run(ctx context.Context, args []string) {
	defer s.channel.Close()
	code := uint32(cannotStart)
	process, done, err := s.start(args)
	if err != nil {
		_, _ = fmt.Fprintf(s.channel.Stderr(), "%v\n", err)
	} else {
		stop := context.AfterFunc(ctx, process.Kill)
		code = uint32(process.Wait().Code)
		stop()
		done()
	}
	s.exit(code)
}

// start runs the command with its streams; done is for when it has ended.
func (s *session) start(args []string) (p Process, done func(), err error) {
	if s.tty {
		return s.startTerminal(args)
	}
	return s.startPipes(args)
}

func (s *session) startTerminal(args []string) (p Process, done func(), err error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	s.terminal = master
	_ = pty.Setsize(master, &s.size)
	s.mu.Unlock()
	p, err = s.machine.Start(args, s.env, [3]*os.File{slave, slave, slave}, true)
	_ = slave.Close()
	if err != nil {
		_ = master.Close()
		return nil, nil, err
	}
	go func() { _, _ = io.Copy(master, s.channel) }()
	var said output
	said.take(s.channel, master)
	return p, func() {
		said.await()
		s.mu.Lock()
		s.terminal = nil
		s.mu.Unlock()
		_ = master.Close()
	}, nil
}

func (s *session) startPipes(args []string) (p Process, done func(), err error) {
	var theirs [3]*os.File
	var ours []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			if f != nil {
				_ = f.Close()
			}
		}
	}
	for i := range theirs {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(append(ours, theirs[:]...))
			return nil, nil, err
		}
		if i == 0 {
			r, w = w, r
		}
		theirs[i], ours = w, append(ours, r)
	}
	p, err = s.machine.Start(args, s.env, theirs, false)
	closeAll(theirs[:])
	if err != nil {
		closeAll(ours)
		return nil, nil, err
	}
	go func() { // not waited for: the caller may never end it
		_, _ = io.Copy(ours[0], s.channel)
		_ = ours[0].Close()
	}()
	var said output
	said.take(s.channel, ours[1])
	said.take(s.channel.Stderr(), ours[2])
	return p, func() { said.await(); closeAll(ours) }, nil
}

// output is what a command says, on its way to the caller.
type output struct {
	copies sync.WaitGroup
	moved  atomic.Int64 // reads so far
	busy   atomic.Int64 // copies that have read something and not passed it on: the caller is slow
}

func (o *output) take(to io.Writer, from io.Reader) {
	o.copies.Go(func() { _, _ = io.Copy(to, &watched{Reader: from, output: o}) })
}

// watched tells an output of its reads.
type watched struct {
	io.Reader
	*output
	held bool
}

func (w *watched) Read(b []byte) (int, error) {
	if w.held { // whoever reads again has passed on what it had
		w.busy.Add(-1)
	}
	n, err := w.Reader.Read(b)
	w.held = n > 0
	if w.held {
		w.busy.Add(1)
	}
	w.moved.Add(1)
	return n, err
}

// await waits for the rest after the command has ended: until the streams end, or nothing more comes though all that came has been passed on,
// since its descendants may keep the streams open.
func (o *output) await() {
	all := make(chan struct{})
	go func() { o.copies.Wait(); close(all) }()
	for before := int64(-1); ; {
		select {
		case <-all:
			return
		case <-time.After(linger):
		}
		now := o.moved.Load()
		if now == before && o.busy.Load() == 0 {
			return
		}
		before = now
	}
}
