package orchestrator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

// view is what the loop publishes of an app after each round.
type view struct {
	routes  []RouteStatus
	traffic map[string]Rates
	nodes   map[string]NodeStatus
	flight  map[string]int
	long    map[string]int
	counted Ledger
}

// publish makes a state the present one, with the view that goes with it, and wakes those who wait for a change. It runs in
// the loop.
func (o *Orchestrator) publish(a *app, s *State) {
	v := o.view(s)
	o.mu.Lock()
	defer o.mu.Unlock()
	a.state = s
	o.apps[s.Key] = a
	o.staleOf(s.Key)
	o.views[s.Key] = v
	o.announce()
}

// announce wakes those who wait for a change. The caller holds the lock.
func (o *Orchestrator) announce() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// show publishes what is seen beside the states: of those that had a round, and of all when the whole is asked for or another
// table is in effect. It runs in the loop.
func (o *Orchestrator) show(keys []Key, whole bool) {
	if version := o.world.table.effective.Version; o.world.shown != version {
		o.world.shown, whole = version, true
	}
	views := map[Key]view{}
	if whole {
		keys = o.Keys()
	} else {
		o.mu.RLock()
		maps.Copy(views, o.views)
		o.mu.RUnlock()
	}
	for _, key := range keys {
		views[key] = o.view(o.apps[key].state)
	}
	found, shooting := o.foundToShow(), false
	for _, f := range found {
		key := Key{App: f.ID.App, Env: f.ID.Env}
		a := o.apps[key]
		if a == nil {
			views[key] = o.view(&State{Key: key})
		}
		shooting = shooting || a != nil && !a.state.strange(f.ID)
	}
	o.shooting.Store(shooting)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.views, o.found = views, found
}

func (o *Orchestrator) view(s *State) view {
	w := &o.world
	v := view{traffic: map[string]Rates{}, nodes: map[string]NodeStatus{}, flight: map[string]int{}, long: map[string]int{},
		counted: w.edges.counted.of(s.Key)}
	for _, fl := range s.Fleets {
		id := fl.ID.String()
		v.traffic[id] = w.edges.rates(id)
		for _, n := range fl.Nodes {
			busy := max(0, w.inFlight(n.Name))
			v.flight[id] += busy
			v.long[id] += w.edges.long[n.Name]
			v.nodes[n.Name] = NodeStatus{
				Present: string(w.nodes[n.Name].node.Presence), Health: o.lastProbe(n.Name), InFlight: busy,
				Long: w.edges.long[n.Name],
			}
		}
	}
	if err := w.table.unread; err != nil && len(s.Fleets) > 0 {
		for _, route := range s.routes("") {
			role, internal := roleOfRoute(route.Name)
			v.routes = append(v.routes, RouteStatus{Role: role, Internal: internal, Listen: route.Listen, Weights: map[string]int{},
				Error: "what it serves is not known: " + err.Error()})
		}
		return v
	}
	for _, route := range w.table.own[s.Key] {
		role, internal := roleOfRoute(route.Name)
		rs := RouteStatus{
			Role: role, Internal: internal, Listen: route.Listen, Weights: map[string]int{}, Error: cmp.Or(w.edges.errors[route.Listen], w.edges.unserved),
			Version: fmt.Sprintf("%d.%d", w.table.effective.Version.Epoch, w.table.effective.Version.Seq),
		}
		if err := cmp.Or(w.table.refused[s.Key].err, w.edges.blind(o.opts.Now())); err != nil {
			rs.Error = err.Error()
		}
		for _, fl := range route.Fleets {
			if fl.Weight > 0 {
				rs.Weights[fl.Release] += fl.Weight
			}
		}
		v.routes = append(v.routes, rs)
	}
	return v
}

// lastProbe is what a node's last probe said.
func (o *Orchestrator) lastProbe(node string) string {
	state, _ := o.prober.State(node)
	return state.Last.Message
}

// Keys lists all apps and environments that were ever launched, sorted.
func (o *Orchestrator) Keys() []Key {
	o.mu.RLock()
	defer o.mu.RUnlock()
	keys := make([]Key, 0, len(o.apps))
	for key := range o.apps {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, Key.compare)
	return keys
}

// Changed returns a channel that is closed at the next change of any state.
func (o *Orchestrator) Changed() <-chan struct{} {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.changed
}

