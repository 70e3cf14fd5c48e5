package haproxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bootandshoot/release/router"
)

// A table may ask for the end of the long connections of a node that left. HAProxy cannot end them in order (a WebSocket's
// close, a GOAWAY), but it can end one stream at a time, so that not all clients come back at once.

// closing is how far that has come for one node.
type closing struct {
	from, last time.Time
	owed       float64 // part of a stream that is due already
}

// stream is one line of "show sess".
type stream struct{ id, backend, server string }

// parseStreams reads lines such as "0x55…: proto=tcpv4 src=… fe=… be=NAME srv=NAME ts=00 …".
func parseStreams(text string) []stream {
	var out []stream
	for line := range strings.Lines(text) {
		id, rest, ok := strings.Cut(line, ": ")
		if !ok || !strings.HasPrefix(id, "0x") {
			continue
		}
		s := stream{id: id}
		for _, f := range strings.Fields(rest) {
			name, value, _ := strings.Cut(f, "=")
			switch name {
			case "be":
				s.backend = value
			case "srv":
				s.server = value
			}
		}
		if strings.HasPrefix(s.backend, prefix) {
			out = append(out, s)
		}
	}
	return out
}

// due is how many of so many streams are to be ended now, so that they are spread over the time that is left.
func (c *closing) due(streams int, within time.Duration, now time.Time) int {
	if c.from.IsZero() {
		c.from, c.last = now, now
	}
	step, left := now.Sub(c.last), within-c.last.Sub(c.from)
	c.last = now
	if now.Sub(c.from) >= within {
		return streams
	}
	c.owed += float64(streams) * float64(step) / float64(left)
	n := min(int(c.owed), streams)
	c.owed -= float64(n)
	return n
}

// close ends what the table asks to end, as far as it is due, in all workers.
func (e *edge) close(ctx context.Context, p processes, t router.Table, now time.Time) error {
	asked := map[[2]string]bool{}
	for _, c := range t.Closing {
		asked[[2]string{c.Fleet, c.Node}] = true
	}
	for key := range e.closings {
		if !asked[key] {
			delete(e.closings, key)
		}
	}
	if len(t.Closing) == 0 {
		return nil
	}
	found, err := e.streams(ctx, p)
	if err != nil {
		return err
	}
	for _, c := range t.Closing {
		key := [2]string{c.Fleet, c.Node}
		state := e.closings[key]
		list := found[key]
		n := state.due(len(list), c.Within, now)
		e.closings[key] = state
		ended, err := e.end(ctx, list[:n])
		e.mu.Lock()
		e.sums.cut[key] += uint64(ended)
		e.mu.Unlock()
		if err != nil {
			return fmt.Errorf("end long connections: %w", err)
		}
	}
	return nil
}

// nodeStream is a stream with the pid of the worker that has it.
type nodeStream struct {
	stream
	pid int
}

// end ends streams, and says how many did not end by themselves.
func (e *edge) end(ctx context.Context, streams []nodeStream) (ended int, err error) {
	commands := map[int][]string{}
	for _, s := range streams {
		commands[s.pid] = append(commands[s.pid], "shutdown session "+s.id)
	}
	for pid, list := range commands {
		n := len(list)
		err := worker{e.console, pid}.tell(ctx, list, func(said string) bool {
			gone := strings.Contains(said, "No such session")
			if gone {
				n--
			}
			return gone
		})
		if errors.Is(err, errGone) {
			continue // with all its streams
		}
		if err != nil {
			return ended, err
		}
		ended += n
	}
	return ended, nil
}

// streams are those of all workers, by fleet and node.
func (e *edge) streams(ctx context.Context, p processes) (map[[2]string][]nodeStream, error) {
	found := map[[2]string][]nodeStream{}
	for _, pid := range p.workers() {
		out, err := worker{e.console, pid}.dump(ctx, "show sess")
		if skippable(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for long connections: %w", err)
		}
		tenants := e.remembered(pid).notes.tenants
		for _, s := range parseStreams(out) {
			if t, ok := tenants[s.backend+"/"+s.server]; ok {
				key := [2]string{t.Fleet, t.Node}
				found[key] = append(found[key], nodeStream{s, pid})
			}
		}
	}
	return found, nil
}
