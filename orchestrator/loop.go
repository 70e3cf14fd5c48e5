package orchestrator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootandshoot/release/healthcheck"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator/metrics"
	"github.com/bootandshoot/release/store"
)

const (
	tick     = 100 * time.Millisecond // rounds at least so often while something is under way
	idleTick = time.Second            // and when all is at rest
	// leaseTTL is Consul's shortest: a leader that died is replaced after up to three times as long.
	leaseTTL = 10 * time.Second
	lease    = "leader"
	// defaultBoots is how many nodes are booted at the same time: enough to fill an engine's wait for its disk.
	defaultBoots = 16
	// maxRounds bounds how often one app's state may change without time passing: more is a defect, and waits a tick.
	maxRounds = 20
	// mostDrained is how much of what has come is taken in before the next round: thousands of nodes that fail at once say so
	// at once, and nobody's question is to wait for a round for every few of them.
	mostDrained = 4096
	// mostWritten is how many states are written before what else has come is looked at: a store needs some milliseconds for each.
	mostWritten = 32
)

// Orchestrator is one agent's mind. Everything it knows is touched by one goroutine, the loop in Run; others hand it
// functions and read what it publishes.
type Orchestrator struct {
	opts     Options
	log      *slog.Logger
	prober   *healthcheck.Prober
	epoch    uint64
	fence    store.Write // the condition that this agent still leads
	secret   []byte      // of sticky cookies
	inbox    chan func()
	ready    chan struct{}           // closed when the states are loaded
	over     chan struct{}           // closed when the loop has ended
	lookNow  chan struct{}           // asks for a reading of the edges
	observed atomic.Pointer[Reading] // the newest one
	boots    chan struct{}           // holds a token for each boot under way
	looks    *looker                 // at what differs in nodes

	began    time.Time
	shooting atomic.Bool // fleets that no record knows are to be shot soon

	world world // the loop's own

	mu      sync.RWMutex // guards what follows; never held across a wait
	apps    map[Key]*app
	views   map[Key]view
	found   []Found
	queue   map[Key][]*Waiting
	changed chan struct{}
}

// New returns an orchestrator that does nothing before Run.
func New(opts Options) (*Orchestrator, error) {
	if opts.Store == nil || opts.Drivers == nil || opts.Router == nil || opts.Images == nil || opts.Installation == "" || opts.Slots < 1 {
		return nil, errors.New("new orchestrator: store, drivers, router, images, slots and installation are needed")
	}
	if opts.Boots == 0 {
		opts.Boots = defaultBoots
	}
	if opts.Quarantine == 0 {
		opts.Quarantine = defaultQuarantine
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Leads == nil {
		opts.Leads = func(uint64) {}
	}
	if opts.Secret == nil {
		opts.Secret = ReadSecret
	}
	if opts.Metrics == nil {
		opts.Metrics = metrics.Ask
	}
	o := &Orchestrator{
		opts: opts, log: opts.Log, prober: healthcheck.NewProber(healthcheck.Options{Log: opts.Log, Check: opts.Check}),
		inbox: make(chan func(), 64), ready: make(chan struct{}), over: make(chan struct{}),
		lookNow: make(chan struct{}, 1), boots: make(chan struct{}, opts.Boots), looks: newLooker(), apps: map[Key]*app{}, views: map[Key]view{}, queue: map[Key][]*Waiting{},
		changed: make(chan struct{}),
	}
	o.world = newWorld()
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(opts.Installation))    // never fails
	o.world.cursor = int(hash.Sum32()) % opts.Slots // two installations on one machine begin at different ports
	return o, nil
}

