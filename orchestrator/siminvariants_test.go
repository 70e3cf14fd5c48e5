package orchestrator

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/store"
)

// What must hold always, checked at each step of a simulation against what is true, whatever the agents believe. The numbers are
// those of the project's promises.
const (
	inv1Drift       = "1: only what differs from its image is replaced for it"
	inv3Routed      = "3: nothing is shot that a table names"
	inv3Connections = "3: connections end before their node is shot"
	inv3Early       = "3: long connections have their time"
	inv3Left        = "3: who failed is out of the table"
	inv3Served      = "3: a route with a healthy node keeps one"
	inv3Gated       = "3: only nodes that answered well get requests"
	inv3Shot        = "3: no table names a node that was shot"
	inv3Split       = "3: all the traffic goes somewhere, and all roles are split alike"
	inv4Fewer       = "4: never fewer healthy nodes than asked by our own action"
	inv4Share       = "4: no share without the nodes for it"
	inv5Journal     = "5: journalled before it is done"
	inv5Orphan      = "5: at rest what runs is what is on record"
	inv5Once        = "5: a command that may have run is never run again"
	inv6One         = "6: one operation at a time"
	inv6Fence       = "6: who does not lead any more writes nothing"
	inv6Effective   = "6: of two leaders one is effective"
	inv6GoesOn      = "6: who leads goes on"
	inv7Rest        = "7: when all is well again, all comes to rest"
	inv8Storm       = "8: storms are stopped"
	inv10Slot       = "10: an address is used again when nobody has it any more"
	inv11Unknown    = "11: unknown is not dead"
	inv12Silent     = "12: nothing is shot that a silent edge may route to"
	invDatabase     = "one database at a time"
	invSchema       = "nobody runs on a schema that is not for it"
	invEvidence     = "a step is judged by what was answered"
	invOneWay       = "past a gate only a person decides"
	invAnswers      = "what may be asked is answered"
)

// The configuration of simulated apps, as far as invariants know it.
const (
	simSize       = 3
	simDrain      = 8 * time.Second
	simLong       = 24 * time.Second // more than simDrain and decideAndSend together, so that one is not taken for the other
	simClose      = 3 * time.Second
	simKeep       = 12 * time.Second
	simSessions   = 5 * time.Second
	decideAndSend = 12 * time.Second // from a decision to the table that follows, when the router does not answer at first
)

// fenced: 6. The lock is held, here and in what follows.
func (w *simWorld) fenced(p *process, key string) {
	if p != w.leading {
		w.violate(inv6Fence, "%s wrote %s, and %s leads", p, key, w.leading)
	}
}

// goesOn: 6. Nobody ends because another agent leads when none does.
func (w *simWorld) goesOn(p *process, err error) {
	if errors.Is(err, store.ErrConflict) && p == w.leading && !p.dead {
		w.violate(inv6GoesOn, "%s leads and has ended: %v", p, err)
	}
}

// checkState compares a state that was just committed with the one before.
func (w *simWorld) checkState(before, next *journalled, running map[string]fleet.Node) {
	w.oneOperation(next)
	w.failedAreNotThere(before, next)
	w.schemaIsTrue(next)
	w.checkGates(before, next)
	for _, fl := range next.Fleets {
		was, _ := before.fleet(fl.ID)
		w.deadAreDead(was, fl, running)
		w.enoughStay(was, fl, next)
		w.enoughForShare(was, fl, next)
		w.runsOnSchema(was, fl, next)
		w.onlyWhatDiffers(was, fl, next)
	}
}

// oneOperation: 6.
func (w *simWorld) oneOperation(next *journalled) {
	var under []string
	for _, op := range next.Operations {
		w.nobody = w.nobody || op.AbortedBy != "" && op.From == ""
		if op.Kind.Exclusive() && op.Ended.IsZero() {
			under = append(under, op.ID+" "+string(op.Kind))
		}
	}
	if len(under) > 1 {
		w.violate(inv6One, "under way are %s", strings.Join(under, ", "))
	}
}

