package healthcheck

import (
	"container/heap"
	"context"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// startPeriod is the time between two probes of a starting node: readiness is seen at once, not an interval later.
	startPeriod = 25 * time.Millisecond
	// startRate bounds the probes of all starting nodes together, a second. Above 100 of them the period grows.
	startRate = 4000
	// defaultConcurrency lets 500 nodes that all hang for the default timeout (500 ms) be asked every default
	// interval (1 s): 250 probes under way.
	defaultConcurrency = 256
)

// Options configure a Prober. All may be zero.
type Options struct {
	Log         *slog.Logger
	Concurrency int                                  // probes under way at once; 0: 256
	Check       func(context.Context, Target) Result // asks a node; nil: Check. For tests
}

// Prober probes many nodes and keeps their states. Make one with NewProber; all methods may be called from any
// goroutine.
type Prober struct {
	log     *slog.Logger
	check   func(context.Context, Target) Result
	limit   int
	epoch   time.Time // the slots of all nodes count from here
	changes chan struct{}
	wake    chan struct{}

	mu       sync.Mutex
	nodes    map[string]*node
	quick    lane // nodes that answer in good time
	slow     lane // nodes whose last answer took long: they may not use all places
	starting int
	judged   map[string]bool // whose verdict has changed since Judged was asked
}

// node is a target, its state and its place in the schedule.
type node struct {
	target  Target
	state   State
	lane    *lane
	index   int // in the lane's heap; -1 while it is not waiting there
	due     time.Time
	running bool
	again   bool // probe once more as soon as the probe under way ends
	gone    bool
}

// NewProber returns a prober that does nothing before Run.
func NewProber(opts Options) *Prober {
	p := &Prober{
		log: opts.Log, check: opts.Check, limit: opts.Concurrency, epoch: time.Now(),
		changes: make(chan struct{}, 1), wake: make(chan struct{}, 1), nodes: map[string]*node{},
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.check == nil {
		p.check = Check
	}
	if p.limit <= 0 {
		p.limit = defaultConcurrency
	}
	p.quick.limit, p.slow.limit = p.limit, max(1, p.limit*3/4)
	return p
}

// Set replaces the whole set of targets. Keys that were there keep their states and schedules, whatever else of the
// target changed; keys that are gone lose theirs, and a probe of theirs under way counts for nothing.
func (p *Prober) Set(targets []Target) {
	p.mu.Lock()
	all := slices.Collect(maps.Keys(p.nodes))
	p.mu.Unlock()
	p.Replace(all, targets)
}

// Replace is Set for a part of the targets: those of the keys given are replaced, all others stay as they are.
func (p *Prober) Replace(keys []string, targets []Target) {
	p.mu.Lock()
	now := time.Now()
	keep := make(map[string]bool, len(targets))
	for _, t := range targets {
		keep[t.Key] = true
		t.Params = t.Params.WithDefaults()
		if n := p.nodes[t.Key]; n != nil {
			n.target = t
			continue
		}
		p.add(t, now)
	}
	for _, key := range keys {
		if n := p.nodes[key]; n != nil && !keep[key] {
			p.drop(key, n)
		}
	}
	p.mu.Unlock()
	signal(p.wake)
}

func (p *Prober) add(t Target, now time.Time) {
	started := t.Started
	if started.IsZero() {
		started = now
	}
	n := &node{target: t, state: Begin(started, t.Initial), lane: &p.quick, index: -1}
	p.nodes[t.Key] = n
	if n.state.Verdict == Starting {
		p.starting++
		p.enqueue(n, now)
		return
	}
	p.plan(n, now, now)
}

func (p *Prober) drop(key string, n *node) {
	n.gone = true
	if n.index >= 0 {
		heap.Remove(n.lane, n.index)
	}
	if n.state.Verdict == Starting {
		p.starting--
	}
	delete(p.nodes, key)
}

// ProbeNow asks a node as soon as there is a place, whenever its turn would be. Unknown keys are ignored.
func (p *Prober) ProbeNow(key string) {
	p.mu.Lock()
	n := p.nodes[key]
	switch {
	case n == nil || n.state.Verdict == Failed:
	case n.running:
		n.again = true
	default:
		p.enqueue(n, time.Now())
	}
	p.mu.Unlock()
	signal(p.wake)
}

// States returns the state of every target.
func (p *Prober) States() map[string]State {
	p.mu.Lock()
	defer p.mu.Unlock()
	states := make(map[string]State, len(p.nodes))
	for key, n := range p.nodes {
		states[key] = n.state
	}
	return states
}

// State is the state of one target; false when there is no such target.
func (p *Prober) State(key string) (State, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[key]
	if n == nil {
		return State{}, false
	}
	return n.state, true
}

// Judged are the targets whose verdict has changed since it was asked last, those that are gone included; nil for none.
func (p *Prober) Judged() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	judged := p.judged
	p.judged = nil
	return judged
}

