package alb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/bootandshoot/release/router"
)

// How old an observation may be: AWS is asked by all programs of an account together, and answers a few questions a second.
const (
	lookEvery    = 5 * time.Second
	lookDraining = time.Second
	// consistent is how long lists may lack what was made.
	consistent = time.Minute
)

// knowledge is what is remembered between calls. None of it is needed to go on after a restart.
type knowledge struct {
	*remembered
}

type remembered struct {
	mu      sync.Mutex
	arns    map[string]unlisted // groups that were made a moment ago, by name
	changes int                 // how often anything changed: a look that began before is out of date
	seen    *seen
	latest  *seen // also when it is out of date
	glance  *glance
	last    lastHead
	counted counts
}

// glance is a look that is under way, or was: what it brought is there when done is closed.
type glance struct {
	done    chan struct{}
	changes int // how often anything had changed when it began
	seen    *seen
	err     error
}

type unlisted struct {
	arn  string
	till time.Time
}

// seen is an observation, and until when it does.
type seen struct {
	edge router.Edge
	at   time.Time
	till time.Time
	over *over // nil: taken, or none
}

// over is what a look found, for whoever removes what is over.
type over struct {
	v       *view
	rec     *record
	changes int // how often anything had changed when it began
}

func newKnowledge(now time.Time) knowledge {
	return knowledge{&remembered{arns: map[string]unlisted{}, counted: newCounts(now)}}
}

func (k knowledge) made(name, arn string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.arns[name] = unlisted{arn, time.Now().Add(consistent)}
}

func (k knowledge) deleted(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.arns, name)
}

// unlisted are the groups that were made a moment ago and that a list lacks.
func (k knowledge) unlisted(listed map[string]string) map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	more := map[string]string{}
	for name, u := range k.arns {
		if listed[name] != "" || time.Now().After(u.till) {
			delete(k.arns, name)
		} else {
			more[name] = u.arn
		}
	}
	return more
}

// outdated says that what was seen is not so any more.
func (k knowledge) outdated() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changes++
	k.seen = nil
}

func (k knowledge) fresh() (s *seen, changes int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen != nil && time.Now().Before(k.seen.till) {
		return k.seen, k.changes
	}
	return nil, k.changes
}

// begin gives the look that is under way, or one that begins now.
func (k knowledge) begin(look func(*glance)) *glance {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.glance == nil {
		k.glance = &glance{done: make(chan struct{}), changes: k.changes}
		go look(k.glance)
	}
	return k.glance
}

// end keeps what a look brought.
func (k knowledge) end(g *glance) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.glance = nil
	if g.err == nil {
		k.latest = g.seen
	}
	if g.err == nil && k.changes == g.changes {
		k.seen = g.seen
	}
	close(g.done)
}

// takeOver gives what a look found to one caller.
func (k knowledge) takeOver(s *seen) *over {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := s.over
	s.over = nil
	return found
}

func (k knowledge) newest() *seen {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.latest
}

// lookLimit bounds a look, which takes seconds when AWS slows calls down or the balancer has many rules.
const lookLimit = 30 * time.Second

// Observe implements router.Backend: the balancer is one edge. What it does not say is 0: requests in flight of a node that is in
// the table. A node that left and is still among the targets has 1. What is over it removes.
//
// A look goes on when ctx ends, and is the next call's. Meanwhile the answer is the last one that came to its end, with its time.
// Only the look goes on: what is over is removed by a caller that waited for it, or finds it, as long as that one's ctx lasts.
func (b *Backend) Observe(ctx context.Context) (router.Observation, error) {
	for {
		s, changes := b.known.fresh()
		if s != nil {
			b.clean(ctx, s)
			return s.observation(), nil
		}
		g := b.known.begin(func(g *glance) { b.glance(context.WithoutCancel(ctx), g) })
		select {
		case <-g.done:
			if g.err != nil {
				return router.Observation{}, g.err
			}
			if g.changes >= changes {
				b.clean(ctx, g.seen)
				return g.seen.observation(), nil
			}
		case <-ctx.Done():
			if s := b.known.newest(); s != nil {
				return s.observation(), nil
			}
			return router.Observation{}, fmt.Errorf("look at load balancer %s: %w: %w", b.opts.Balancer, router.ErrUnavailable, ctx.Err())
		}
	}
}

