package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/bootandshoot/release/test/load"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// show writes the story: a line a step, and the count of requests, on a terminal always in the last line.
type show struct {
	out  io.Writer
	live bool

	mu    sync.Mutex
	step  int
	line  string // the live one
	since time.Time
}

// quietCounts is how often the count is shown where no line can be redrawn.
const quietCounts = 2 * time.Second

func (s *show) doing(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step++
	s.clear()
	fmt.Fprintf(s.out, "%s  %2d  %s\n", time.Now().Format("15:04:05.000"), s.step, what)
	s.draw()
}

func (s *show) counts(c load.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []string
	for _, release := range slices.Sorted(maps.Keys(c.ByRelease)) {
		parts = append(parts, fmt.Sprintf("%s %d", release, c.ByRelease[release]))
	}
	line := fmt.Sprintf("                  %d requests, %d failed   %s", c.Sent, c.Failed, strings.Join(parts, "   "))
	if s.live {
		s.clear()
		s.line = line
		s.draw()
		return
	}
	if time.Since(s.since) >= quietCounts {
		s.since = time.Now()
		fmt.Fprintln(s.out, line)
	}
}

func (s *show) clear() {
	if s.live {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
}

func (s *show) draw() {
	if s.live {
		fmt.Fprint(s.out, s.line)
	}
}