// Changes receives soon after the verdict of any node changed. Several changes may be one wake-up.
func (p *Prober) Changes() <-chan struct{} { return p.changes }

// Run probes until ctx ends, and returns when the last probe has.
func (p *Prober) Run(ctx context.Context) {
	var probes sync.WaitGroup
	defer probes.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for _, n := range p.startDue() {
			probes.Go(func() { p.probe(ctx, n) })
		}
		if wait, ok := p.untilNext(); ok {
			timer.Reset(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.wake:
		}
	}
}

// startDue takes the nodes whose turn it is, as far as there are places.
func (p *Prober) startDue() []*node {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var due []*node
	for _, l := range []*lane{&p.quick, &p.slow} {
		for p.hasPlace(l) && len(l.waiting) > 0 && !l.waiting[0].due.After(now) {
			n := heap.Pop(l).(*node)
			n.running = true
			l.running++
			due = append(due, n)
		}
	}
	return due
}

func (p *Prober) hasPlace(l *lane) bool {
	return l.running < l.limit && p.quick.running+p.slow.running < p.limit
}

// untilNext is the time to the next turn of a node that has a place; none when a probe must end first.
func (p *Prober) untilNext() (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var next time.Time
	for _, l := range []*lane{&p.quick, &p.slow} {
		if p.hasPlace(l) && len(l.waiting) > 0 && (next.IsZero() || l.waiting[0].due.Before(next)) {
			next = l.waiting[0].due
		}
	}
	return time.Until(next), !next.IsZero()
}

func (p *Prober) probe(ctx context.Context, n *node) {
	p.mu.Lock()
	t := n.target
	p.mu.Unlock()
	began := time.Now()
	r := p.check(ctx, t)
	if ctx.Err() != nil { // our own end is not the node's failure
		r = Result{}
	}
	p.finish(n, began, r)
	signal(p.wake)
}

// finish takes over a result; the zero result counts for nothing.
func (p *Prober) finish(n *node, began time.Time, r Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n.running = false
	n.lane.running--
	if n.gone {
		return
	}
	if !r.At.IsZero() {
		p.judge(n, r)
	}
	n.lane = &p.quick
	if r.Latency > n.target.Params.Timeout/2 {
		n.lane = &p.slow
	}
	p.plan(n, began, time.Now())
}

func (p *Prober) judge(n *node, r Result) {
	before := n.state.Verdict
	n.state = Gate(n.target.Params, n.state, r)
	if n.state.Verdict == before {
		return
	}
	if before == Starting {
		p.starting--
	}
	if p.judged == nil {
		p.judged = map[string]bool{}
	}
	p.judged[n.target.Key] = true
	p.log.Debug("health changed", "node", n.target.Key, "from", before, "to", n.state.Verdict, "message", r.Message)
	signal(p.changes)
}

// plan sets a node's next turn.
func (p *Prober) plan(n *node, began, now time.Time) {
	switch {
	case n.state.Verdict == Failed:
		return
	case n.again:
		n.again = false
		p.enqueue(n, now)
	case n.state.Verdict == Starting:
		p.enqueue(n, p.nextStartProbe(n, began, now))
	default:
		p.enqueue(n, nextSlot(p.epoch, now, n.target.Params.Interval, n.target.Key))
	}
}

// nextStartProbe keeps the period from asking to asking, except for commands: those cost the node, so it gets a
// pause between them.
func (p *Prober) nextStartProbe(n *node, began, now time.Time) time.Time {
	period := max(startPeriod, time.Duration(p.starting)*time.Second/startRate)
	if len(n.target.Probe.Exec) > 0 {
		return now.Add(period)
	}
	return began.Add(period)
}

func (p *Prober) enqueue(n *node, due time.Time) {
	n.due = due
	if n.index >= 0 {
		heap.Fix(n.lane, n.index)
		return
	}
	heap.Push(n.lane, n)
}

// nextSlot is the first moment after now that belongs to the key: one in each interval, at an offset that is a hash
// of the key, so that many nodes are spread evenly however they were started.
func nextSlot(epoch, now time.Time, interval time.Duration, key string) time.Time {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	offset := time.Duration(mix(h.Sum64()) % uint64(interval))
	since := now.Sub(epoch) - offset
	rounds := since / interval
	if since >= 0 {
		rounds++
	}
	return epoch.Add(offset + rounds*interval)
}

// mix spreads a hash over all its bits (the finaliser of MurmurHash3): FNV of short, similar keys differs in few.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
