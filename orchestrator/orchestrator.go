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
	"github.com/bootandshoot/release/orchestrator/metrics"
	"github.com/bootandshoot/release/store"
)

const (
	// leaseTTL is Consul's shortest: a leader that died is replaced after up to three times as long.
	leaseTTL = 10 * time.Second
	lease    = "leader"
	// defaultBoots is how many nodes are booted at the same time: enough to fill an engine's wait for its disk.
	defaultBoots = 16
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
	newHosts chan struct{}           // other hosts are on record: they are to be looked at
	observed atomic.Pointer[Reading] // the newest one
	boots    chan struct{}           // holds a token for each boot under way
	looks    *looker                 // at what differs in nodes

	began    time.Time
	shooting atomic.Bool // fleets that no record knows are to be shot soon
	back     atomic.Bool // a host came back: what was left there is to be found soon

	world world // the loop's own

	mu      sync.RWMutex // guards what follows; never held across a wait
	apps    map[Key]*app
	views   map[Key]view
	found   []Found
	queue   map[Key][]*Queued
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
		lookNow: make(chan struct{}, 1), newHosts: make(chan struct{}, 1), boots: make(chan struct{}, opts.Boots), looks: newLooker(), apps: map[Key]*app{}, views: map[Key]view{}, queue: map[Key][]*Queued{},
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
	group.Go(func() { o.watchHosts(ctx) })
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