// deadAreDead: 11. What goes on record as dead does not run, also when a boot of it failed: an earlier one may have been done.
// What an engine boots long after it was asked to is nobody's by then.
func (w *simWorld) deadAreDead(was, fl *Fleet, running map[string]fleet.Node) {
	for _, n := range fl.Nodes {
		old := w.state.node(was, n.Name)
		_, runs := running[n.Name]
		if runs && n.State == NodeDead && (old == nil || old.State != NodeDead) && !w.late[short(n.Name)] {
			w.violate(inv11Unknown, "%s runs and goes on record as dead: %s", n.Name, n.Reason)
		}
	}
}

// failedAreNotThere: 11. A command whose node is on record as not booted has none that it may have run in.
func (w *simWorld) failedAreNotThere(before, next *journalled) {
	for _, t := range next.Tasks {
		if t.Phase != TaskRemoving || t.Fleet == nil || t.Failure == nil || t.Failure.Code == fault.Interrupted {
			continue
		}
		if _, was := before.fleet(t.Fleet.ID); was == nil || was.Phase == TaskRemoving {
			continue
		}
		if _, there := w.driver.SpecOf(t.Node); there && !t.Fleet.Nodes[0].Booted && !w.late[short(t.Node)] {
			w.violate(inv11Unknown, "%s is there, and %s", t.Node, t.Failure.Message)
		}
	}
}

// enoughStay: 4. Nodes that are well leave a fleet with traffic only when as many as asked for stay.
func (w *simWorld) enoughStay(was, fl *Fleet, next *journalled) {
	if was == nil || fl.Weight == 0 || fl.Accessory || fl.State == FleetShooting {
		return
	}
	for _, n := range fl.Nodes {
		old := next.node(was, n.Name)
		if old == nil || old.State != NodeHealthy || n.State != NodeDraining && n.State != NodeQuarantined {
			continue
		}
		size := next.sizeOf(fl)
		if n.State == NodeQuarantined {
			size = 1 // a person's word, which is done at once
		}
		if fl.healthy() < size {
			w.violate(inv4Fewer, "%s leaves %s (%s), and %d of %d healthy nodes stay", n.Name, fl.ID, n.Reason, fl.healthy(), size)
		}
	}
}

// enoughForShare: 4. A release gets more traffic only with the nodes for it.
func (w *simWorld) enoughForShare(was, fl *Fleet, next *journalled) {
	op := next.exclusive()
	if was == nil || fl.Weight <= was.Weight || fl.Accessory || op == nil || op.Force || op.Phase == PhaseAborting || op.Release != fl.ID.Release {
		return
	}
	if fl.ID.Role == "worker" && op.Kind == KindRollback {
		return // it follows the traffic
	}
	if need := ceilShare(next.sizeOf(fl), fl.Weight); fl.healthy() < need {
		w.violate(inv4Share, "%s gets %d %% with %d healthy nodes, %d are needed", fl.ID, fl.Weight, fl.healthy(), need)
	}
}

// checkBoot: 5, 10, and a database is alone.
func (w *simWorld) checkBoot(spec fleet.Spec, node fleet.Node, runs bool, running map[string]fleet.Node) {
	name := spec.Nodes[0].Name
	if !w.named[name] {
		w.violate(inv5Journal, "%s is booted before it is on record", name)
	}
	if spec.Kind == fleet.Once && w.booting[name] > 1 {
		w.violate(inv5Once, "%s was run %d times", name, w.booting[name])
	}
	if !runs {
		return
	}
	shares, recorded := w.shares(w.table), w.state.nodes()
	if !slices.Contains(recorded, name) {
		return // it comes late: nobody waits for it any more, and it is shot when it is seen
	}
	w.checkSchema(spec, name)
	for other, slot := range w.slots {
		lives := slices.Contains(recorded, other) // what an engine boots late is nobody's any more
		_, named := shares[other]
		if slot == spec.Nodes[0].Slot && other != name && (lives || named || w.far[other]) {
			w.violate(inv10Slot, "%s got slot %d of %s, which is on record (%v), in the table (%v) or at a silent edge (%v)", name, slot, other, lives, named, w.far[other])
		}
	}
	for other, n := range running {
		if spec.Fleet.Role == "db" && n.ID.Fleet.Role == "db" && other != name {
			w.violate(invDatabase, "%s boots beside %s", name, other)
		}
	}
}