// glance is one look.
func (b *Backend) glance(ctx context.Context, g *glance) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	g.err = b.repeat(ctx, "look at load balancer "+b.opts.Balancer, func() (err error) {
		g.seen, err = b.observe(ctx)
		return err
	})
	b.known.end(g)
}

func (s *seen) observation() router.Observation {
	e := s.edge
	e.Routes, e.Nodes, e.Listeners = slices.Clone(e.Routes), slices.Clone(e.Nodes), slices.Clone(e.Listeners)
	for i := range e.Nodes {
		e.Nodes[i].Latency.Counts = slices.Clone(e.Nodes[i].Latency.Counts)
	}
	return router.Observation{At: s.at, Edges: []router.Edge{e}}
}

func (b *Backend) observe(ctx context.Context) (*seen, error) {
	at := time.Now()
	_, changes := b.known.fresh()
	v, err := b.look(ctx)
	if err != nil {
		return nil, err
	}
	e := router.Edge{ID: b.opts.Balancer, Host: v.dns, Instance: b.instance, Confirmed: v.effective(), InFlightUnknown: true}
	s := &seen{at: at, till: at.Add(cmp.Or(b.opts.Look, lookEvery))}
	rec, err := b.record(v)
	if err != nil || rec == nil {
		s.edge = e
		return s, err
	}
	for _, name := range sortedKeys(v.groups) {
		if err := b.health(ctx, v.groups[name]); err != nil {
			return nil, err
		}
	}
	draining := b.drains(v, rec)
	if len(draining) > 0 {
		s.till = at.Add(cmp.Or(b.opts.Look, lookDraining))
	}
	b.count(ctx, v, rec, draining)
	b.known.counted.fill(&e, rec.Table, b.nodes(rec.Table), draining)
	e.Listeners = v.states(rec.Table)
	s.edge, s.over = e, &over{v, rec, changes}
	return s, nil
}

// drains are the nodes that left and are still among the targets.
func (b *Backend) drains(v *view, rec *record) (all []leaving) {
	for _, l := range b.out(rec) {
		if g := v.groups[l.Group]; g != nil {
			if _, there := g.targets[l.Address]; there {
				all = append(all, l)
			}
		}
	}
	return all
}

// states are the listen addresses of a table, and what is in the way.
func (v *view) states(t router.Table) (all []router.ListenerState) {
	for i := range t.Routes {
		state := router.ListenerState{Listen: t.Routes[i].Listen}
		if _, err := v.listener(&t.Routes[i]); err != nil {
			state.Error = err.Error()
		}
		if !slices.ContainsFunc(all, func(s router.ListenerState) bool { return s.Listen == state.Listen }) {
			all = append(all, state)
		}
	}
	return all
}

// clean removes what a look found to be over, once, unless something changes just now or did since the look began, or the rules do
// not obey the table yet. What fails is tried again after the next look.
func (b *Backend) clean(ctx context.Context, s *seen) {
	found := b.known.takeOver(s)
	if found == nil || found.v.effective() != found.rec.Table.Version || !b.mu.TryLock() {
		return
	}
	defer b.mu.Unlock()
	if _, now := b.known.fresh(); now != found.changes {
		return
	}
	w, err := b.want(found.v, found.rec.Table)
	if err == nil {
		err = errors.Join(b.tidy(ctx, found.v, w), b.lapse(ctx, found.v, found.rec))
	}
	if err != nil && ctx.Err() == nil && !errors.Is(explain("", err), errAgain) {
		b.opts.Log.Warn("remove what no table has", "balancer", b.opts.Balancer, "error", fmt.Sprint(explain("remove target groups", err)))
	}
}

// byNode orders as the contract's fake does.
func byNode(x, y router.NodeTraffic) int {
	return cmp.Or(cmp.Compare(x.Fleet, y.Fleet), cmp.Compare(x.Node, y.Node))
}

func sortedMinutes[V any](m map[time.Time]V) []time.Time {
	return slices.SortedFunc(maps.Keys(m), time.Time.Compare)
}
