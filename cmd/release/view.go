package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/screen"
)

// newView is how progress is shown here: a live view on a terminal, JSON lines, one line a change, or not at all.
func (o *output) newView() view {
	switch {
	case o.json:
		return jsonView{o}
	case o.quiet:
		return quietView{}
	case o.live():
		return &liveView{out: o, screen: o.screen(), from: time.Now()}
	}
	return lineView{o}
}

type quietView struct{}

func (quietView) event(api.Event)   {}
func (quietView) status(api.Status) {}
func (quietView) wantsStatus() bool { return false }
func (quietView) close()            {}

// jsonView writes events as they are.
type jsonView struct{ out *output }

func (v jsonView) event(e api.Event) { _ = v.out.event(e) }
func (jsonView) status(api.Status)   {}
func (jsonView) wantsStatus() bool   { return false }
func (jsonView) close()              {}

// lineView writes a line an event.
type lineView struct{ out *output }

func (v lineView) event(e api.Event) { fmt.Fprintln(v.out.stderr, v.out.eventLine(e)) }
func (lineView) status(api.Status)   {}
func (lineView) wantsStatus() bool   { return false }
func (lineView) close()              {}

// eventLine is an event for people.
func (o *output) eventLine(e api.Event) string {
	return o.dim(e.At.Local().Format("15:04:05.000")) + "  " + e.Message
}

// liveView redraws route, fleets and nodes below the events.
type liveView struct {
	out    *output
	screen *screen.Screen
	from   time.Time
	mu     sync.Mutex
}

func (v *liveView) event(e api.Event) {
	if strings.HasSuffix(e.Type, ".progress") {
		return // it moves in the line of the operation
	}
	v.screen.Print(v.out.eventLine(e))
}

func (*liveView) wantsStatus() bool { return true }
func (v *liveView) close()          { v.screen.Close(false) }

func (v *liveView) status(s api.Status) {
	v.mu.Lock()
	defer v.mu.Unlock()
	lines := []string{""}
	for _, r := range s.Routes {
		lines = append(lines, v.out.routeLines(r)...)
	}
	for _, fl := range s.Fleets {
		lines = append(lines, v.out.fleetLine(fl, len(rolesOf(s)) > 1, time.Now()))
	}
	if op := s.Operation; op != nil {
		line := fmt.Sprintf("%s %s %s", v.out.bold(op.Kind), op.Release, op.Phase)
		if op.Waits != "" {
			line += ", waits for " + op.Waits
		}
		if op.HoldLeft > 0 {
			line += fmt.Sprintf(" (%s left)", span(seconds(op.HoldLeft)))
		}
		lines = append(lines, line+v.out.dim("  "+span(time.Since(v.from))))
	}
	v.screen.Update(lines)
}
