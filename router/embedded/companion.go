package embedded

import (
	"context"
	"time"

	"github.com/bootandshoot/release/internal/pause"
	"github.com/bootandshoot/release/router"
)

const (
	leavePatience = 5 * time.Second      // bounds a companion's last words
	opAgain       = 5 * time.Millisecond // while an upgrade or another table is under way
)

// local is the process as its companion sees it.
type local struct{ p *process }

var _ router.Local = local{}

// Apply implements router.Backend. A process that stops, which holds op to its end, takes tables without listeners and disk,
// for what it still has.
func (l local) Apply(ctx context.Context, t router.Table) error {
	for !l.p.op.TryLock() {
		if l.p.e.draining.Load() {
			return l.p.e.follow(t)
		}
		if err := pause.For(ctx, opAgain); err != nil {
			return err
		}
	}
	defer l.p.op.Unlock()
	return l.p.applyAlone(ctx, t)
}

// Applied implements router.Backend.
func (l local) Applied(context.Context) (router.Table, error) { return l.p.e.applied() }

// Observe implements router.Backend.
func (l local) Observe(ctx context.Context) (router.Observation, error) { return l.p.observe(ctx), nil }

// Check implements router.Local.
func (l local) Check(_ context.Context, t router.Table) error { return l.p.e.check(t) }

// Edge implements router.Local.
func (l local) Edge() (id, instance string) { return l.p.edge, l.p.instance }

// check opens what the table needs, as apply does, and lets go of it again.
func (e *engine) check(t router.Table) error {
	if err := t.Validate(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if old := e.current.Load(); old != nil {
		if same, err := t.Supersedes(old.table); same || err != nil {
			return err
		}
	}
	t = t.Canonical()
	if _, err := e.certs.Prepare(t.Routes); err != nil {
		return err
	}
	opened, err := e.listeners.openNew(e.memory.compile(t, instant(e.now())), true)
	if err != nil {
		return err
	}
	e.listeners.undo(opened)
	return nil
}

// accompany runs the companion until leave is called, which says whether the process goes for good.
func (p *process) accompany() (leave func(good bool)) {
	c := p.cfg.Companion
	if c == nil {
		return func(bool) {}
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx, local{p})
	}()
	return func(good bool) {
		stop()
		if good {
			<-ended
			ctx, cancel := context.WithTimeout(context.Background(), leavePatience)
			defer cancel()
			c.Leave(ctx, local{p})
		}
	}
}
