package guest

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultLogBytes = 8 << 20
	defaultLogKeep  = 2
	// MaxLine cuts longer lines into several, so that a program without line ends does not fill the memory.
	MaxLine = 16 << 10
)

// logWriter appends lines of both streams to the file "log" of a folder and turns it over when it is full.
type logWriter struct {
	mu    sync.Mutex
	dir   int
	file  *os.File
	size  int64
	limit int64
	keep  int
	pumps sync.WaitGroup
}

func newLogWriter(dir int, limit int64, keep int) (*logWriter, error) {
	l := &logWriter{dir: dir, limit: limit, keep: keep}
	if limit <= 0 {
		l.limit = defaultLogBytes
	}
	if keep <= 0 {
		l.keep = defaultLogKeep
	}
	return l, l.open()
}

func (l *logWriter) open() error {
	fd, err := unix.Openat(l.dir, "log", unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	l.file = os.NewFile(uintptr(fd), "log")
	fi, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	l.size = fi.Size()
	return nil
}

// pump copies a stream, line by line, until all who could write to it are gone.
func (l *logWriter) pump(r *os.File, stream string) {
	l.pumps.Go(func() {
		defer r.Close()
		var rest []byte
		buf := make([]byte, 32<<10)
		for {
			n, err := r.Read(buf)
			rest = l.lines(append(rest, buf[:n]...), stream, err != nil)
			if err != nil {
				return
			}
		}
	})
}

// lines writes the whole lines of data in one go and returns the rest; at the end the rest is a line too.
func (l *logWriter) lines(data []byte, stream string, end bool) (rest []byte) {
	var out []byte
	now := time.Now().UTC()
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		next := i + 1
		switch {
		case i > MaxLine || i < 0 && len(data) >= MaxLine:
			i, next = MaxLine, MaxLine
		case i < 0 && end:
			i, next = len(data), len(data)
		case i < 0:
			l.append(out)
			return append([]byte(nil), data...)
		}
		out = now.AppendFormat(out, time.RFC3339Nano)
		out = append(out, ' ')
		out = append(out, stream...)
		out = append(out, ' ')
		out = append(out, bytes.TrimSuffix(data[:i], []byte("\r"))...)
		out = append(out, '\n')
		data = data[next:]
	}
	l.append(out)
	return nil
}

// append writes and turns the file over when it has grown too big. A full disk loses lines, never the node.
func (l *logWriter) append(out []byte) {
	if len(out) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(out)) > l.limit {
		l.rotate()
	}
	n, err := l.file.Write(out)
	l.size += int64(n)
	if err != nil {
		fmt.Fprintln(os.Stderr, "write log:", err)
	}
}

// rotate renames log to log.1, log.1 to log.2 and so on; the oldest goes.
func (l *logWriter) rotate() {
	name := func(i int) string {
		if i == 0 {
			return "log"
		}
		return fmt.Sprintf("log.%d", i)
	}
	for i := l.keep; i > 0; i-- {
		_ = unix.Renameat(l.dir, name(i-1), l.dir, name(i))
	}
	old := l.file
	if err := l.open(); err != nil {
		l.file = old // go on in the renamed file rather than lose lines
		l.size = 0
		return
	}
	_ = old.Close()
}

// drain waits for the pumps to take what is left in the pipes.
func (l *logWriter) drain(limit time.Duration) {
	done := make(chan struct{})
	go func() { l.pumps.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
	}
}
