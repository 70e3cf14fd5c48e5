// Package screen draws a few lines at the bottom of a terminal and keeps them up to date, at most ten times a
// second, while lines that stay scroll by above them.
package screen

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// interval is the shortest time between two drawings.
const interval = 100 * time.Millisecond

// Screen is a live region. Its methods may be called from any goroutine.
type Screen struct {
	w     io.Writer
	width func() int

	mu      sync.Mutex
	live    []string // what the region is to show
	above   []string // lines to print that stay
	drawn   int      // lines that the region takes now
	dirty   bool
	closed  bool
	stopped chan struct{}
	done    chan struct{}
}

const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	clearDown  = "\x1b[J"
	reset      = "\x1b[0m"
)

// New begins a region on w; width says how many columns the terminal has now. The caller must Close it, or the cursor
// stays hidden.
func New(w io.Writer, width func() int) *Screen {
	s := &Screen{w: w, width: width, stopped: make(chan struct{}), done: make(chan struct{})}
	_, _ = io.WriteString(w, hideCursor)
	go s.run()
	return s
}

// Update replaces the region's lines.
func (s *Screen) Update(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.dirty = lines, true
}

// Print adds a line above the region, for ever.
func (s *Screen) Print(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.above, s.dirty = append(s.above, line), true
}

// Close draws what is left, clears the region when keep is false, and gives the cursor back. Again it does nothing.
func (s *Screen) Close(keep bool) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stopped)
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	if !keep {
		s.live = nil
	}
	s.draw()
	_, _ = io.WriteString(s.w, showCursor)
}

func (s *Screen) run() {
	defer close(s.done)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-s.stopped:
			return
		case <-tick.C:
			s.mu.Lock()
			if s.dirty {
				s.draw()
			}
			s.mu.Unlock()
		}
	}
}

// draw writes everything in one go, so that a terminal never shows half a region. The caller holds mu.
func (s *Screen) draw() {
	var b bytes.Buffer
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	b.WriteString("\r" + clearDown)
	for _, line := range s.above {
		b.WriteString(line + "\n")
	}
	width := max(s.width(), 20)
	for _, line := range s.live {
		b.WriteString(Cut(line, width-1) + "\n")
	}
	s.drawn, s.above, s.dirty = len(s.live), nil, false
	_, _ = s.w.Write(b.Bytes())
}

// Cut shortens a line to so many columns; escape sequences take none, and colours are ended.
func Cut(line string, columns int) string {
	var b strings.Builder
	for i := 0; i < len(line); {
		if line[i] == '\x1b' {
			n := escape(line[i:])
			b.WriteString(line[i : i+n])
			i += n
			continue
		}
		if columns == 0 {
			return b.String() + reset
		}
		_, n := utf8.DecodeRuneInString(line[i:])
		b.WriteString(line[i : i+n])
		i += n
		columns--
	}
	return b.String()
}

// escape is the length of the escape sequence that s begins with.
func escape(s string) int {
	end := strings.IndexFunc(s[1:], func(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' })
	if end < 0 {
		return len(s)
	}
	return end + 2
}