// Run waits for its turn and leads, once, until ctx ends (nil) or leadership is lost (store.ErrLeaseLost, store.ErrConflict).
// Nodes and router go on. With a shared store it fails when this agent must not lead: fault.Unsupported, fault.Unavailable.
func (o *Orchestrator) Run(ctx context.Context) error {
	defer o.finish()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := o.mayLead(ctx); err != nil {
		return fmt.Errorf("lead installation %s: %w", o.opts.Installation, err)
	}
	l, err := o.opts.Store.Acquire(ctx, lease, o.opts.Holder, leaseTTL)
	if err != nil {
		return fmt.Errorf("lead installation %s: %w", o.opts.Installation, err)
	}
	defer func() { _ = l.Release(context.WithoutCancel(ctx)) }()
	o.epoch, o.began, o.world.table.epoch = l.Epoch(), o.opts.Now(), l.Epoch()
	o.opts.Leads(o.epoch)
	if err := o.takeOver(ctx); err != nil {
		return fmt.Errorf("lead installation %s: %w", o.opts.Installation, err)
	}
	if err := o.load(ctx); err != nil {
		return fmt.Errorf("lead installation %s: %w", o.opts.Installation, err)
	}
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel(nil)
	defer o.finish()
	group.Go(func() { // what is under way ends at once, also while the loop waits for the store
		select {
		case <-l.Lost():
			cancel(store.ErrLeaseLost)
		case <-ctx.Done():
		}
	})
	group.Go(func() { o.prober.Run(ctx) })
	o.adopt(ctx)
	o.observeRouter(ctx) // what was counted so far is no operation's of ours
	if o.opts.Lost {
		o.findLost(ctx)
	}
	group.Go(func() { o.watchDrivers(ctx) })
	group.Go(func() { o.watchRouter(ctx) })
	group.Go(func() { o.watchDrift(ctx) })
	group.Go(func() { o.watchHistory(ctx) })
	o.show(o.Keys(), true) // the first to ask sees the routes too
	close(o.ready)
	return o.loop(ctx)
}

// finish says that the loop has ended, to those who wait for an answer or a change.
func (o *Orchestrator) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.over:
	default:
		close(o.over)
		o.announce()
	}
}

func (o *Orchestrator) loop(ctx context.Context) error {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	for {
		if err := o.rounds(ctx); err != nil {
			return err
		}
		timer.Reset(o.pace())
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), store.ErrLeaseLost) {
				return fmt.Errorf("lead installation %s: %w", o.opts.Installation, store.ErrLeaseLost)
			}
			return nil
		case <-timer.C:
		case <-o.prober.Changes():
		case f := <-o.inbox:
			f()
		}
		o.drainInbox()
	}
}

// pace is how long the loop may sleep when nothing wakes it.
func (o *Orchestrator) pace() time.Duration {
	if o.world.postponed {
		return 0
	}
	if o.world.table.pending != nil || len(o.world.table.refused)+len(o.world.unsure) > 0 {
		return tick
	}
	for _, a := range o.apps {
		if !a.state.atRest() {
			return tick
		}
	}
	return idleTick
}

// drainInbox takes what else has come meanwhile, so that one round sees it all.
func (o *Orchestrator) drainInbox() {
	for range mostDrained {
		select {
		case f := <-o.inbox:
			f()
		default:
			return
		}
	}
}

// post hands the loop a function; it is dropped when the loop has ended.
func (o *Orchestrator) post(f func()) {
	select {
	case o.inbox <- f:
	case <-o.over:
	}
}

// call runs f in the loop and waits for it.
func (o *Orchestrator) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case o.inbox <- func() { f(); close(done) }:
	case <-o.over:
		return errStopped()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-o.over:
		return errStopped()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func errStopped() error {
	return fault.New(fault.Unavailable, "the agent is stopping, or does not lead any more").WithHint("ask again: release agent status")
}

// rounds decides for every app, then brings the router up to date. Only the loss of leadership is an error.
func (o *Orchestrator) rounds(ctx context.Context) error {
	o.touchJudged()
	o.makeSure(ctx)
	var due []func()
	keys, whole := o.due(o.opts.Now())
	written := o.world.written
	for i, key := range keys {
		if o.world.written-written >= mostWritten {
			o.later(keys[i:])
			keys = keys[:i]
			break
		}
		if o.world.unsure[key] {
			continue
		}
		s, actions, err := o.decide(ctx, o.apps[key])
		o.setStuck(o.apps[key], err)
		if err != nil {
			if lost := conflictOnly(err); lost != nil {
				return lost
			}
			if ctx.Err() != nil {
				return nil
			}
			o.complain("decide "+key.String(), err)
		}
		for _, act := range actions {
			due = append(due, func() { o.start(ctx, s, act) })
		}
	}
	o.endHooks()
	o.syncPins(ctx) // an image is pinned before it is prepared and booted from
	for _, start := range due {
		start()
	}
	if err := o.syncTable(ctx); err != nil {
		return err
	}
	o.syncListings(ctx)
	o.syncTails()
	o.syncTargets()
	if whole {
		o.tidy()
	}
	o.show(keys, whole)
	return nil
}

