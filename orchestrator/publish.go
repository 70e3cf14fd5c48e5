package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/store"
)

const (
	applyTimeout = 5 * time.Second
	// applyAgain is the wait after a table could not be applied.
	applyAgain = time.Second
)

// adopt reads what the router serves, so that a starting agent changes nothing that is right.
func (o *Orchestrator) adopt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	t, err := o.opts.Router.Applied(ctx)
	if err != nil && !errors.Is(err, router.ErrNoTable) {
		o.world.table.unread = err
		o.complain("read the router's table", err)
		return
	}
	o.world.table.adopt(t, o.opts.Now())
	o.world.lease(o.apps)
}

func (t *tableSeen) adopt(table router.Table, now time.Time) {
	t.known, t.unread, t.late, t.pending = true, nil, nil, nil
	t.effective, t.confirmed = table, now
	t.index(now)
}

// index notes whose the routes are, which nodes the tables name or close, and since when others are not named any more.
func (t *tableSeen) index(now time.Time) {
	before := t.routed
	t.routed, t.own, t.closing = map[string]bool{}, map[Key][]router.Route{}, map[string]bool{}
	for _, c := range t.effective.Closing {
		t.closing[c.Node] = true
	}
	for _, route := range t.effective.Routes {
		if key, ok := routeKey(route.Name); ok {
			t.own[key] = append(t.own[key], route)
		}
	}
	for _, table := range []*router.Table{&t.effective, t.pending} {
		if table == nil {
			continue
		}
		for _, route := range table.Routes {
			for _, fl := range route.Fleets {
				for _, n := range fl.Nodes {
					t.routed[n.Name] = true
					delete(t.left, n.Name)
				}
			}
		}
	}
	for name := range before {
		if !t.routed[name] {
			t.left[name] = now
		}
	}
}

// mayRoute says whether a table that is or may be in effect names the node. Until the edges were read any may.
func (t *tableSeen) mayRoute(node string) bool { return !t.known || t.routed[node] }

// unclaimed says whether the edges have a table of an earlier leadership. As long as they do, one that an earlier leader has sent
// and that comes late could still replace it: before anything of ours is shot they get one of this leadership.
func (t *tableSeen) unclaimed() bool {
	return t.effective.Version != (router.Version{}) && t.effective.Version.Epoch < t.epoch
}

// names says whether a table that is or may be in effect has nodes of the fleet.
func (t *tableSeen) names(fleetID string) bool {
	if !t.known {
		return true
	}
	for _, table := range []*router.Table{&t.effective, t.pending} {
		if table == nil {
			continue
		}
		for _, route := range table.Routes {
			if slices.ContainsFunc(route.Fleets, func(f router.Fleet) bool { return f.ID == fleetID && len(f.Nodes) > 0 }) {
				return true
			}
		}
	}
	return false
}

// routesOf are the app's routes that every edge confirmed; while another table may be in effect there are none.
func (t *tableSeen) routesOf(key Key) []router.Route {
	if t.pending != nil || !t.known {
		return nil
	}
	return t.own[key]
}

// syncTable applies a new table when the states ask for other routes than the edges have, or these have one of an earlier
// leadership. Only the loss of leadership is an error.
func (o *Orchestrator) syncTable(ctx context.Context) error {
	t := &o.world.table
	now := o.opts.Now()
	if t.applying || now.Before(t.retry) {
		return nil
	}
	if !t.known {
		t.retry = now.Add(applyAgain)
		o.adopt(ctx)
		return nil
	}
	claim := t.unclaimed() && o.shoots()
	if t.pending == nil && !claim && o.routedAsAsked() {
		o.abandon(ctx)
		return nil
	}
	table, changed := o.wanted(now)
	if len(changed) == 0 && t.pending == nil && !claim {
		o.abandon(ctx)
		return nil
	}
	if err := o.mayOverrule(ctx); err != nil {
		t.retry = now.Add(applyAgain)
		o.complain("apply table over that of a later leadership", err)
		return conflictOnly(err)
	}
	table.Schema, table.Version = router.Schema, o.nextVersion()
	t.applying, t.pending = true, &table
	t.index(now)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, applyTimeout)
		defer cancel()
		failpoint.Pass(failpoint.TableApply)
		err := o.opts.Router.Apply(ctx, table)
		failpoint.Pass(failpoint.TableApplied)
		o.post(func() { o.applied(table, changed, err) })
	}()
	return nil
}

