package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/bootandshoot/release/fleet"
)

const (
	// listEvery is how often the nodes of a fleet are listed when its driver gives no hints.
	listEvery   = 2 * time.Second
	listTimeout = 10 * time.Second
	orphanEvery = 30 * time.Second
	watchAgain  = 5 * time.Second // after a driver was not there
)

// facts gathers what is known for one app.
func (o *Orchestrator) facts(s *State, now time.Time) Facts {
	w := &o.world
	w.minted = nil
	f := Facts{
		Now: now, Nodes: map[string]NodeFact{}, Traffic: map[string]Traffic{}, Results: w.results, Found: o.foundHere(s), Progress: w.progress, Output: w.output, Epoch: o.epoch, Mint: o.mint,
		Routes: w.table.routesOf(s.Key), Ledger: w.edges.counted.of(s.Key), Observed: w.edges.at, Confirmed: w.table.confirmed,
		StickyKey: stickyKey(o.secret, s.Key), Refused: w.table.refused[s.Key].fact(),
		Hosts: o.hostFacts(s), Unread: w.table.unread, Late: cmp.Or(w.table.late, w.table.waiting[s.Key].err, w.edges.blind(now)), Unserved: w.edges.unserved, Quarantine: o.opts.Quarantine, Approvers: o.opts.Approvers,
	}
	for _, fl := range s.holders() {
		id := fl.ID.String()
		f.Traffic[id] = w.edges.traffic[id]
		for _, n := range fl.Nodes {
			f.Nodes[n.Name] = o.nodeFact(n)
		}
	}
	return f
}

func (o *Orchestrator) nodeFact(n *Node) NodeFact {
	w := &o.world
	seen := w.nodes[n.Name]
	fact := NodeFact{
		Presence: seen.node.Presence, Absent: seen.absent, Address: seen.node.Address, Host: seen.node.Host,
		PID: seen.node.PID, Exit: seen.node.Exit, Routed: w.mayRoute(n.Name) || w.table.unclaimed(), Closing: w.table.closing[n.Name], Held: w.edges.held[n.Name], InFlight: w.inFlight(n.Name),
		Long: w.edges.long[n.Name], Since: seen.node.Since, Booting: w.running[actionKey(ActBoot, fleet.FleetID{}, n.Name)], Reading: w.reads[n.Name].open > 0, Read: w.reads[n.Name].done,
		Drift: o.looks.fact(n.Name), Doubted: seen.doubted(),
	}
	if state, ok := o.prober.State(n.Name); ok {
		fact.Verdict, fact.Message = state.Verdict, state.Last.Message
	}
	return fact
}

// hint asks for a fleet's nodes to be listed soon.
func (o *Orchestrator) hint(id string) {
	if l := o.world.listings[id]; l != nil {
		l.hinted = true
	}
}

// syncListings lists the nodes of every fleet that is due.
func (o *Orchestrator) syncListings(ctx context.Context) {
	now := o.opts.Now()
	for _, a := range o.apps {
		for _, fl := range a.state.holders() {
			l := o.world.listings[fl.ID.String()]
			if l == nil {
				l = &listing{}
				o.world.listings[fl.ID.String()] = l
			}
			if fl.Prepared && !l.running && (l.hinted || now.Sub(l.at) >= listEvery) {
				l.running, l.hinted, l.at = true, false, now
				go o.list(ctx, fl.Driver, fl.ID, now)
			}
		}
	}
}

// list asks a driver for a fleet's nodes and hands the answer to the loop.
func (o *Orchestrator) list(ctx context.Context, driver string, id fleet.FleetID, began time.Time) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	d, err := o.opts.Drivers.Driver(driver)
	var nodes []fleet.Node
	if err == nil {
		nodes, err = d.Nodes(ctx, id)
	}
	_, grouped := d.(fleet.Grouped)
	o.post(func() {
		if grouped {
			o.world.grouped[driver] = true
		}
		o.listed(id, nodes, err, began)
	})
}

