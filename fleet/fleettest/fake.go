package fleettest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/pause"
)

// Method names a call of the contract, for Fake's faults and records.
type Method string

// The methods of fleet.Driver.
const (
	Prepare Method = "Prepare"
	Ensure  Method = "Ensure"
	Remove  Method = "Remove"
	Nodes   Method = "Nodes"
	Destroy Method = "Destroy"
	Fleets  Method = "Fleets"

	Volumes      Method = "Volumes"
	RemoveVolume Method = "RemoveVolume"
)

// Drift names fleet.Drifter's method, for Fake's faults; its calls are not recorded.
const Drift Method = "Drift"

// Call is one call that a Fake got.
type Call struct {
	Method Method
	Fleet  fleet.FleetID // zero for Fleets
	Names  []string      // of the nodes meant: all of Ensure's, the one of Remove
	Grace  time.Duration // of Remove
}

// FakeOptions says how a Fake behaves. The zero value is fine.
type FakeOptions struct {
	Installation string           // default "test"
	Host         string           // default "host-1"
	Now          func() time.Time // default time.Now
	// Serve gives each node a real listener on 127.0.0.1 that answers like testnode. Without it addresses are
	// made up from the slot (10.0.x.y:port) and nothing is opened, as tests in virtual time need it.
	Serve bool
	// PrepareFor is how long Prepare takes, and says how far it is.
	PrepareFor time.Duration
	// Tails takes the output of nodes that are removed; nil: nobody.
	Tails fleet.Tails
	// Images, when not nil, are the digests that exist; any other fails in Prepare and Ensure.
	Images []string
}

// Fake is a fleet driver in memory. It keeps the contract unless told to break it; safe for concurrent use, and no
// lock is held while a call waits.
type Fake struct {
	*engine
	opts FakeOptions
}

// engine is what outlives a driver: the nodes, and the faults that tests planted.
type engine struct {
	mu       sync.Mutex
	nodes    map[string]*fakeNode
	calls    []Call
	fail     map[Method]error
	failNode map[string]error
	hang     map[Method]chan struct{}
	hook     func(ctx context.Context, c Call) error
	watchers map[chan fleet.FleetID]struct{}
	nextPID  int
	prepared map[string]int
	booted   map[string]int
	volumes  map[fleet.VolumeID]*fakeVolume
	refused  []string // nodes that were to have a volume which another one has
}

type fakeNode struct {
	fleet.Node
	installation string
	spec         fleet.Spec
	stubborn     bool
	files        map[string]string // what the node's server wrote
	drift        []fleet.Change
	log          []logLine
	changed      chan struct{} // closed and replaced at each change
	server       *fakeServer
}

// NewFake returns a fake with no nodes.
func NewFake(opts FakeOptions) *Fake {
	opts.Installation = cmp.Or(opts.Installation, "test")
	opts.Host = cmp.Or(opts.Host, "host-1")
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Fake{opts: opts, engine: &engine{
		nodes: map[string]*fakeNode{}, fail: map[Method]error{}, failNode: map[string]error{},
		hang: map[Method]chan struct{}{}, watchers: map[chan fleet.FleetID]struct{}{}, nextPID: 1000,
		prepared: map[string]int{}, booted: map[string]int{}, volumes: map[fleet.VolumeID]*fakeVolume{},
	}}
}

// Reopen returns another driver on the same nodes, as an agent has it after a restart. An installation other than
// "" makes it the driver of that installation.
func (f *Fake) Reopen(installation string) *Fake {
	opts := f.opts
	opts.Installation = cmp.Or(installation, opts.Installation)
	return &Fake{opts: opts, engine: f.engine}
}

var (
	_ fleet.Driver           = (*Fake)(nil)
	_ fleet.Watcher          = (*Fake)(nil)
	_ fleet.Logger           = (*Fake)(nil)
	_ fleet.Execer           = (*Fake)(nil)
	_ fleet.Drifter          = (*Fake)(nil)
	_ fleet.ProgressPreparer = (*Fake)(nil)
	_ fleet.VolumeKeeper     = (*Fake)(nil)
)

