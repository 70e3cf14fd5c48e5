package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/bootandshoot/release/fleet"
)

// Some engines show nodes as a group of their own (fleet.Grouped). They replace nothing: what they are told here is for the people and
// alarms that look at the group, and so it is no action: nothing waits for it, and after a start of the agent it is told again.

// groupWithin bounds one word to an engine.
const groupWithin = 30 * time.Second

// toldGroup is what an engine was told of a node last.
type toldGroup struct {
	state NodeState // "" when that failed
	tries int
	again time.Time // not before
}

// syncGroups tells engines what became of the nodes in their groups.
func (o *Orchestrator) syncGroups(ctx context.Context) {
	if len(o.world.grouped) == 0 {
		return
	}
	for _, a := range o.apps {
		for _, fl := range a.state.holders() {
			if !o.world.grouped[fl.Driver] {
				continue
			}
			for _, n := range fl.Nodes {
				o.tellGroup(ctx, fl, n)
			}
		}
	}
}

// tellGroup tells an engine what a node is now, aside, unless it knows.
func (o *Orchestrator) tellGroup(ctx context.Context, fl *Fleet, n *Node) {
	switch n.State {
	case NodeHealthy, NodeUnhealthy, NodeQuarantined:
	default:
		return
	}
	key := "group " + n.Name
	last := o.world.told[n.Name]
	if last.state == n.State || o.world.running[key] || o.opts.Now().Before(last.again) {
		return
	}
	o.world.running[key] = true
	id, state, driver := fleet.NodeID{Fleet: fl.ID, Node: n.Name}, n.State, fl.Driver
	go func() {
		ctx, cancel := context.WithTimeout(ctx, groupWithin)
		defer cancel()
		err := o.groupWord(ctx, driver, id, state)
		o.post(func() {
			delete(o.world.running, key)
			told := toldGroup{state: state}
			if err != nil {
				if !errors.Is(err, fleet.ErrNoNode) { // it may not be in the group yet
					o.complain("tell the group of "+id.Node, err)
				}
				told = toldGroup{tries: last.tries + 1, again: o.opts.Now().Add(retryAfter(last.tries + 1))}
			}
			o.world.told[id.Node] = told
		})
	}()
}

func (o *Orchestrator) groupWord(ctx context.Context, driver string, id fleet.NodeID, state NodeState) error {
	d, err := o.opts.Drivers.Driver(driver)
	if err != nil {
		return err
	}
	group, ok := d.(fleet.Grouped)
	switch {
	case !ok:
		return nil
	case state == NodeQuarantined:
		return group.Quarantine(ctx, id)
	}
	return group.ReportHealth(ctx, id, state == NodeHealthy)
}
