package hook

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	// maxLine is how much of one line is kept, in bytes.
	maxLine = 2000
	// drainWithin is how long output is waited for that a process beyond our reach still holds open.
	drainWithin = time.Second
)

// output takes what a command prints, both streams in the order in which they come.
type output struct {
	r, w *os.File
	done chan struct{}
}

func newOutput(mask func(string) string, line func(string)) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("take the command's output: %w", err)
	}
	o := &output{r: r, w: w, done: make(chan struct{})}
	if mask == nil {
		mask = func(s string) string { return s }
	}
	go func() {
		defer close(o.done)
		readLines(r, func(text string) { line(clean(mask(text))) })
	}()
	return o, nil
}

// finish waits for the last of the output, after the command has ended.
func (o *output) finish() {
	_ = o.w.Close()
	_ = o.r.SetReadDeadline(time.Now().Add(drainWithin))
	<-o.done
}

func (o *output) close() {
	_ = o.w.Close()
	_ = o.r.Close()
	<-o.done
}

// readLines gives each line to see, without its end. Of a line without end there is what fits a buffer; the rest is another line.
func readLines(r io.Reader, see func(string)) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			see(strings.TrimRight(string(line), "\r\n"))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// clean cuts a line and takes out what would not be text, such as colours.
func clean(text string) string {
	if len(text) > maxLine {
		text = text[:maxLine] + "…"
	}
	text = strings.ToValidUTF8(text, "")
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\t' || c == 0x7f {
			return -1
		}
		return c
	}, text)
}