// listed takes a listing into what is known: nodes that it lacks are absent if their boot was confirmed, or failed for good,
// before it began.
func (o *Orchestrator) listed(id fleet.FleetID, nodes []fleet.Node, err error, began time.Time) {
	w := &o.world
	if l := w.listings[id.String()]; l != nil {
		l.running = false
	}
	fl := o.fleet(id)
	if fl == nil {
		return
	}
	away, only := onlyAway(err)
	if err != nil {
		o.complain("list nodes of "+id.String(), err)
		if !only {
			o.unknown(fl)
			o.heard(fl)
			return
		}
	}
	found := map[string]fleet.Node{}
	for _, n := range nodes {
		found[n.ID.Node] = n
	}
	for _, n := range fl.Nodes {
		seen := w.nodes[n.Name]
		if o.unlisted(fl, n, away) {
			o.unknown(fl, n)
			continue
		}
		if node, ok := found[n.Name]; ok {
			if !seen.same(node) {
				o.heard(fl)
			}
			w.nodes[n.Name] = nodeSeen{node: node, since: seen.since}
		} else if w.bootEnded(n, id, seen, began) {
			seen.absent = true
			w.nodes[n.Name] = seen
			o.heard(fl)
		}
		delete(found, n.Name)
	}
	for _, stray := range found {
		o.removeStray(fl, stray)
	}
}

// bootEnded says whether a node's boot had come to its end at a time, well or not: before that a listing may lack it.
func (w *world) bootEnded(n *Node, id fleet.FleetID, seen nodeSeen, at time.Time) bool {
	key := actionKey(ActBoot, id, n.Name)
	if n.Booted {
		return seen.since.Before(at) && !w.running[key]
	}
	res := w.results[key]
	return res.Final && !res.At.After(at)
}

// heard notes that something new is known of a fleet's nodes.
func (o *Orchestrator) heard(fl *Fleet) {
	o.staleOf(Key{App: fl.ID.App, Env: fl.ID.Env})
	o.touch(Key{App: fl.ID.App, Env: fl.ID.Env})
}

// same says whether a driver says of a node what it said before.
func (s nodeSeen) same(node fleet.Node) bool {
	was := s.node
	if s.absent || (was.Exit == nil) != (node.Exit == nil) {
		return false
	}
	was.Exit, node.Exit = nil, nil
	return was == node
}

// touchJudged gives a round to the apps of which a node's health has changed.
func (o *Orchestrator) touchJudged() {
	judged := o.prober.Judged()
	if len(judged) == 0 {
		return
	}
	for _, a := range o.apps {
		for _, fl := range a.state.Fleets {
			a.touched = a.touched || slices.ContainsFunc(fl.Nodes, func(n *Node) bool { return judged[n.Name] })
		}
	}
}

// unlisted says that a listing cannot have a node: its host did not answer, or is not asked any more.
func (o *Orchestrator) unlisted(fl *Fleet, n *Node, away *fleet.HostsAway) bool {
	if away != nil && (n.Host == "" || slices.Contains(away.Hosts, n.Host)) {
		return true
	}
	_, known := o.world.hosts.records[n.Host]
	a := o.apps[Key{App: fl.ID.App, Env: fl.ID.Env}]
	return !known && n.Host != "" && len(a.state.hosts(fl)) > 0
}

// unknown marks nodes of a fleet, or all, as out of sight: that is no reason to shoot any, but they are probed on. Of one that this
// agent never saw it takes the record.
func (o *Orchestrator) unknown(fl *Fleet, nodes ...*Node) {
	if len(nodes) == 0 {
		nodes = fl.Nodes
	}
	for _, n := range nodes {
		seen, ok := o.world.nodes[n.Name]
		switch {
		case !ok && n.Booted:
			seen.node = fleet.Node{ID: fleet.NodeID{Fleet: fl.ID, Node: n.Name}, Slot: n.Slot, Host: n.Host, Address: n.Address, PID: n.PID, Image: fl.Image, Since: n.Since}
		case seen.node.Presence != fleet.Present:
			continue
		}
		seen.node.Presence = fleet.Unknown
		o.world.nodes[n.Name] = seen
		o.heard(fl)
	}
}

// removeStray shoots a node of a fleet of ours that the journal has forgotten: a boot that came through after its node
// was given up. That we still lead now, after the listing, says that no later leader's journal knows it either.
func (o *Orchestrator) removeStray(fl *Fleet, n fleet.Node) {
	key := actionKey(ActRemove, fl.ID, n.ID.Node)
	if o.world.running[key] || o.world.mayRoute(n.ID.Node) || o.world.inFlight(n.ID.Node) != 0 {
		return
	}
	o.world.running[key] = true
	o.log.Warn("removing a node that no record names", "node", n.ID.Node)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := o.opts.Store.Commit(ctx, o.fence)
		var d fleet.Driver
		if err == nil {
			d, err = o.opts.Drivers.Driver(fl.Driver)
		}
		if err == nil {
			err = d.Remove(ctx, n.ID, 0)
		}
		o.post(func() {
			delete(o.world.running, key)
			if err != nil {
				o.complain("remove node "+n.ID.Node, err)
			}
		})
	}()
}