// decide runs rounds for one app until nothing changes, and gives the state and the actions of the last.
func (o *Orchestrator) decide(ctx context.Context, a *app) (*State, []Action, error) {
	for range maxRounds {
		s, actions, events, history := o.next(a)
		changed, err := o.commit(ctx, a, s, events, history)
		if err != nil {
			return nil, nil, err
		}
		if !changed {
			return s, actions, nil
		}
	}
	return nil, nil, nil
}

func (o *Orchestrator) next(a *app) (*State, []Action, []Event, records) {
	now := o.opts.Now()
	f := o.facts(a.state, now)
	if !a.round.IsZero() {
		f.Elapsed = now.Sub(a.round)
	}
	a.round = now
	return next(a.state, f)
}

// mint draws a name's suffix and a free slot.
func (o *Orchestrator) mint() (string, int) {
	suffix, err := randomName(o.opts.Rand, 5)
	if err != nil {
		panic("orchestrator: the random source failed: " + err.Error()) // crypto/rand never does
	}
	return suffix, o.slot()
}

// Submit begins an operation, or attaches to the same one under way. Errors: fault.Busy when another is under way,
// fault.NotFound for releases and nodes that are not there, what the driver or the image says. A request that waits is only refused
// by what does not go over.
func (o *Orchestrator) Submit(ctx context.Context, req Request) (Operation, error) {
	if err := o.waitReady(ctx); err != nil {
		return Operation{}, err
	}
	if req.Wait {
		return o.inTurn(ctx, req)
	}
	return o.submit(ctx, req)
}

func (o *Orchestrator) submit(ctx context.Context, req Request) (Operation, error) {
	ask, err := o.ask(ctx, req)
	if err != nil {
		return Operation{}, err
	}
	var op Operation
	var failed error
	err = o.call(ctx, func() {
		if failed = ctx.Err(); failed != nil {
			return // who asked has gone
		}
		a := o.app(req.Key)
		s, begun, events, err := begin(a.state, o.facts(a.state, o.opts.Now()), ask)
		if err == nil {
			op = *begun
		}
		if err == nil && op.ID != "" {
			_, err = o.commit(ctx, a, s, events, records{})
		}
		failed = err
	})
	if err != nil {
		return Operation{}, err // it may still run: what it writes must not be read
	}
	return op, failed
}

func (o *Orchestrator) waitReady(ctx context.Context) error {
	select {
	case <-o.over:
		return errStopped()
	default:
	}
	select {
	case <-o.ready:
		return nil
	case <-o.over:
		return errStopped()
	case <-ctx.Done():
		return fault.New(fault.Unavailable, "the agent is still starting: %w", ctx.Err())
	}
}

// app is the app of that key. One that is new is known only once something of it is published. For the loop only.
func (o *Orchestrator) app(key Key) *app {
	if a := o.apps[key]; a != nil {
		return a
	}
	return &app{state: &State{Schema: schema, Key: key}}
}

// Steer does what a word to an app says, and gives what the journal got of it. Errors: fault.NotFound when there is nothing to
// steer, fault.Denied when the caller may not approve, fault.NeedsPerson when an abort without Force would undo what cannot be
// undone, fault.Busy for a destroy, fault.Invalid for no such word.
func (o *Orchestrator) Steer(ctx context.Context, key Key, w Word) ([]string, error) {
	var done []string
	err := o.change(ctx, key, w.DryRun, func(r *round) error {
		err := r.steer(w)
		for _, e := range r.events {
			done = append(done, e.Message)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// change does something to an app's state in the loop, and commits it unless it is only tried.
func (o *Orchestrator) change(ctx context.Context, key Key, try bool, f func(*round) error) error {
	if err := o.waitReady(ctx); err != nil {
		return err
	}
	var failed error
	err := o.call(ctx, func() {
		a := o.app(key)
		r := &round{s: a.state.clone(), f: o.facts(a.state, o.opts.Now())}
		if failed = f(r); failed == nil && !try {
			_, failed = o.commit(ctx, a, r.s, r.events, r.records)
		}
	})
	if err != nil {
		return err // it may still run: what it writes must not be read
	}
	return failed
}
