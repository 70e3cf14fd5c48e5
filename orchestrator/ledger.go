package orchestrator

import (
	"fmt"
	"maps"
	"strings"

	"github.com/bootandshoot/release/internal/human"
)

// Ledger is what something cost the users, counted at the router. The first numbers are those of the app's routes, from
// their users' side; Fleets are tries at nodes, so that one request that was repeated stands there twice.
type Ledger struct {
	Requests uint64                 `json:"requests"`           // from users, each once however often it was tried
	Failed   uint64                 `json:"failed"`             // answered 502, 503 or 504 by the router itself, or cut in the middle
	Retried  uint64                 `json:"retried"`            // repeated on another node
	Cut      uint64                 `json:"cut"`                // long connections that the router ended
	Rejected uint64                 `json:"rejected,omitempty"` // refused as malformed or over a limit
	NoNode   uint64                 `json:"no_node,omitempty"`  // found no node at all; they are among the failed
	Fleets   map[string]FleetLedger `json:"fleets,omitempty"`   // by fleet id
}

// FleetLedger is one fleet's part.
type FleetLedger struct {
	Requests uint64 `json:"requests"`             // sent to its nodes
	Status5x uint64 `json:"status_5xx,omitempty"` // answers of its nodes
	Connect  uint64 `json:"connect,omitempty"`    // no connection could be made
	Reset    uint64 `json:"reset,omitempty"`      // the connection broke before or within the answer
	Timeout  uint64 `json:"timeout,omitempty"`
	Cut      uint64 `json:"cut,omitempty"`
}

// minus is a counter's growth. One that fell began anew.
func minus(a, b uint64) uint64 {
	if a < b {
		return a
	}
	return a - b
}

// since is what was counted after the earlier ledger.
func (l Ledger) since(from Ledger) Ledger {
	d := Ledger{
		Requests: minus(l.Requests, from.Requests), Failed: minus(l.Failed, from.Failed), Retried: minus(l.Retried, from.Retried),
		Cut: minus(l.Cut, from.Cut), Rejected: minus(l.Rejected, from.Rejected), NoNode: minus(l.NoNode, from.NoNode),
	}
	for id, fl := range l.Fleets {
		d = d.withFleet(id, fl.since(from.Fleets[id]))
	}
	return d
}

// plus is the sum; neither summand is changed.
func (l Ledger) plus(m Ledger) Ledger {
	s := Ledger{
		Requests: l.Requests + m.Requests, Failed: l.Failed + m.Failed, Retried: l.Retried + m.Retried, Cut: l.Cut + m.Cut,
		Rejected: l.Rejected + m.Rejected, NoNode: l.NoNode + m.NoNode, Fleets: maps.Clone(l.Fleets),
	}
	for id, fl := range m.Fleets {
		s = s.withFleet(id, s.Fleets[id].plus(fl))
	}
	return s
}

// withFleet sets a fleet's part of a ledger that nobody else has. A part of nothing is left out.
func (l Ledger) withFleet(id string, fl FleetLedger) Ledger {
	if fl == (FleetLedger{}) {
		return l
	}
	if l.Fleets == nil {
		l.Fleets = map[string]FleetLedger{}
	}
	l.Fleets[id] = fl
	return l
}

func (l FleetLedger) since(from FleetLedger) FleetLedger {
	return FleetLedger{
		Requests: minus(l.Requests, from.Requests), Status5x: minus(l.Status5x, from.Status5x), Connect: minus(l.Connect, from.Connect),
		Reset: minus(l.Reset, from.Reset), Timeout: minus(l.Timeout, from.Timeout), Cut: minus(l.Cut, from.Cut),
	}
}

func (l FleetLedger) plus(m FleetLedger) FleetLedger {
	return FleetLedger{
		Requests: l.Requests + m.Requests, Status5x: l.Status5x + m.Status5x, Connect: l.Connect + m.Connect,
		Reset: l.Reset + m.Reset, Timeout: l.Timeout + m.Timeout, Cut: l.Cut + m.Cut,
	}
}

// String is the ledger in one line for people. What nodes answered with 5xx reached the users: it stands with what failed on the way.
func (l Ledger) String() string {
	var sum FleetLedger
	for _, fl := range l.Fleets {
		sum = sum.plus(fl)
	}
	text := fmt.Sprintf("%s, %d failed", human.Count(l.Requests, "request"), l.Failed)
	if sum.Status5x > 0 {
		text += fmt.Sprintf(", %d answered 5xx by nodes", sum.Status5x)
	}
	text += fmt.Sprintf(", %d retried, %d cut", l.Retried, l.Cut)
	var causes []string
	for _, c := range []struct {
		n    uint64
		what string
	}{
		{sum.Connect, "connect"}, {sum.Reset, "reset"}, {sum.Timeout, "timeout"}, {l.NoNode, "no node"},
		{l.Rejected, "rejected"},
	} {
		if c.n > 0 {
			causes = append(causes, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if len(causes) > 0 {
		text += " (" + strings.Join(causes, ", ") + ")"
	}
	return text
}
