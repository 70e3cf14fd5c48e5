package haproxy

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// Status is what a HAProxy is and does.
type Status struct {
	Edge     string          `json:"edge"`
	Socket   string          `json:"socket"`
	Config   string          `json:"config"`            // the file that it has to read
	Version  string          `json:"version,omitempty"` // of HAProxy
	PID      int             `json:"pid,omitempty"`     // of the master
	Worker   int             `json:"worker,omitempty"`  // its pid: another one after a reload
	Table    *router.Version `json:"table,omitempty"`
	Listen   []string        `json:"listen,omitempty"`    // for the table
	Finish   int             `json:"finishing,omitempty"` // workers that finish what they have after a reload
	Problem  string          `json:"problem,omitempty"`   // why it does not obey
	Hint     string          `json:"hint,omitempty"`      // and what to do
	InFlight int             `json:"in_flight"`
}

// Status looks at every edge and changes nothing.
func (b *Backend) Status(ctx context.Context) []Status {
	out := make([]Status, len(b.edges))
	var wg sync.WaitGroup
	for i, e := range b.edges {
		wg.Go(func() { out[i] = e.status(ctx) })
	}
	wg.Wait()
	return out
}

func (e *edge) status(ctx context.Context) Status {
	s := Status{Edge: e.Name, Socket: e.Socket, Config: e.ConfigFile()}
	if err := e.fill(ctx, &s); err != nil {
		f := fault.All(err)[0]
		s.Problem, s.Hint = f.Message, f.Hint
	}
	return s
}

func (e *edge) fill(ctx context.Context, s *Status) error {
	p, err := e.settled(ctx)
	if err != nil {
		return err
	}
	s.Version, s.PID, s.Worker, s.Finish = p.version, p.master, p.current, len(p.old)
	level, err := e.console.ask(ctx, "show cli level")
	if err != nil {
		return err
	}
	if level = strings.TrimSpace(level); level != "admin" {
		return fault.New(fault.Denied, "use haproxy at %s as router: its socket has level %s", e.Socket, level).
			WithHint("start it with level admin, which is the master socket's default: haproxy -S %s,level,admin", e.Socket)
	}
	_, l, err := e.current(ctx)
	if err != nil {
		return err
	}
	if l.notes.digest != "" {
		s.Table, s.Listen = &l.notes.version, l.addresses()
	}
	for _, servers := range l.servers {
		for _, srv := range servers {
			s.InFlight += srv.current + srv.queued
		}
	}
	slices.Sort(s.Listen)
	return nil
}
