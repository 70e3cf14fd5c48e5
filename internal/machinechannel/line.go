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

	"github.com/bootandshoot/release/internal/pause"
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
		l.head, l.tail = l.head[:0], l.tail[:0]
		if err := pause.For(ctx, absentPause); err != nil {
			return err
		}
	}
}

// line is the machine's end of a port.
type line struct {
	port io.ReadWriter
	tail []byte // the last bytes that came, less than a mark: one may begin with them
	head []byte // a mark and what has come of its random bytes; empty: none is under way

	mu  sync.Mutex // held while something is written
	now atomic.Pointer[stream]
}

// read passes on what comes until there is nobody.
func (l *line) read(serve func(net.Conn)) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := l.port.Read(buf)
		l.sort(buf[:n], serve)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
	}
}

// sort finds marks in what has come, and gives the rest to the stream. Nothing is held back that may turn out not to be a mark: who waits for
// an answer sends no more. So the stream before a mark may get the beginning of that as well, and then it ends.
func (l *line) sort(b []byte, serve func(net.Conn)) {
	for len(b) > 0 {
		if len(l.head) > 0 {
			n := min(len(b), 2*markSize-len(l.head))
			l.head = append(l.head, b[:n]...)
			if b = b[n:]; len(l.head) == 2*markSize {
				l.begin(l.head, serve)
				l.head = l.head[:0]
			}
			continue
		}
		window := append(l.tail, b...)
		at := bytes.Index(window, mark[:])
		if at < 0 {
			l.give(b)
			l.tail = append(l.tail[:0], window[max(0, len(window)-markSize+1):]...)
			return
		}
		l.give(b[:max(0, at-len(l.tail))])
		b = b[at+markSize-len(l.tail):]
		l.head, l.tail = append(l.head, mark[:]...), l.tail[:0]
	}
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
