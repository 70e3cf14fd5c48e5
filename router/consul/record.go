package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// edgeRecord is what an edge says of itself.
type edgeRecord struct {
	Schema  int       `json:"schema"`
	At      time.Time `json:"at"`      // when it was written, by the edge's clock
	Program string    `json:"program"` // version of the edge's program
	// Every is how often it writes at least, in nanoseconds; 0: it does not say.
	Every time.Duration `json:"every,omitempty"`
	Edge  router.Edge   `json:"edge"` // a reading of its counters, and the table it serves
	// Trial is the newest trial that it answered, and why it could not serve that table.
	Trial      string    `json:"trial,omitempty"`
	TrialFault []problem `json:"trial_fault,omitempty"`
	// Refused is a version of the record that it does not apply, and why.
	Refused      *router.Version `json:"refused,omitempty"`
	RefusedFault []problem       `json:"refused_fault,omitempty"`
}

// problem is an error on its way through Consul.
type problem struct {
	Code    fault.Code `json:"code"`
	Message string     `json:"message"`
	Hint    string     `json:"hint,omitempty"`
	Stale   bool       `json:"stale,omitempty"` // it is router.ErrStale
}

func problemsOf(err error) []problem {
	var out []problem
	for _, f := range fault.All(err) {
		out = append(out, problem{Code: f.Code, Message: f.Message, Hint: f.Hint, Stale: errors.Is(err, router.ErrStale)})
	}
	return out
}

// faults are the problems that an edge had.
func faults(edge router.Edge, list []problem) fault.List {
	var out fault.List
	for _, p := range list {
		f := &fault.Error{Code: p.Code, Message: fmt.Sprintf("edge %s: %s", edge.ID, p.Message), Hint: p.Hint}
		if p.Stale {
			f.Cause = router.ErrStale
		}
		out = append(out, f)
	}
	return out
}

// trial is a question to the edges.
type trial struct {
	ID    string       `json:"id"`
	Table router.Table `json:"table"`
}

// registered is an edge's record as it is in Consul.
type registered struct {
	edgeRecord
	live  bool // its session lasts, and it writes
	pair  *api.KVPair
	wrong error // the record does not read
}

// registered are the edges of a reading of all records.
func (s *space) registered(pairs api.KVPairs) []registered {
	var out []registered
	s.pulses.take(pairs, time.Now())
	for _, pair := range pairs {
		r := registered{pair: pair}
		id := strings.TrimPrefix(pair.Key, s.edgeKey(""))
		if err := decode(pair.Value, &r.edgeRecord); err != nil {
			r.wrong = fmt.Errorf("read %s in Consul: %w", pair.Key, err)
		}
		r.live = pair.Session != "" && !s.pulses.stopped(pair.Key, r.Every)
		r.Edge.ID = cmp.Or(r.Edge.ID, id)
		if !r.live {
			r.Edge.Silent = r.At
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b registered) int { return strings.Compare(a.Edge.ID, b.Edge.ID) })
	return out
}

// edges reads all records.
func (s *space) edges(ctx context.Context) ([]registered, error) {
	var pairs api.KVPairs
	err := s.try(ctx, func(ctx context.Context) (err error) {
		pairs, _, err = s.client.KV().List(s.edgeKey(""), consistent(ctx))
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.registered(pairs), nil
}
