package fleettest

import (
	"context"
	"maps"
	"slices"

	"github.com/bootandshoot/release/fleet"
)

// This file is what tests do to a Fake behind the orchestrator's back.

// Kill ends a node by itself: it crashed, or a job is done. An unknown name does nothing.
func (f *Fake) Kill(node string, exit fleet.Exit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, ok := f.nodes[node]; ok && n.Presence != fleet.Gone {
		f.end(n, exit)
	}
}

// end marks a node as gone; the lock is held.
func (f *Fake) end(n *fakeNode, exit fleet.Exit) {
	if exit.At.IsZero() {
		exit.At = f.opts.Now()
	}
	n.Presence, n.Exit, n.PID = fleet.Gone, &exit, 0
	n.server.close()
	n.touch()
	f.notify(n.ID.Fleet)
}

// Forget makes a node vanish without a trace, as when a person removed it with the engine's own tools.
func (f *Fake) Forget(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(node)
}

// Reboot restarts the host: every node is gone and nothing is known of how it ended.
func (f *Fake) Reboot() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.nodes {
		if n.Presence != fleet.Gone {
			f.end(n, fleet.Exit{})
			n.Exit = nil
		}
	}
}

// SetPresence makes the driver say p of a node that runs; Present undoes Unknown.
func (f *Fake) SetPresence(node string, p fleet.Presence) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, ok := f.nodes[node]; ok {
		n.Presence = p
		n.touch()
		f.notify(n.ID.Fleet)
	}
}

// SetAddress makes a node reachable elsewhere, such as at a server of the test.
func (f *Fake) SetAddress(node, address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, ok := f.nodes[node]; ok {
		n.Address = address
		f.notify(n.ID.Fleet)
	}
}

// SetStubborn makes a node ignore the stop signal, so that Remove takes the whole grace.
func (f *Fake) SetStubborn(node string, stubborn bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, ok := f.nodes[node]; ok {
		n.stubborn = stubborn
	}
}

// Fail makes every call of a method fail with err, until nil is given.
func (f *Fake) Fail(m Method, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[m] = err
}

// FailAll makes every method fail with err, e.g. fleet.ErrUnavailable, until nil is given.
func (f *Fake) FailAll(err error) {
	for _, m := range []Method{Prepare, Ensure, Remove, Nodes, Destroy, Fleets, Drift} {
		f.Fail(m, err)
	}
}

// FailNode makes Ensure fail for the node of that name, until nil is given; others of the same call are booted.
func (f *Fake) FailNode(node string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failNode[node] = err
}

// Hang makes every call of a method wait until its ctx ends or release is called.
func (f *Fake) Hang(m Method) (release func()) {
	ch := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hang[m] = ch
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.hang[m] == ch {
			delete(f.hang, m)
			close(ch)
		}
	}
}

// OnCall sets a function that every call runs through first, without a lock held; its error is the call's.
func (f *Fake) OnCall(hook func(ctx context.Context, c Call) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// Calls are all calls so far, in order.
func (f *Fake) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// All are all nodes of all installations, by name, as they are: without faults and without being recorded.
func (f *Fake) All() []fleet.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var nodes []fleet.Node
	for _, name := range slices.Sorted(maps.Keys(f.nodes)) {
		nodes = append(nodes, f.nodes[name].view())
	}
	return nodes
}

// Boots is how often a node of that name was booted, those removed since included.
func (f *Fake) Boots(node string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.booted[node]
}

// SpecOf is the spec that a node was booted from; false when there is no such node.
func (f *Fake) SpecOf(node string) (fleet.Spec, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.nodes[node]
	if !ok {
		return fleet.Spec{}, false
	}
	return n.spec, true
}

// Log adds a line to a node's output.
func (f *Fake) Log(node, stream, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, ok := f.nodes[node]; ok {
		n.write(f.opts.Now(), stream, text)
	}
}

func (n *fakeNode) view() fleet.Node {
	v := n.Node
	if n.Exit != nil {
		exit := *n.Exit
		v.Exit = &exit
	}
	return v
}

// touch wakes who waits for a change of the node; the lock is held.
func (n *fakeNode) touch() {
	close(n.changed)
	n.changed = make(chan struct{})
}
