package consul

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// Backend is the routing layer as agents see it. What it holds is only how long edges have said nothing: several may be used at a
// time, and any may be gone.
type Backend struct {
	*space
	trials    *turn      // one trial at a time: edges see the newest only
	projector *Projector // nil: none
}

// Projecting is the backend whose Apply also waits, for a moment at most, until Consul's catalog and config entries say what a
// new table does: what follows is that old nodes are shot. It is called before the projector runs.
func (b *Backend) Projecting(p *Projector) *Backend {
	p.pulses = b.pulses // both hold the same edges for silent
	return &Backend{space: b.space, trials: b.trials, projector: p}
}

var (
	_ router.Backend    = (*Backend)(nil)
	_ router.Prechecker = (*Backend)(nil)
)

// New returns a backend; nothing is asked yet. fault.Invalid says which setting is wrong.
func New(opts Options) (*Backend, error) {
	s, err := newSpace(opts)
	if err != nil {
		return nil, err
	}
	return &Backend{space: s, trials: newTurn()}, nil
}

// Apply implements router.Backend.
func (b *Backend) Apply(ctx context.Context, t router.Table) error {
	if err := b.apply(ctx, t); err != nil {
		return fmt.Errorf("apply table %s through Consul: %w", t.Version, err)
	}
	if b.projector != nil {
		b.projector.soonest(ctx)
	}
	return nil
}

func (b *Backend) apply(ctx context.Context, t router.Table) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.Validate(); err != nil {
		return err
	}
	t = t.Canonical()
	tried := false
	for {
		have, index, err := b.table(ctx)
		if err != nil {
			return err
		}
		if index > 0 {
			if same, err := t.Supersedes(have); err != nil {
				return err
			} else if same {
				return b.await(ctx, t.Version)
			}
		}
		if !tried && !sameSurface(have, t) {
			if err := b.tryOut(ctx, t); err != nil {
				return err
			}
			tried = true
			continue // somebody may have written meanwhile
		}
		written, err := b.putTable(ctx, t, index)
		if err != nil && !errors.Is(err, router.ErrUnavailable) {
			return err
		}
		if written {
			return b.await(ctx, t.Version)
		}
		if err := consulapi.Sleep(ctx, firstPause); err != nil {
			return err
		}
	}
}

// sameSurface says whether two tables ask an edge for the same addresses and certificates: then it has no reason to refuse
// one that serves the other.
func sameSurface(a, b router.Table) bool { return reflect.DeepEqual(surface(a), surface(b)) }

// need is what a route takes from an edge's machine.
type need struct {
	listen   string
	protocol router.Protocol
	proxied  bool
	trusted  string // who may use the PROXY protocol: shared by a listen address
	tls      router.TLS
	hosts    string
}

func surface(t router.Table) map[need]bool {
	out := map[need]bool{}
	for _, r := range t.Routes {
		n := need{listen: r.Listen, protocol: r.Protocol, proxied: r.ProxyProtocol}
		if r.ProxyProtocol {
			n.trusted = strings.Join(r.Trusted, " ")
		}
		if r.TLS != nil {
			n.hosts, n.tls = strings.Join(r.Hosts, " "), *r.TLS
			if r.TLS.ACME != nil {
				n.hosts += fmt.Sprint(*r.TLS.ACME)
			}
			n.tls.ACME = nil
		}
		out[n] = true
	}
	return out
}

// await returns when every live edge serves the version.
func (b *Backend) await(ctx context.Context, v router.Version) error {
	var problems fault.List
	newer := false
	err := b.waitFor(ctx, "serve it", func(e registered) bool {
		switch c := e.Edge.Confirmed.Compare(v); {
		case c > 0:
			newer = true
			return true
		case c == 0:
			return true
		case e.Refused != nil && *e.Refused == v:
			problems = append(problems, faults(e.Edge, e.RefusedFault)...)
			return true
		}
		return false
	}, func() { problems, newer = nil, false })
	switch {
	case err != nil:
		return err
	case newer:
		return router.ErrStale
	case len(problems) > 0:
		return fmt.Errorf("%w: not all edges serve it: %w", router.ErrUnavailable, problems)
	}
	return nil
}

