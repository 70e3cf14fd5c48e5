package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/store/storetest"
)

// simWorld is what agents work on, in memory and virtual time: nodes, an edge, a store, and what is true of them whatever any
// agent believes. Every call of an agent comes through pass, at a time that nothing else happens at: virtual time goes on only
// when all goroutines wait, so what happens one after the other in one play does so in every play.
type simWorld struct {
	schedule schedule
	driver   *fleettest.Fake
	router   *routertest.Fake
	store    *storetest.Memory
	ctx      context.Context // ends with the play
	end      context.CancelFunc

	mu      sync.Mutex // guards what follows; never held across a wait
	trace   []traced
	found   *violation
	calls   map[string]int // by kind
	drawn   map[string]int // how often a delay was drawn for something
	agents  []*simAgent
	lease   simLease
	healing bool // nothing goes wrong any more
	down    time.Time
	truth
}

// violation is an invariant that did not hold.
type violation struct {
	invariant string
	text      string
}

// traced is a step, or something that happened. What it says is put together only when somebody reads it.
type traced struct {
	at   time.Time
	who  string
	text func() string
}

// simAgent is an agent on one machine: process after process, as a service manager starts them.
type simAgent struct {
	name    string
	process *process
	cut     bool // from the store
	away    time.Duration
}

// process is one agent from its start to its end.
type process struct {
	w      *simWorld
	agent  *simAgent
	nr     int
	o      *Orchestrator
	cancel context.CancelFunc
	dead   bool // it was killed: whatever it still does has no effect
}

func (p *process) String() string { return fmt.Sprintf("%s%d", p.agent.name, p.nr) }

func newSimWorld(s schedule) *simWorld {
	w := &simWorld{
		schedule: s, driver: fleettest.NewFake(fleettest.FakeOptions{}), router: routertest.NewFake(), store: storetest.NewMemory(),
		calls: map[string]int{}, drawn: map[string]int{}, truth: newTruth(),
	}
	w.lease.freed = make(chan struct{})
	w.router.Deafen(s.deaf)
	w.ctx, w.end = context.WithCancel(context.Background())
	return w
}

// note adds to the trace.
func (w *simWorld) note(who, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noteLocked(who, func() string { return fmt.Sprintf(format, args...) })
}

func (w *simWorld) noteLocked(who string, text func() string) {
	w.trace = append(w.trace, traced{time.Now(), who, text})
}

// lines is the trace for people.
func (w *simWorld) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []string
	for _, t := range w.trace {
		lines = append(lines, fmt.Sprintf("%s %-6s %s", t.at.Format("04:05.000000"), t.who, t.text()))
	}
	return lines
}

// violate ends the play with what did not hold; the first counts. The lock is held.
func (w *simWorld) violate(invariant, format string, args ...any) {
	if w.found != nil {
		return
	}
	w.found = &violation{invariant, fmt.Sprintf(format, args...)}
	w.noteLocked("!", func() string { return w.found.invariant + ": " + w.found.text })
	w.end()
}

// delay is how long something takes, up to most: drawn from the seed, what it is, and how often it was.
func (w *simWorld) delay(what string, most time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drawn[what]++
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%d %s %d", w.schedule.seed, what, w.drawn[what])
	return time.Duration(rand.New(rand.NewPCG(hash.Sum64(), 3)).Int64N(int64(most))) + 1
}

// sleep waits, and says whether nothing ended it.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

var errDead = errors.New("this process is dead")

// storePatience is how long a store's client waits for an answer.
const storePatience = 4 * time.Second

// pass brings a call of a process to the world, where it takes a moment and may meet a fault. do is what it does; lost is the
// error that leaves open whether it was done.
func (p *process) pass(ctx context.Context, call, what string, lost error, do func() error) error {
	w := p.w
	if !sleep(ctx, w.delay(p.String()+call+what, time.Millisecond)) {
		return ctx.Err()
	}
	w.mu.Lock()
	kind, dead := w.meets(p, call, what), p.dead
	w.mu.Unlock()
	if dead {
		return errDead
	}
	switch kind {
	case fails:
		return fmt.Errorf("%s %s: it fails", call, what)
	case hangs:
		sleep(ctx, storePatience)
		return lost
	case unanswered:
		_ = do()
		return lost
	case comesLate:
		w.mu.Lock()
		w.late[what] = true
		w.mu.Unlock()
		go func() {
			if sleep(w.ctx, storePatience+w.delay("late", 6*time.Second)) {
				w.note(p.String(), "%s %s comes late: %v", call, what, do())
			}
		}()
		sleep(ctx, storePatience)
		return lost
	case diesBefore:
		p.die()
		return errDead
	case diesAfter:
		_ = do()
		p.die()
		return errDead
	}
	return do()
}

