package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

const (
	lookEvery  = time.Second // how often it is seen who is due
	lookWidth  = 2           // nodes that are looked at together: a look reads files
	lookWithin = 20 * time.Second
	// shownChanges is how many changes a person who asks is told.
	shownChanges = 1000
)

// looker looks at nodes again and again for what differs from their images. It wakes the loop only when that changed.
type looker struct {
	mu      sync.Mutex
	targets map[string]*lookTarget // by node
	seen    map[string]DriftFact
}

// lookTarget is a node to look at.
type lookTarget struct {
	id     fleet.NodeID
	driver string
	spec   fleet.DriftSpec
	every  time.Duration
	next   time.Time
}

func newLooker() *looker {
	return &looker{targets: map[string]*lookTarget{}, seen: map[string]DriftFact{}}
}

// syncLooks says whom of an app to look at. It runs in the loop.
func (o *Orchestrator) syncLooks(a *app) {
	now := o.opts.Now()
	var targets []*lookTarget
	for _, fl := range a.state.Fleets {
		cfg := a.state.configOf(fl).Fleet.Drift
		if !fl.routable() || !cfg.Looks() {
			continue
		}
		spec := o.driftSpec(a.state, fl, keptChanges)
		for _, n := range fl.Nodes {
			if n.live() && n.WasServed {
				targets = append(targets, &lookTarget{id: fleet.NodeID{Fleet: fl.ID, Node: n.Name}, driver: fl.Driver, spec: spec,
					every: cfg.Every.Std(), next: now.Add(firstLook(n.Name, cfg.Every.Std()))})
			}
		}
	}
	o.looks.replace(a.looked, targets)
	a.looked = make([]string, len(targets))
	for i, t := range targets {
		a.looked[i] = t.id.Node
	}
}

// firstLook spreads the nodes of a fleet over the time between two looks.
func firstLook(node string, every time.Duration) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(node)) // never fails
	return every * time.Duration(hash.Sum32()%1000) / 1000
}

func (o *Orchestrator) driftSpec(s *State, fl *Fleet, limit int) fleet.DriftSpec {
	spec := o.spec(s, fl)
	spec.Nodes = nil
	return fleet.DriftSpec{Spec: spec, Allow: s.configOf(fl).Fleet.Drift.Allow, Limit: limit}
}

// replace puts targets in the place of those of the nodes given; those that were there keep their time.
func (l *looker) replace(nodes []string, targets []*lookTarget) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := make(map[string]*lookTarget, len(nodes))
	for _, node := range nodes {
		before[node] = l.targets[node]
		delete(l.targets, node)
	}
	for _, t := range targets {
		if old := before[t.id.Node]; old != nil && old.every == t.every {
			t.next = old.next
		}
		l.targets[t.id.Node] = t
	}
	for _, node := range nodes {
		if l.targets[node] == nil {
			delete(l.seen, node)
		}
	}
}

// due are the targets whose time has come, those that wait longest first. Their next time begins to count.
func (l *looker) due(now time.Time) []lookTarget {
	l.mu.Lock()
	defer l.mu.Unlock()
	var due []lookTarget
	for _, t := range l.targets {
		if !now.Before(t.next) {
			due = append(due, *t)
			t.next = now.Add(t.every)
		}
	}
	slices.SortFunc(due, func(a, b lookTarget) int { return cmp.Or(a.next.Compare(b.next), cmp.Compare(a.id.Node, b.id.Node)) })
	return due
}

// soon has a node looked at next: somebody ran a command in it.
func (l *looker) soon(node string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.targets[node]; t != nil {
		t.next = now
	}
}

// fact is what was found last; nil when nobody has looked.
func (l *looker) fact(node string) *DriftFact {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := l.seen[node]; ok {
		return &f
	}
	return nil
}

// note keeps what was found and says whether it is new.
func (l *looker) note(node string, f DriftFact) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.seen[node]
	if l.targets[node] != nil {
		l.seen[node] = f
	}
	return before.Total != f.Total || !sameChanges(before.Changes, f.Changes)
}

// watchDrift looks at nodes until ctx ends.
func (o *Orchestrator) watchDrift(ctx context.Context) {
	timer := time.NewTicker(lookEvery)
	defer timer.Stop()
	seen := trouble{log: o.log}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		var group errgroup.Group
		group.SetLimit(lookWidth)
		for _, t := range o.looks.due(o.opts.Now()) {
			group.Go(func() error { return o.lookAt(ctx, t) })
		}
		err := group.Wait()
		if ctx.Err() == nil && !errors.Is(err, fleet.ErrUnavailable) {
			seen.say("look for what differs in nodes", err)
		}
	}
}

// lookAt looks at one node. What cannot be told leaves what was known; a node that ended is seen elsewhere.
func (o *Orchestrator) lookAt(ctx context.Context, t lookTarget) error {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	d, err := o.opts.Drivers.Driver(t.driver)
	if err != nil {
		return err
	}
	drifter, ok := d.(fleet.Drifter)
	if !ok {
		return nil // nothing can be told of this driver's nodes
	}
	began := o.opts.Now()
	drift, err := drifter.Drift(ctx, t.id, t.spec)
	if errors.Is(err, fleet.ErrNoNode) || fault.Is(err, fault.Unsupported) { // it ended, or is where the driver cannot look
		return nil
	}
	if err != nil {
		return err
	}
	if o.looks.note(t.id.Node, factOf(drift, began)) {
		o.post(func() { o.touch(Key{App: t.id.Fleet.App, Env: t.id.Fleet.Env}) }) // a round takes it in
	}
	return nil
}

func factOf(d fleet.Drift, at time.Time) DriftFact {
	return DriftFact{At: at, Total: d.Total, Changes: d.Changes[:min(len(d.Changes), keptChanges)]}
}

// Drift says how a node differs from its image now, whatever the policy is. Errors: fault.NotFound without such a node,
// fault.Unsupported when its driver cannot tell.
func (o *Orchestrator) Drift(ctx context.Context, key Key, node string) (fleet.Drift, error) {
	s, err := o.state(ctx, key)
	if err != nil {
		return fleet.Drift{}, err
	}
	d, id, err := o.find(ctx, key, node)
	if err != nil {
		return fleet.Drift{}, err
	}
	drifter, ok := d.(fleet.Drifter)
	fl := s.fleet(id.Fleet.String())
	if !ok || fl == nil {
		return fleet.Drift{}, fault.New(fault.Unsupported, "compare %s with its image: the driver cannot tell", id.Node)
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	began := o.opts.Now()
	drift, err := drifter.Drift(ctx, id, o.driftSpec(s, fl, shownChanges))
	if errors.Is(err, fleet.ErrNoNode) {
		return fleet.Drift{}, fault.New(fault.NotFound, "%w", err)
	}
	if err == nil && o.looks.note(id.Node, factOf(drift, began)) {
		o.post(func() { o.touch(key) })
	}
	return drift, err
}