// checkStorm: 8. A fleet boots no more nodes within a minute than what was lost or asked for explains, and some tries.
func (w *simWorld) checkStorm(id fleet.FleetID) {
	since := time.Now().Add(-time.Minute)
	count := func(times []time.Time) int {
		return len(slices.DeleteFunc(slices.Clone(times), func(t time.Time) bool { return t.Before(since) }))
	}
	boots, losses := count(w.boots[id.String()]), count(w.losses[id.String()])
	if most := 2*max(w.state.sizeOf(&Fleet{ID: id}), freeFailures) + 20 + 2*losses; boots > most {
		w.violate(inv8Storm, "%d boots of %s within a minute, %d losses", boots, id, losses)
	}
}

// checkShot: 3, 5 and 12, just before a node is shot.
func (w *simWorld) checkShot(fl *Fleet, task *journalledTask, name string, running map[string]fleet.Node) {
	if _, named := w.shares(w.table)[name]; named {
		w.violate(inv3Routed, "%s is shot while the table %s names it", name, w.table.Version)
	}
	if w.far[name] {
		w.violate(inv12Silent, "%s is shot while an edge out of sight may route to it", name)
	}
	if _, runs := running[name]; !runs {
		return
	}
	now := time.Now()
	if asked, is := w.closing[name]; w.long[name] > 0 && (!is || now.Sub(asked) < simClose) {
		w.violate(inv3Connections, "%s is shot with %d long connections", name, w.long[name])
	}
	if requests := w.flight[name] - w.long[name]; requests > 0 && now.Sub(w.left[name]) < simDrain-decideAndSend/3 {
		w.violate(inv3Connections, "%s is shot with %d requests, %s after it left the table", name, requests, now.Sub(w.left[name]))
	}
	w.reasonToShoot(fl, task, name)
}

// reasonToShoot: 5. What runs is shot only as the journal says.
func (w *simWorld) reasonToShoot(fl *Fleet, task *journalledTask, name string) {
	n := w.state.node(fl, name)
	switch {
	case n == nil: // the record of it is gone already
	case task != nil && task.Phase == TaskRemoving:
	case task == nil && (fl.State == FleetShooting || n.State == NodeDraining || n.State == NodeDead):
	case task != nil:
		w.violate(inv5Journal, "%s of %s is shot, which is %s", name, task.ID, task.Phase)
	default:
		w.violate(inv5Journal, "%s is shot, which is %s on record, in a fleet that is %s", name, n.State, fl.State)
	}
}

// checkTable compares a table that just got into effect with the one before.
func (w *simWorld) checkTable(p *process, before, table router.Table, running map[string]fleet.Node) {
	if p != w.leading && w.serves {
		w.violate(inv6Effective, "a table of %s is in effect after one of %s", p, w.leading)
	}
	was := w.shares(before)
	for _, route := range table.Routes {
		for _, fl := range route.Fleets {
			w.routable(route, fl, was)
		}
	}
	w.keepsServing(before, table, running)
	w.closesInTime(table)
	w.failedHaveLeft(table)
	w.splitAlike(before, table)
}

// routable: 3 and 5. A table has what the journal has, and nodes that were seen well.
func (w *simWorld) routable(route router.Route, fl router.Fleet, was map[string]int) {
	_, internal := roleOfRoute(route.Name)
	if !internal && !w.routed[routedText(fl)] {
		w.violate(inv5Journal, "no state on record has what the table has: %s", routedText(fl))
	}
	for _, n := range fl.Nodes {
		if w.gone[n.Name] {
			w.violate(inv3Shot, "the table has %s", n.Name)
		}
		if _, there := was[n.Name]; !there && w.good[n.Name] < 2 {
			w.violate(inv3Gated, "%s gets requests after %d good answers", n.Name, w.good[n.Name])
		}
	}
}

