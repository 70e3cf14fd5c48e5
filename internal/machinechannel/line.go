package machinechannel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// accept hands a connection to serve for each that begins on the line, and ends the one before. It returns when the line is closed, or fails
// otherwise than by having nobody at its other end.
func accept(ctx context.Context, port io.ReadWriter, serve func(net.Conn)) error {
	l := &line{port: port}
	defer l.end()
	for {
		err := l.read(serve)
		if !errors.Is(err, io.EOF) {
			return err
		}
		l.end() // nobody is there
		l.held = l.held[:0]
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(absentPause):
		}
	}
}

// line is the machine's end of a port.
type line struct {
	port io.ReadWriter
	held []byte // that may begin a mark

	mu  sync.Mutex // held while something is written
	now atomic.Pointer[stream]
}

// read passes on what comes until there is nobody.
func (l *line) read(serve func(net.Conn)) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := l.port.Read(buf)
		l.held = append(l.held, buf[:n]...)
		l.sort(serve)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
	}
}

// sort finds marks in what has come, and gives the rest to the stream.
func (l *line) sort(serve func(net.Conn)) {
	for {
		at := bytes.Index(l.held, mark[:])
		if at < 0 {
			keep := partial(l.held)
			l.give(l.held[:len(l.held)-keep])
			l.held = append(l.held[:0], l.held[len(l.held)-keep:]...)
			return
		}
		l.give(l.held[:at])
		l.held = append(l.held[:0], l.held[at:]...)
		if len(l.held) < 2*markSize {
			return
		}
		l.begin(l.held[:2*markSize], serve)
		l.held = append(l.held[:0], l.held[2*markSize:]...)
	}
}

// partial is how many bytes at the end of b may be the beginning of a mark.
func partial(b []byte) int {
	for n := min(len(b), markSize-1); n > 0; n-- {
		if bytes.HasPrefix(mark[:], b[len(b)-n:]) {
			return n
		}
	}
	return 0
}

func (l *line) give(b []byte) {
	if s := l.now.Load(); s != nil && len(b) > 0 {
		_, _ = s.in.Write(b) // one that has ended takes no more
	}
}

// begin answers a mark.
func (l *line) begin(head []byte, serve func(net.Conn)) {
	l.end()
	out, in := io.Pipe()
	s := &stream{line: l, in: in, out: out}
	l.mu.Lock()
	_, err := l.port.Write(head)
	if err == nil {
		l.now.Store(s)
	}
	l.mu.Unlock()
	if err == nil {
		go serve(s)
	}
}

// end is for the stream under way.
func (l *line) end() {
	if s := l.now.Swap(nil); s != nil {
		_ = s.in.Close()
		_ = s.out.Close()
	}
}

// stream is one connection on a line.
type stream struct {
	line *line
	in   *io.PipeWriter
	out  *io.PipeReader
}

func (s *stream) Read(b []byte) (int, error) { return s.out.Read(b) }

func (s *stream) Write(b []byte) (int, error) {
	s.line.mu.Lock()
	defer s.line.mu.Unlock()
	if s.line.now.Load() != s {
		return 0, io.ErrClosedPipe
	}
	return s.line.port.Write(b)
}

func (s *stream) Close() error {
	s.line.now.CompareAndSwap(s, nil)
	return s.out.Close()
}

// The rest of net.Conn says nothing: a line has no address, and nobody sets a deadline.

func (s *stream) LocalAddr() net.Addr              { return serial{} }
func (s *stream) RemoteAddr() net.Addr             { return serial{} }
func (s *stream) SetDeadline(time.Time) error      { return nil }
func (s *stream) SetReadDeadline(time.Time) error  { return nil }
func (s *stream) SetWriteDeadline(time.Time) error { return nil }

type serial struct{}

func (serial) Network() string { return "serial" }
func (serial) String() string  { return ControlPort }