// waitFor follows the edges' records until all live ones have answered: said is asked of each after begin, as often as
// something has changed. When ctx ends the error names those that have not. That edges are registered and none of them lives is an
// error at once; that none is registered is none: whoever comes gets the newest table.
func (b *Backend) waitFor(ctx context.Context, what string, said func(registered) bool, begin func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var open []string
	done := false
	var last, dead error
	consulapi.Follow(ctx, func(q *api.QueryOptions) (*api.QueryMeta, error) {
		q.RequireConsistent = true
		q.WaitTime = beat // one that writes no more changes nothing
		pairs, meta, err := b.client.KV().List(b.edgeKey(""), q)
		if err != nil || ctx.Err() != nil {
			return meta, err
		}
		begin()
		open, last = nil, nil
		all := b.registered(pairs)
		for _, e := range all {
			if e.live && !said(e) {
				open = append(open, e.Edge.ID)
			}
		}
		dead = noneLives(all)
		if done = len(open) == 0; done {
			cancel()
		}
		return meta, nil
	}, func(err error) { last = b.explain(err) })
	switch {
	case done:
		return dead
	case last != nil:
		return fmt.Errorf("%w: %w", ctx.Err(), last)
	}
	slices.Sort(open)
	return fmt.Errorf("wait for edge %s to %s: %w", strings.Join(open, ", "), what, ctx.Err())
}

// noneLives says of edges that are registered that none of them lives; nil when one does, or there are none.
func noneLives(all []registered) error {
	var silent []string
	for _, e := range all {
		if e.live {
			return nil
		}
		silent = append(silent, e.Edge.ID)
	}
	if len(silent) == 0 {
		return nil
	}
	return &unavailable{fault.New(fault.Unavailable, "no edge answers: silent are %s", strings.Join(silent, ", ")).
		WithHint("start one: release router run --consul; when a machine is gone for good: release router forget %s", silent[0])}
}

// Applied implements router.Backend.
func (b *Backend) Applied(ctx context.Context) (router.Table, error) {
	t, index, err := b.table(ctx)
	switch {
	case err != nil:
		return router.Table{}, fmt.Errorf("read the routing table in Consul: %w", err)
	case index == 0:
		return router.Table{}, router.ErrNoTable
	}
	return t, nil
}

// Observe implements router.Backend. Silent edges are among the others.
func (b *Backend) Observe(ctx context.Context) (router.Observation, error) {
	o := router.Observation{At: time.Now()}
	edges, err := b.edges(ctx)
	if err != nil {
		return o, fmt.Errorf("read the edges in Consul: %w", err)
	}
	for _, e := range edges {
		if e.wrong != nil {
			return o, e.wrong
		}
		o.Edges = append(o.Edges, e.Edge)
	}
	return o, nil
}

// Forget takes it that an edge serves nobody any more: its record is removed. fault.NotFound for an edge that is not
// registered, fault.Invalid for one that lives.
func (b *Backend) Forget(ctx context.Context, id string) error {
	e, err := b.forgettable(ctx, id)
	if err != nil {
		return err
	}
	var gone bool
	err = b.try(ctx, func(ctx context.Context) (err error) {
		gone, _, err = b.client.KV().DeleteCAS(e.pair, writing(ctx))
		return err
	})
	if err == nil && !gone {
		err = fault.New(fault.Busy, "it came back just now")
	}
	if err != nil {
		return fmt.Errorf("forget edge %s: %w", id, err)
	}
	return nil
}

// MayForget says why Forget would refuse, and does nothing.
func (b *Backend) MayForget(ctx context.Context, id string) error {
	_, err := b.forgettable(ctx, id)
	return err
}

// forgettable finds an edge that does not live.
func (b *Backend) forgettable(ctx context.Context, id string) (registered, error) {
	edges, err := b.edges(ctx)
	if err != nil {
		return registered{}, fmt.Errorf("forget edge %s: %w", id, err)
	}
	var names []string
	for _, e := range edges {
		if e.Edge.ID == id && e.live {
			return e, fault.New(fault.Invalid, "forget edge %s: it lives", id).WithHint("stop it there: release router stop")
		}
		if e.Edge.ID == id {
			return e, nil
		}
		names = append(names, e.Edge.ID)
	}
	f := fault.New(fault.NotFound, "forget edge %s: it is not registered", id)
	if len(names) > 0 {
		f = f.WithHint("registered are: %s", strings.Join(names, ", "))
	}
	return registered{}, f
}