// keepsServing: 3. A route keeps a node with traffic as long as one is well that had some.
func (w *simWorld) keepsServing(before, table router.Table, running map[string]fleet.Node) {
	op := w.state.exclusive()
	if op != nil && op.Kind == KindDestroy {
		return
	}
	for _, route := range before.Routes {
		sound := ""
		for _, fl := range route.Fleets {
			for _, n := range fl.Nodes {
				if node, runs := running[n.Name]; runs && fl.Weight > 0 && w.soundFor(node, soundLong) && w.stays(n.Name) {
					sound = n.Name
				}
			}
		}
		i := slices.IndexFunc(table.Routes, func(r router.Route) bool { return r.Name == route.Name })
		// A fleet that stands by gets what the others cannot take.
		if sound != "" && (i < 0 || !slices.ContainsFunc(table.Routes[i].Fleets, func(fl router.Fleet) bool { return (fl.Weight > 0 || fl.Standby) && len(fl.Nodes) > 0 })) {
			w.violate(inv3Served, "%s has no node with traffic any more, and %s is well", route.Name, sound)
		}
	}
}

// stays says whether nobody has decided that a node goes.
func (w *simWorld) stays(name string) bool {
	for _, fl := range w.state.Fleets {
		if n := w.state.node(fl, name); n != nil {
			return n.live() && fl.State != FleetShooting
		}
	}
	return false
}

// closesInTime: 3. Connections are ended of nodes that are out of the table, and not before their time.
func (w *simWorld) closesInTime(table router.Table) {
	shares := w.shares(table)
	destroyed := len(w.state.Operations) > 0 && slices.ContainsFunc(w.state.Operations, func(op *journalledOp) bool { return op.Kind == KindDestroy })
	for _, c := range table.Closing {
		if _, there := shares[c.Node]; there {
			w.violate(inv3Early, "table %s has %s and closes its connections", table.Version, c.Node)
		}
		_, asked := w.closing[c.Node]
		had, ever := w.weight[c.Node]
		if since := time.Since(had); !asked && ever && !destroyed && w.long[c.Node] > 0 && since < simLong-decideAndSend {
			w.violate(inv3Early, "the long connections of %s are ended %s after it lost its traffic", c.Node, since)
		}
	}
}

// failedHaveLeft: 3. Requests are taken back from nodes that are out of the table.
func (w *simWorld) failedHaveLeft(table router.Table) {
	shares := w.shares(table)
	for _, f := range table.Failed {
		if _, there := shares[f.Node]; there {
			w.violate(inv3Left, "table %s has %s and says that it failed", table.Version, f.Node)
		}
	}
}

// splitAlike: 3. Once a release served, something does, unless a person wants nothing to; and users meet the same split in all
// roles.
func (w *simWorld) splitAlike(before, table router.Table) {
	was, split := splitOf(before), splitOf(table)
	sum := func(shares map[string]int) (sum int) {
		for _, share := range shares {
			sum += share
		}
		return sum
	}
	op := w.state.exclusive()
	switch web := split[Role]; {
	case sum(web) == 100:
		w.nobody = false
	case sum(web) == 0 && (sum(was[Role]) == 0 || w.nobody || op != nil && op.Kind == KindDestroy):
		return
	default:
		w.violate(inv3Split, "the shares are %v, after %v", web, was[Role])
	}
	if api, there := split["api"+internalMark]; there && !maps.Equal(api, split[Role]) {
		w.violate(inv3Split, "the shares of api are %v, those of web %v", api, split[Role])
	}
}

// checkHook: 5. What a hook is for is on record.
func (w *simWorld) checkHook(c hook.Command) {
	release := c.Env["RELEASE_HOOK_RELEASE"]
	if !slices.ContainsFunc(w.state.Releases, func(r *journalledRelease) bool { return r.ID == release }) {
		w.violate(inv5Journal, "a hook runs for %s, which is not on record", release)
	}
}
