package orchestrator

import (
	"reflect"
	"slices"
	"time"

	"github.com/bootandshoot/release/router"
)

// Which apps a round is for. Each app is decided for at least every idleTick, whatever was heard, so that nothing depends on
// having seen an event. In between only those have a round that are not quiet, or of which something was heard: an agent with
// many apps at rest is woken by the one that is not.

// touch says that something was heard of an app: it has a round soon.
func (o *Orchestrator) touch(key Key) {
	if a := o.apps[key]; a != nil {
		a.touched = true
	}
}

// staleOf says that who of an app is to be probed, and which slots it has, may have changed.
func (o *Orchestrator) staleOf(key Key) {
	o.world.unleased, o.world.untidy = true, true
	if a := o.apps[key]; a != nil {
		a.stale = true
	}
}

// touchAll is touch for all apps.
func (o *Orchestrator) touchAll() {
	for _, a := range o.apps {
		a.touched = true
	}
	o.world.moved = true
}

func (o *Orchestrator) touchKeys(keys []Key) {
	for _, key := range keys {
		o.touch(key)
	}
}

// due are the apps that have a round now, those first that were left over, and whether that is all of them because their time has come.
func (o *Orchestrator) due(now time.Time) (keys []Key, whole bool) {
	whole = now.Sub(o.world.whole) >= idleTick || now.Before(o.world.whole)
	if whole {
		o.world.whole, o.world.moved = now, true
	}
	for _, key := range o.Keys() {
		if a := o.apps[key]; whole || a.touched || !a.state.quiet() {
			a.touched = false
			keys = append(keys, key)
		}
	}
	at, _ := slices.BinarySearchFunc(keys, o.world.next, Key.compare)
	o.world.postponed = false
	return slices.Concat(keys[at:], keys[:at]), whole
}

// later leaves apps to the next round, which begins with them: so none is always the last.
func (o *Orchestrator) later(keys []Key) {
	o.touchKeys(keys)
	o.world.next, o.world.postponed = keys[0], true
}

// quiet says whether nothing but what somebody does, or a long timer, can change the state: no reading of the edges does.
func (s *State) quiet() bool {
	for _, fl := range s.Fleets {
		if fl.State == FleetDraining || fl.State == FleetShooting {
			return false
		}
	}
	return s.atRest()
}

// unchanged says whether nothing at all differs between two states. It may take equal ones for different.
func unchanged(a, b *State) bool { return reflect.DeepEqual(a, b) }

// routing is what was found when an app's routes were compared with those at the edges.
type routing struct {
	written uint64         // the app's state
	table   router.Version // the table
	same    bool
}

// routedAsAsked says whether the edges have all routes as the states ask, and nothing else of ours. It compares only what has
// changed since it did so last.
func (o *Orchestrator) routedAsAsked() bool {
	t := &o.world.table
	same := true
	for key, a := range o.apps {
		now := routing{written: a.written, table: t.effective.Version, same: true}
		if a.routing != now {
			now.same = o.routed(key, a.state)
			a.routing = now
		}
		if a.routing.same {
			t.inOrder(key)
		}
		same = same && a.routing.same
	}
	return same
}

// routed says whether the edges have one app's routes as its state asks.
func (o *Orchestrator) routed(key Key, s *State) bool {
	t := &o.world.table
	return sameRoutes(t.own[key], s.routes(stickyKey(o.secret, key))) && slices.Equal(closingOf(t.effective.Closing, key), s.closing()) &&
		tellsFailed(failedOf(t.effective.Failed, key), s.failed())
}
