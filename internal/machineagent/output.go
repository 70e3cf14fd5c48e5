package main

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"
)

// longestLine is how much of a line is kept together.
const longestLine = 64 << 10

// output takes what the services say to the console, and to whoever runs the machine, as lines with time and stream.
type output struct {
	console io.Writer
	log     io.Writer // nil: nobody takes lines

	mu     sync.Mutex
	last   string // of the error output, without what ends it
	copies sync.WaitGroup
	now    func() time.Time
}

// pipe gives the end that a program writes to. It is closed by the caller when the program has it.
func (o *output) pipe(stream string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.copies.Go(func() {
		defer r.Close()
		o.copy(stream, r)
	})
	return w, nil
}

// copy passes lines on until the end.
func (o *output) copy(stream string, r io.Reader) {
	var held []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		held = append(held, buf[:n]...)
		for {
			at := bytes.IndexByte(held, '\n')
			if at < 0 && len(held) < longestLine && (err == nil || len(held) == 0) {
				break
			}
			line, rest := held, []byte(nil)
			if at >= 0 {
				line, rest = held[:at], held[at+1:]
			}
			o.line(stream, line)
			held = append(held[:0], rest...)
		}
		if err != nil {
			return
		}
	}
}

func (o *output) line(stream string, text []byte) { o.at(o.now(), stream, text) }

func (o *output) at(when time.Time, stream string, text []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if stream == "err" {
		o.last = string(text)
	}
	if o.log != nil {
		line := when.UTC().AppendFormat(nil, time.RFC3339Nano)
		line = append(append(append(line, ' '), stream...), ' ')
		_, _ = o.log.Write(append(append(line, text...), '\n')) // one write: QEMU appends it whole
	}
	_, _ = o.console.Write(append(text[:len(text):len(text)], '\n')) // last: it is slow
}

// outputPatience is how long is waited for the rest when the services have ended; what they left running may hold it open.
const outputPatience = 5 * time.Second

// finish waits for the rest, and gives the last line of the error output.
func (o *output) finish() string {
	all := make(chan struct{})
	go func() { o.copies.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(outputPatience):
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}
