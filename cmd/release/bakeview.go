package main

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/screen"
)

// bakeView shows the steps of a bake.
type bakeView interface {
	event(e builder.Event)
	close()
}

func (o *output) newBakeView() bakeView {
	switch {
	case o.json:
		return bakeJSON{o}
	case o.live():
		v := &bakeLive{out: o, screen: o.screen(), done: make(chan struct{})}
		go v.tick()
		return v
	}
	return bakeLines{o}
}

// bakeJSON writes events as lines.
type bakeJSON struct{ out *output }

// bakeEvent is a piece of a bake's progress with --json.
type bakeEvent struct {
	Type string    `json:"type"` // "bake.started", "bake.done" …
	At   time.Time `json:"at"`
	builder.Event
}

func (v bakeJSON) event(e builder.Event) {
	if e.Kind == builder.Bytes || e.Kind == builder.Output && !v.out.verbose {
		return
	}
	_ = v.out.event(bakeEvent{Type: "bake." + string(e.Kind), At: time.Now(), Event: e})
}
func (bakeJSON) close() {}

// bakeLines writes a line a step; with -v also what the steps' commands print.
type bakeLines struct{ out *output }

func (v bakeLines) event(e builder.Event) {
	switch e.Kind {
	case builder.Done:
		v.out.progress("%s", v.out.stepLine(e))
	case builder.Note:
		v.out.progress("%s", harmless(e.Line))
	case builder.Output:
		if v.out.verbose {
			v.out.progress("  | %s", harmless(e.Line))
		}
	}
}
func (bakeLines) close() {}

// progress is a timestamped line on standard error.
func (o *output) progress(format string, args ...any) {
	if !o.quiet && !o.json {
		fmt.Fprintf(o.stderr, o.dim(time.Now().Format("15:04:05.000"))+"  "+format+"\n", args...)
	}
}

// stepLine is a step that is done, with its size and time.
func (o *output) stepLine(e builder.Event) string {
	how := span(seconds(e.Seconds))
	if e.Cached {
		how = "cached"
	}
	bytes := size(e.Bytes)
	if e.Test {
		bytes = "" // it makes nothing
	}
	return fmt.Sprintf("%s  %s  %9s  %s", stepCount(e), pad(e.Step, e.Step, 40), bytes, how)
}

// stepCount is the step's place among all, as wide for each of them.
func stepCount(e builder.Event) string {
	return fmt.Sprintf("%*d/%d", len(strconv.Itoa(e.Total)), e.Index, e.Total)
}

// bakeLive shows the running step with what it prints below those that are done.
type bakeLive struct {
	out    *output
	screen *screen.Screen
	done   chan struct{}

	mu      sync.Mutex
	now     builder.Event // of the running step
	started time.Time
	last    string // line it printed
}

func (v *bakeLive) event(e builder.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch e.Kind {
	case builder.Started:
		v.now, v.started, v.last = e, time.Now(), ""
	case builder.Bytes:
		v.now.Bytes, v.now.Size = e.Bytes, e.Size
	case builder.Output:
		v.last = harmless(e.Line)
		if v.out.verbose {
			v.screen.Print("      " + v.out.dim(v.last))
		}
	case builder.Note:
		v.screen.Print("  " + harmless(e.Line))
	case builder.Done:
		v.screen.Print("  " + v.out.green("✓") + " " + v.out.stepLine(e))
		v.now, v.last = builder.Event{}, ""
	}
	v.draw()
}

func (v *bakeLive) draw() {
	if v.now.Step == "" {
		v.screen.Update(nil)
		return
	}
	line := fmt.Sprintf("  %s %s  %s  %s", v.out.yellow("●"), stepCount(v.now), v.now.Step, span(time.Since(v.started)))
	if v.now.Bytes > 0 {
		line += "  " + size(v.now.Bytes)
		if v.now.Size > 0 {
			line += " of " + size(v.now.Size)
		}
	}
	lines := []string{line}
	if v.last != "" {
		lines = append(lines, "      "+v.out.dim(v.last))
	}
	v.screen.Update(lines)
}

// tick keeps the running step's time moving.
func (v *bakeLive) tick() {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			v.mu.Lock()
			v.draw()
			v.mu.Unlock()
		case <-v.done:
			return
		}
	}
}

func (v *bakeLive) close() {
	close(v.done)
	v.screen.Close(false)
}