// enter records a call and applies the faults planted for it.
func (f *Fake) enter(ctx context.Context, c Call) error {
	f.mu.Lock()
	f.calls = append(f.calls, c)
	err, hang, hook := f.fail[c.Method], f.hang[c.Method], f.hook
	f.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return fmt.Errorf("fake %s: %w", c.Method, ctx.Err())
		}
	}
	if hook != nil {
		if err := hook(ctx, c); err != nil {
			return fmt.Errorf("fake %s: %w", c.Method, err)
		}
	}
	if err != nil {
		return fmt.Errorf("fake %s: %w", c.Method, err)
	}
	return ctx.Err()
}

// Prepare checks that the image exists.
func (f *Fake) Prepare(ctx context.Context, spec fleet.Spec) error {
	return f.PrepareReporting(ctx, spec, nil)
}

// PrepareReporting is Prepare that reports each hundredth of the time it takes.
func (f *Fake) PrepareReporting(ctx context.Context, spec fleet.Spec, report func(fleet.Progress)) error {
	if err := f.enter(ctx, Call{Method: Prepare, Fleet: spec.Fleet}); err != nil {
		return err
	}
	if err := f.haveImage(spec.Image); err != nil {
		return err
	}
	for done := int64(1); f.opts.PrepareFor > 0 && done <= 100; done++ {
		if err := pause.For(ctx, f.opts.PrepareFor/100); err != nil {
			return fmt.Errorf("fake: prepare image: %w", err)
		}
		if report != nil {
			report(fleet.Progress{Doing: "unpacking", Done: done, Total: 100})
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prepared[spec.Image]++
	return nil
}

func (f *Fake) haveImage(digest string) error {
	if f.opts.Images != nil && !slices.Contains(f.opts.Images, digest) {
		return fmt.Errorf("fake: image %s: not found", digest)
	}
	return nil
}

// Ensure makes the nodes exist.
func (f *Fake) Ensure(ctx context.Context, spec fleet.Spec) ([]fleet.Node, error) {
	call := Call{Method: Ensure, Fleet: spec.Fleet}
	for _, n := range spec.Nodes {
		call.Names = append(call.Names, n.Name)
	}
	if err := f.enter(ctx, call); err != nil {
		return nil, err
	}
	var nodes []fleet.Node
	var errs []error
	for _, want := range spec.Nodes {
		n, err := f.ensure(spec, want)
		if err != nil {
			errs = append(errs, fmt.Errorf("boot node %s: %w", want.Name, err))
			continue
		}
		nodes = append(nodes, n)
	}
	return nodes, errors.Join(errs...)
}

func (f *Fake) ensure(spec fleet.Spec, want fleet.NodeSpec) (fleet.Node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, ok := f.nodes[want.Name]; ok {
		return n.view(), nil
	}
	if err := f.failNode[want.Name]; err != nil {
		return fleet.Node{}, err
	}
	if err := f.haveImage(spec.Image); err != nil {
		return fleet.Node{}, err
	}
	if err := f.giveVolumes(spec); err != nil {
		return fleet.Node{}, err
	}
	n, err := f.boot(spec, want)
	if err != nil {
		return fleet.Node{}, err
	}
	f.nodes[want.Name] = n
	f.booted[want.Name]++
	f.notify(spec.Fleet)
	return n.view(), nil
}

// maxFakeSlot is the last slot that an address can be made of.
const maxFakeSlot = 60_000

func (f *Fake) boot(spec fleet.Spec, want fleet.NodeSpec) (*fakeNode, error) {
	if want.Slot < 0 || want.Slot > maxFakeSlot {
		return nil, fmt.Errorf("slot %d has no address", want.Slot)
	}
	f.nextPID++
	n := &fakeNode{installation: f.opts.Installation, spec: spec, files: map[string]string{}, changed: make(chan struct{}), Node: fleet.Node{
		ID: fleet.NodeID{Fleet: spec.Fleet, Node: want.Name}, Slot: want.Slot, Host: f.opts.Host, PID: f.nextPID,
		Image: spec.Image, Presence: fleet.Present, Since: f.opts.Now(),
	}}
	if len(spec.Command) > 0 {
		f.runCommand(n)
		return n, nil
	}
	if spec.Port == 0 {
		return n, nil
	}
	n.Address = fmt.Sprintf("10.0.%d.%d:%d", want.Slot/250, 2+want.Slot%250, spec.Port)
	if f.opts.Serve {
		return n, f.serve(n)
	}
	return n, nil
}

// Remove ends a node. A stubborn one takes the whole grace.
func (f *Fake) Remove(ctx context.Context, id fleet.NodeID, grace time.Duration) error {
	if err := f.enter(ctx, Call{Method: Remove, Fleet: id.Fleet, Names: []string{id.Node}, Grace: grace}); err != nil {
		return err
	}
	if n := f.stopNode(id); n != nil {
		f.awaitEnd(ctx, n, grace)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, ok := f.nodes[id.Node]; ok && n.installation == f.opts.Installation {
		f.drop(id.Node)
	}
	return nil
}

// stopNode sends the stop signal; it returns the node if that does not end it.
func (f *Fake) stopNode(id fleet.NodeID) *fakeNode {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.nodes[id.Node]
	if !ok || n.Presence == fleet.Gone || n.installation != f.opts.Installation {
		return nil
	}
	n.write(f.opts.Now(), "out", "stopping")
	if n.stubborn {
		return n
	}
	f.end(n, fleet.Exit{Code: 0})
	return nil
}

func (f *Fake) awaitEnd(ctx context.Context, n *fakeNode, grace time.Duration) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for {
		f.mu.Lock()
		gone, changed := n.Presence == fleet.Gone, n.changed
		f.mu.Unlock()
		if gone {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// drop forgets a node; the lock is held.
func (f *Fake) drop(name string) {
	n, ok := f.nodes[name]
	if !ok {
		return
	}
	if n.Presence != fleet.Gone {
		f.end(n, fleet.Exit{Code: 137, Signal: "KILL"})
	}
	if f.opts.Tails != nil {
		var text strings.Builder
		for _, l := range n.log {
			text.WriteString(l.String())
		}
		_ = f.opts.Tails.Keep(n.ID, n.spec.Kind, strings.NewReader(text.String()))
	}
	delete(f.nodes, name)
	f.notify(n.ID.Fleet)
}

// Nodes lists a fleet's nodes by name.
func (f *Fake) Nodes(ctx context.Context, id fleet.FleetID) ([]fleet.Node, error) {
	if err := f.enter(ctx, Call{Method: Nodes, Fleet: id}); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var nodes []fleet.Node
	for _, n := range f.nodes {
		if n.ID.Fleet == id && n.installation == f.opts.Installation {
			nodes = append(nodes, n.view())
		}
	}
	slices.SortFunc(nodes, func(a, b fleet.Node) int { return cmp.Compare(a.ID.Node, b.ID.Node) })
	return nodes, nil
}

// Destroy removes all nodes of a fleet.
func (f *Fake) Destroy(ctx context.Context, id fleet.FleetID) error {
	if err := f.enter(ctx, Call{Method: Destroy, Fleet: id}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, n := range f.nodes {
		if n.ID.Fleet == id && n.installation == f.opts.Installation {
			f.drop(name)
		}
	}
	return nil
}

// Fleets lists the fleets of this driver's installation.
func (f *Fake) Fleets(ctx context.Context) ([]fleet.Fleet, error) {
	if err := f.enter(ctx, Call{Method: Fleets}); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := map[fleet.FleetID]int{}
	for _, n := range f.nodes {
		if n.installation == f.opts.Installation {
			counts[n.ID.Fleet]++
		}
	}
	var fleets []fleet.Fleet
	for id, n := range counts {
		fleets = append(fleets, fleet.Fleet{ID: id, Nodes: n})
	}
	slices.SortFunc(fleets, func(a, b fleet.Fleet) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return fleets, nil
}

// Inward says that nodes share the machine's network.
func (f *Fake) Inward(context.Context) (string, error) { return "127.0.0.1", nil }

// Watch sends hints.
func (f *Fake) Watch(ctx context.Context) (<-chan fleet.FleetID, error) {
	in := make(chan fleet.FleetID, 256)
	f.mu.Lock()
	f.watchers[in] = struct{}{}
	f.mu.Unlock()
	out := make(chan fleet.FleetID)
	go func() {
		defer close(out)
		defer func() {
			f.mu.Lock()
			delete(f.watchers, in)
			f.mu.Unlock()
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case id := <-in:
				select {
				case out <- id:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out, nil
}

// notify sends a hint to every watcher; one that does not read loses it. The lock is held.
func (f *Fake) notify(id fleet.FleetID) {
	for w := range f.watchers {
		select {
		case w <- id:
		default:
		}
	}
}
