package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// streams are where services read and write: nothing and our own output, with the service's name before each line if
// that is asked for.
type streams struct {
	null   *os.File
	prefix bool
	lines  sync.Mutex // one line at a time
	pumps  sync.WaitGroup
}

// openStreams prepares the streams; others says that services run as other users than this program.
func openStreams(prefix, others bool) (*streams, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	if others && !prefix {
		openUp(1)
		openUp(2)
	}
	return &streams{null: null, prefix: prefix}, nil
}

// openUp lets every user open /dev/stdout anew, which asks for the permissions of the pipe itself. Where that does not
// work, writing to what is open still does.
func openUp(fd int) {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
		_ = unix.Fchmod(fd, 0o666)
	}
}

// of gives the descriptors of a service; done is called once it has them.
func (s *streams) of(name string) (files []uintptr, done func(), err error) {
	if !s.prefix {
		return []uintptr{s.null.Fd(), 1, 2}, func() {}, nil
	}
	files = []uintptr{s.null.Fd()}
	var ends []*os.File
	done = func() {
		for _, f := range ends {
			_ = f.Close()
		}
	}
	for _, to := range []*os.File{os.Stdout, os.Stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			done()
			return nil, nil, fmt.Errorf("make pipe: %w", err)
		}
		openUp(int(w.Fd()))
		ends, files = append(ends, w), append(files, w.Fd())
		s.pump(name, r, to)
	}
	return files, done, nil
}

// longest is where a line is cut.
const longest = 16 << 10

func (s *streams) pump(name string, from *os.File, to io.Writer) {
	s.pumps.Go(func() {
		defer from.Close()
		in := bufio.NewReaderSize(from, longest)
		for {
			line, err := in.ReadSlice('\n')
			if len(line) > 0 {
				s.write(to, name, line)
			}
			if err != nil && err != bufio.ErrBufferFull {
				return
			}
		}
	})
}

func (s *streams) write(to io.Writer, name string, line []byte) {
	text := append([]byte(name+" | "), line...)
	if line[len(line)-1] != '\n' {
		text = append(text, '\n')
	}
	s.lines.Lock()
	defer s.lines.Unlock()
	_, _ = to.Write(text)
}

// drain takes what is left in the pipes.
func (s *streams) drain() {
	all := make(chan struct{})
	go func() { s.pumps.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(time.Second):
	}
}