// state is the present state of an app. States are never changed after they are published.
func (o *Orchestrator) state(ctx context.Context, key Key) (*State, error) {
	if err := o.waitReady(ctx); err != nil {
		return nil, err
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	if a := o.apps[key]; a != nil {
		return a.seen(), nil
	}
	return nil, fault.New(fault.NotFound, "app %s is not known to this agent", key).WithHint("launch it with: release up")
}

// setStuck notes that what was decided for an app could not be written: nothing goes on until it can.
func (o *Orchestrator) setStuck(a *app, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a.stuck = err
}

// seen is the state for people: an operation that cannot go on because the store takes nothing says so.
func (a *app) seen() *State {
	if a.stuck == nil {
		return a.state
	}
	s := a.state.clone()
	for _, op := range s.Operations {
		op.Waits = "the agent to be able to write its journal: " + a.stuck.Error()
	}
	return s
}

// Status is an app as it is now. fault.NotFound when it was never launched.
func (o *Orchestrator) Status(ctx context.Context, key Key) (Status, error) {
	s, err := o.state(ctx, key)
	o.mu.RLock()
	defer o.mu.RUnlock()
	found := slices.DeleteFunc(slices.Clone(o.found), func(f Found) bool { return (Key{App: f.ID.App, Env: f.ID.Env}) != key })
	if fault.Is(err, fault.NotFound) && len(found) > 0 {
		s, err = &State{Key: key}, nil
	}
	if err != nil {
		return Status{}, err
	}
	v := o.views[key]
	return Status{State: *s, Found: found, Jobs: s.jobs(), Routes: v.routes, Traffic: v.traffic, Nodes: v.nodes, Drained: v.flight, Long: v.long, Counted: v.counted, Queue: o.queued(key)}, nil
}

// Operation is one that is under way or ended (Ended is set).
func (o *Orchestrator) Operation(ctx context.Context, key Key, id string) (Operation, error) {
	s, err := o.state(ctx, key)
	if err != nil {
		return Operation{}, err
	}
	for _, op := range s.Operations {
		if op.ID == id {
			return *op, nil
		}
	}
	var n int
	if _, err := fmt.Sscanf(id, "op-%d", &n); err != nil {
		return Operation{}, fault.New(fault.Invalid, "%q is not an operation's id such as op-7", id)
	}
	e, err := o.opts.Store.Get(ctx, operationKey(key, n))
	if errors.Is(err, store.ErrNotFound) {
		return Operation{}, fault.New(fault.NotFound, "%s has no operation %s", key, id).WithHint("release history lists them")
	}
	if err != nil {
		return Operation{}, fmt.Errorf("read operation %s: %w", id, err)
	}
	var op Operation
	if err := json.Unmarshal(e.Value, &op); err != nil {
		return Operation{}, fmt.Errorf("read operation %s: %w", id, err)
	}
	late, err := o.lateCosts(ctx, fmt.Sprintf("%s%08d/", drainPrefix(key), n))
	if err != nil {
		return Operation{}, fmt.Errorf("read operation %s: %w", id, err)
	}
	op.Ledger = op.Ledger.plus(late[n])
	return op, nil
}

// lateCosts is what draining cost operations after their end, by their numbers.
func (o *Orchestrator) lateCosts(ctx context.Context, prefix string) (map[int]Ledger, error) {
	entries, err := o.opts.Store.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	costs := map[int]Ledger{}
	for _, e := range entries {
		var c lateCost
		if err := json.Unmarshal(e.Value, &c); err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Key, err)
		}
		costs[c.Operation] = costs[c.Operation].plus(c.Ledger)
	}
	return costs, nil
}

// History lists the operations that ended, newest first.
func (o *Orchestrator) History(ctx context.Context, key Key) ([]Operation, error) {
	if _, err := o.state(ctx, key); err != nil {
		return nil, err
	}
	entries, err := o.opts.Store.List(ctx, operationPrefix(key))
	if err != nil {
		return nil, fmt.Errorf("read history of %s: %w", key, err)
	}
	late, err := o.lateCosts(ctx, drainPrefix(key))
	if err != nil {
		return nil, fmt.Errorf("read history of %s: %w", key, err)
	}
	var ops []Operation
	for _, e := range slices.Backward(entries) {
		var op Operation
		if err := json.Unmarshal(e.Value, &op); err != nil {
			return nil, fmt.Errorf("read history of %s: %w", key, err)
		}
		op.Ledger = op.Ledger.plus(late[op.Number])
		ops = append(ops, op)
	}
	return ops, nil
}