// meets counts a call and says which fault it meets. The lock is held.
func (w *simWorld) meets(p *process, call, what string) mishapKind {
	if p.dead {
		return ""
	}
	n := w.calls[call]
	w.calls[call]++
	for _, f := range w.schedule.mishaps {
		if f.call == call && f.nth == n && !w.healing && w.fits(f) {
			w.noteLocked(p.String(), func() string { return fmt.Sprintf("%s %s %s (number %d)", call, what, f.kind, n) })
			return f.kind
		}
	}
	if call != callNodes && call != callFleets && call != callObserve && call != callApplied && call != callRead && call != callCommit && call != callDrift {
		w.noteLocked(p.String(), func() string { return call + " " + what })
	}
	return ""
}

// fits says whether a call can meet the fault. A store does what it was asked before its client gives up, or never.
func (w *simWorld) fits(f mishap) bool {
	return f.kind != comesLate || f.call == callEnsure || f.call == callApply || f.call == callRemove || f.call == callDestroy || f.call == callPrepare
}

// die kills the process. Nobody else's lease ends before its time for that; where the agents share no store the next one is
// told by the lock of a file.
func (p *process) die() {
	p.w.mu.Lock()
	p.dead = true
	p.w.mu.Unlock()
	p.cancel()
	p.w.lease.holderDied(p)
}

// supervise starts an agent's processes one after the other until the play ends.
func (w *simWorld) supervise(a *simAgent) {
	for nr := 1; w.ctx.Err() == nil; nr++ {
		p := &process{w: w, agent: a, nr: nr}
		err := p.run()
		w.note(p.String(), "has ended: %v", err)
		w.mu.Lock()
		w.goesOn(p, err)
		pause := a.away
		a.away = 0
		w.mu.Unlock()
		sleep(w.ctx, pause+w.delay("restart of "+a.name, 2*time.Second))
	}
}

func (p *process) run() error {
	w := p.w
	o, err := New(Options{
		Installation: "test", Store: simStore{p}, Drivers: oneDriver{simDriver{w.driver.Reopen(""), p}}, Router: simRouter{w.router, p}, Images: anyImage{},
		Slots: 40, FirstPort: 20_000, Holder: p.agent.name, Rand: p.names(), Check: p.check,
		Secret: func(ref string) (string, error) { return "secret of " + ref, nil }, Hooks: p.hook, Mask: maskAll,
		Metrics: p.metric, Prometheus: config.AgentPrometheus{URL: "http://metrics"},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	w.mu.Lock()
	p.o, p.cancel, p.agent.process = o, cancel, p
	w.mu.Unlock()
	w.note(p.String(), "starts")
	return o.Run(ctx)
}

// names is the random source of a process: what it draws is its own.
func (p *process) names() *rand.ChaCha8 {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("%d %s", p.w.schedule.seed, p))
	return rand.NewChaCha8(seed)
}

// leader is the process that leads and knows it, or nil.
func (w *simWorld) leader() *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	var leader *process
	for _, a := range w.agents {
		p := a.process
		if p == nil || p.dead || !isClosed(p.o.ready) || isClosed(p.o.over) {
			continue
		}
		if leader == nil || p.o.epoch > leader.o.epoch {
			leader = p
		}
	}
	return leader
}

func isClosed(ch chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// cutOff takes an agent's machine away from the store for a time. With late it does not notice in time that its lease is over, as
// when the machine was suspended.
func (w *simWorld) cutOff(a *simAgent, span time.Duration, late time.Duration) {
	w.mu.Lock()
	a.cut = true
	p := a.process
	w.mu.Unlock()
	w.lease.holderCut(p, late)
	time.AfterFunc(span, func() { w.join(a) })
}

// join ends that.
func (w *simWorld) join(a *simAgent) {
	w.mu.Lock()
	was, p := a.cut, a.process
	a.cut = false
	w.mu.Unlock()
	if was {
		w.note(a.name, "reaches the store again")
		w.lease.holderBack(p)
	}
}

func (w *simWorld) isCut(p *process) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return p.agent.cut
}

// isDown says whether the driver does not answer anybody.
func (w *simWorld) isDown() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Now().Before(w.down) {
		return fmt.Errorf("simulated: %w", fleet.ErrUnavailable)
	}
	return nil
}

// short is a node's name without what all have in common.
func short(node string) string { return strings.TrimPrefix(node, nodePrefix(shop)) }