// fleet finds a living fleet by its id.
func (o *Orchestrator) fleet(id fleet.FleetID) *Fleet {
	if a := o.apps[Key{App: id.App, Env: id.Env}]; a != nil {
		return a.state.fleet(id.String())
	}
	return nil
}

// watchDrivers turns the hints of drivers into listings, and looks for what a crash left.
func (o *Orchestrator) watchDrivers(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	watched := map[string]bool{}
	timer := time.NewTicker(watchAgain)
	defer timer.Stop()
	for {
		for _, name := range o.opts.Drivers.Names() { // some come with their first fleet
			if !watched[name] {
				watched[name] = true
				group.Go(func() { o.watchDriver(ctx, name) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

func (o *Orchestrator) watchDriver(ctx context.Context, name string) {
	var hints <-chan fleet.FleetID
	var orphans time.Time
	timer := time.NewTicker(watchAgain)
	defer timer.Stop()
	seen := trouble{log: o.log.With("driver", name)}
	for {
		d, err := o.opts.Drivers.Driver(name)
		if w, ok := d.(fleet.Watcher); ok && err == nil && hints == nil {
			hints, err = w.Watch(ctx)
			if ctx.Err() == nil && !errors.Is(err, fleet.ErrUnavailable) {
				seen.say("watch driver", err)
			}
		}
		_, hosted := d.(fleet.Hosted)
		if err == nil && (time.Since(orphans) >= orphanEvery || o.shooting.Load() || hosted && o.back.Swap(false)) {
			orphans = time.Now()
			seen.say("look for what a crash left", o.findOrphans(ctx, name, d))
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case id, ok := <-hints:
			if !ok {
				hints = nil
				continue
			}
			o.post(func() { o.hint(id.String()) })
		}
	}
}

// findOrphans shoots fleets that the journal says were begun and abandoned, and notes those that it knows nothing of.
func (o *Orchestrator) findOrphans(ctx context.Context, name string, d fleet.Driver) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	listed, err := d.Fleets(ctx)
	if _, only := onlyAway(err); err != nil && !only { // what is on hosts that are away is found when they answer
		return err
	}
	var strange []fleet.FleetID
	for _, fl := range listed {
		var what orphan
		if err := o.call(ctx, func() { what = o.orphan(fl.ID) }); err != nil {
			return nil // the agent ends
		}
		switch what {
		case orphanStrange, orphanLeaving:
			strange = append(strange, fl.ID)
		case orphanAbandoned:
			o.log.Warn("shooting an abandoned fleet", "fleet", fl.ID, "driver", name)
			if err := d.Destroy(ctx, fl.ID); err != nil {
				o.log.Warn("shoot an abandoned fleet", "fleet", fl.ID, "error", err)
			}
		}
	}
	return o.noteFound(ctx, name, d, strange)
}

// orphan is what a fleet is that a driver found.
type orphan int

const (
	orphanNone      orphan = iota // it has a record, or may still have requests
	orphanAbandoned               // minted here, without a record, without traffic: it is shot
	orphanStrange                 // no record knows it: it is left alone
	orphanLeaving                 // the same, and it is shot when it has no traffic
)

// orphan says what a fleet is that a driver found.
func (o *Orchestrator) orphan(id fleet.FleetID) orphan {
	a := o.apps[Key{App: id.App, Env: id.Env}]
	if a == nil || a.state.fleet(id.String()) == nil && a.state.strange(id) {
		o.complain("fleet "+id.String(), errors.New("it carries this installation's id, but no record knows it: left alone"))
		return orphanStrange
	}
	traffic := o.world.table.names(id.String()) || o.busy(id)
	switch lost := a.state.Lost; {
	case a.state.fleet(id.String()) != nil:
		return orphanNone
	case traffic && lost != nil && releaseNumber(id.Release) <= lost.UpTo:
		return orphanLeaving
	case traffic:
		return orphanNone
	}
	if rel := a.state.release(id.Release); rel != nil && id.Incarnation > rel.Incarnations {
		return orphanNone
	}
	return orphanAbandoned
}