// shoots says whether anything waits to be shot.
func (o *Orchestrator) shoots() bool {
	for _, a := range o.apps {
		for _, fl := range a.state.Fleets {
			leaves := func(n *Node) bool { return n.State == NodeDead || n.State == NodeDraining }
			if fl.State == FleetShooting || slices.ContainsFunc(fl.Nodes, leaves) {
				return true
			}
		}
	}
	return false
}

// mayOverrule says why no table may be applied over one of a later leadership than this agent's: there is such a leader. Else its
// store is older than the edges, and it goes on from their table.
func (o *Orchestrator) mayOverrule(ctx context.Context) error {
	if o.world.table.effective.Version.Epoch <= o.epoch {
		return nil
	}
	_, err := o.opts.Store.Commit(ctx, o.fence)
	return err
}

// conflictOnly is the error if it says that another agent leads.
func conflictOnly(err error) error {
	if errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("another agent has taken over: %w", err)
	}
	return nil
}

// wanted is the routes of all states, what is to be closed and what failed, and which apps' differ from what the edges have. Routes that the backend refused a
// moment ago stay as they are, and so do routes whose app no record knows. When the last table was refused without it
// being clear for whose sake, one app is changed at a time.
func (o *Orchestrator) wanted(now time.Time) (table router.Table, changed []Key) {
	t := &o.world.table
	for _, route := range t.effective.Routes {
		if key, ok := routeKey(route.Name); !ok || o.apps[key] == nil {
			table.Routes = append(table.Routes, route)
		}
	}
	for _, key := range o.Keys() {
		have := t.own[key]
		want := o.apps[key].state.routes(stickyKey(o.secret, key))
		haveClosing, wantClosing := closingOf(t.effective.Closing, key), o.apps[key].state.closing()
		haveFailed, wantFailed := failedOf(t.effective.Failed, key), o.apps[key].state.failed()
		same := sameRoutes(have, want) && slices.Equal(haveClosing, wantClosing) && tellsFailed(haveFailed, wantFailed)
		if same {
			t.inOrder(key)
		}
		if same || now.Before(t.refused[key].until) || now.Before(t.waiting[key].until) || len(changed) > 0 && len(t.refused) > 0 {
			want, wantClosing, wantFailed = have, haveClosing, haveFailed
		} else {
			changed = append(changed, key)
		}
		table.Routes = append(table.Routes, want...)
		table.Closing, table.Failed = append(table.Closing, wantClosing...), append(table.Failed, wantFailed...)
	}
	slices.SortFunc(table.Routes, func(a, b router.Route) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(table.Closing, func(a, b router.Closing) int { return strings.Compare(a.Node, b.Node) })
	slices.SortFunc(table.Failed, func(a, b router.Failed) int { return strings.Compare(a.Node, b.Node) })
	return table, changed
}

// failedOf is an app's part of what failed.
func failedOf(all []router.Failed, key Key) []router.Failed {
	var own []router.Failed
	for _, f := range all {
		if k, ok := fleetKey(f.Fleet); ok && k == key {
			own = append(own, f)
		}
	}
	return own
}

// closingOf is an app's part of what is to be closed.
func closingOf(all []router.Closing, key Key) []router.Closing {
	var own []router.Closing
	for _, c := range all {
		if k, ok := fleetKey(c.Fleet); ok && k == key {
			own = append(own, c)
		}
	}
	return own
}

func routeKey(name string) (Key, bool) {
	p := strings.Split(name, "/")
	if len(p) != 3 {
		return Key{}, false
	}
	return Key{App: p[0], Env: p[1]}, true
}

// nextVersion is newer than every table that may be in effect. An agent whose store is behind the router raises the epoch.
func (o *Orchestrator) nextVersion() router.Version {
	t := &o.world.table
	newest := t.effective.Version
	if t.pending != nil && t.pending.Version.Compare(newest) > 0 {
		newest = t.pending.Version
	}
	if newest.Epoch < o.epoch {
		return router.Version{Epoch: o.epoch, Seq: 1}
	}
	return router.Version{Epoch: newest.Epoch, Seq: newest.Seq + 1}
}

// applied takes the backend's answer into what is known.
func (o *Orchestrator) applied(table router.Table, changed []Key, err error) {
	t := &o.world.table
	now := o.opts.Now()
	t.applying = false
	var waiting *router.Waiting
	switch {
	case err == nil:
		t.adopt(table, now)
		o.touchKeys(changed)
		o.look()
		return
	case errors.As(err, &waiting):
		o.awaited(table, changed, waiting)
		return
	case errors.Is(err, router.ErrStale):
		t.known = false // another table is in effect: read it, and go on from there
	case errors.Is(err, router.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded):
		t.delayed(table.Version, err) // it may be in effect: the nodes of both tables count as routed, and it is applied again
	default:
		t.dropped(now)
		if len(changed) == 0 {
			t.epoch = t.effective.Version.Epoch // they refuse what they have: it cannot be claimed
		}
		made := func(key Key) bool { return o.madeRoom(o.app(key).state, o.app(key).state, err) }
		if slices.ContainsFunc(changed, made) {
			return // it is applied again at once
		}
		o.touchKeys(changed)
		for _, key := range changed {
			r := refusal{err: err, first: now, last: now}
			if before, again := t.refused[key]; again {
				r.first = before.first
			}
			if len(changed) == 1 {
				r.until = now.Add(applyAgain)
			}
			t.refused[key] = r
		}
		o.complain("apply table", err)
		return
	}
	t.retry = now.Add(applyAgain / 10)
	o.complain("apply table", err)
}

// awaited notes whose nodes the backend waits for. The table is not in effect: the routes of others are applied without those, at once.
func (o *Orchestrator) awaited(table router.Table, changed []Key, why *router.Waiting) {
	t := &o.world.table
	now := o.opts.Now()
	t.dropped(now)
	o.touchKeys(changed)
	whose := slices.DeleteFunc(slices.Clone(changed), func(key Key) bool {
		return !slices.ContainsFunc(why.Routes, func(name string) bool { k, ok := routeKey(name); return ok && k == key })
	})
	if len(whose) == 0 {
		whose = changed
		t.retry = now.Add(applyAgain)
	}
	for _, key := range whose {
		routes := t.waiting[key].routes
		for _, r := range table.Routes {
			if k, ok := routeKey(r.Name); ok && k == key && !slices.Contains(routes, r.Name) {
				routes = append(routes, r.Name)
			}
		}
		t.waiting[key] = refusal{err: why, until: now.Add(applyAgain), routes: routes}
		t.abandoned = slices.DeleteFunc(t.abandoned, func(name string) bool { return slices.Contains(routes, name) }) // they are wanted again
		if r, was := t.refused[key]; was {                                                                            // it has not been taken since
			r.last = now
			t.refused[key] = r
		}
	}
}

// inOrder notes that the edges have an app's routes as its state asks.
func (t *tableSeen) inOrder(key Key) {
	t.abandoned = append(t.abandoned, t.waiting[key].routes...)
	delete(t.refused, key)
	delete(t.waiting, key)
}

// abandon tells the backend which routes it need not prepare nodes for any more: their apps went back to what they had. While it is
// under way no table is applied, which could want the same nodes again.
func (o *Orchestrator) abandon(ctx context.Context) {
	t := &o.world.table
	routes := t.abandoned
	t.abandoned = nil
	b, can := o.opts.Router.(router.Abandoner)
	if !can || len(routes) == 0 {
		return
	}
	t.applying = true
	go func() {
		ctx, cancel := context.WithTimeout(ctx, applyTimeout)
		defer cancel()
		err := b.Abandon(ctx, routes)
		o.post(func() {
			t.applying = false
			if err != nil {
				o.complain("take back nodes that a load balancer was to find healthy", err)
			}
		})
	}()
}

// dropped forgets the table that was being applied: it is not in effect. The one of before may be, when its answer was late: that is read.
func (t *tableSeen) dropped(now time.Time) {
	t.pending = nil
	if t.late != nil {
		t.known = false
	}
	t.index(now)
}

// delayed notes why a table is not known to be at every edge. Each try has another version: that alone is no news, and states say why
// they wait.
func (t *tableSeen) delayed(version router.Version, err error) {
	why := strings.ReplaceAll(err.Error(), version.String(), "")
	if t.late == nil || why != t.lateWhy {
		t.late, t.lateWhy = err, why
	}
}

// look asks for a reading of the edges now.
func (o *Orchestrator) look() {
	select {
	case o.lookNow <- struct{}{}:
	default:
	}
}
