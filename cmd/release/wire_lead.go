package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/console"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/pause"
	"github.com/bootandshoot/release/orchestrator"
	"github.com/bootandshoot/release/store"
)

const (
	// settleTime is how long a request waits for an agent that has just started and does not know yet whether it leads.
	settleTime = 5 * time.Second
	// leadAgain is the wait before an agent that must not lead, or does not any more, stands in line again.
	leadAgain = 2 * time.Second
	// whoTime bounds the question who leads instead.
	whoTime = 3 * time.Second
)

// leadership is the agent's part among those that share its store: it opens the store, waits for its turn, leads, and stands in
// line again when it has lost the lead. With a store of its own the agent always leads.
type leadership struct {
	agent  *agent
	shared bool

	settled chan struct{} // closed when it leads, or is known not to

	mu    sync.Mutex
	store closingStore               // nil: not open yet
	mind  *orchestrator.Orchestrator // while it leads
	why   error                      // why it does not, other than that another one does
}

func newLeadership(a *agent) *leadership {
	return &leadership{agent: a, shared: a.settings.Store.Consul != nil, settled: make(chan struct{})}
}

// run keeps the agent in line until ctx ends. It fails at once where waiting is no use: settings that are wrong, a store of a
// newer version; and with a store of its own whenever leading does.
func (l *leadership) run(ctx context.Context) error {
	defer l.close()
	settle := time.AfterFunc(settleTime, l.settle)
	defer settle.Stop()
	for first := true; ; first = false {
		err := l.term(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !l.shared || first && l.opened() == nil && !fault.Is(err, fault.Unavailable) {
			return err
		}
		l.agent.log.Warn("this agent does not lead", "why", err)
		l.stand(nil, err)
		l.settle()
		if pause.For(ctx, leadAgain) != nil {
			return nil
		}
	}
}

// term is one leadership, and the wait for it.
func (l *leadership) term(ctx context.Context) error {
	s, err := l.open(ctx)
	if err != nil {
		return err
	}
	a := l.agent
	var mind *orchestrator.Orchestrator
	ctx, resign := context.WithCancelCause(ctx)
	defer resign(nil)
	opts := l.options(s)
	opts.Leads = func(epoch uint64) { l.lead(mind, epoch) }
	switch {
	case a.sharedRouter() != nil:
		if opts.Router, err = a.projected(ctx); err != nil {
			return err
		}
	case a.settings.Router.Backend == config.RouterALB: // every agent reaches the same one
	case l.shared:
		opts.Router = &soleRouter{Backend: a.router, store: s, agent: a.name, resign: resign}
		if err := comeBack(ctx, s, a.name); err != nil {
			return err
		}
	}
	if mind, err = orchestrator.New(opts); err != nil {
		return err
	}
	l.stand(nil, nil)
	if err := mind.Run(ctx); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// options of an orchestrator of this agent.
func (l *leadership) options(s store.Store) orchestrator.Options {
	a := l.agent
	return orchestrator.Options{
		Installation: a.installation, Store: s, Drivers: a.fleets, Router: a.router, Images: a.images,
		Slots: a.settings.Ports.Size(), FirstPort: a.settings.Ports.First, Boots: a.settings.Limits.Boots, Quarantine: a.settings.Limits.Quarantine,
		Holder: a.name, Shared: l.shared, Log: a.log,
		Verify:    func(d images.Digest, require config.Require) error { return verifySigned(a.images, d, require) },
		Approvers: a.settings.Approvers, MakeRoom: a.reserve.release, Lost: a.lost, Tails: a.tails, Hooks: a.hooks.Run, Mask: hides, Prometheus: a.settings.Prometheus,
		History: orchestrator.Retention{Keep: a.settings.History.Keep.Std(), Operations: a.settings.History.Operations},
	}
}

// open opens the store, once.
func (l *leadership) open(ctx context.Context) (store.Store, error) {
	if s := l.opened(); s != nil {
		return s, nil
	}
	if l.shared {
		l.stand(nil, fault.New(fault.Unavailable, "it waits for Consul at %s", consulapi.Settings{Address: l.agent.settings.Store.Consul.Address}.Where()))
	}
	s, err := l.agent.openStore(ctx)
	if err != nil {
		return nil, err
	}
	before, err := installationBefore(l.agent.dir)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	id, lost, err := orchestrator.InstallationAfter(ctx, s, rand.Reader, before)
	if err == nil {
		err = l.agent.keepInstallation(before, id)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store, l.agent.installation, l.agent.lost = s, id, lost
	l.agent.fleets = l.agent.drivers()
	return s, nil
}

func (l *leadership) opened() closingStore {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.store
}

func (l *leadership) close() {
	if s := l.opened(); s != nil {
		if err := s.Close(); err != nil {
			l.agent.log.Warn("close the store", "error", err)
		}
	}
}

func (l *leadership) lead(mind *orchestrator.Orchestrator, epoch uint64) {
	l.agent.log.Info("this agent leads", "name", l.agent.name, "installation", l.agent.installation, "epoch", epoch)
	l.stand(mind, nil)
	l.settle()
}

func (l *leadership) stand(mind *orchestrator.Orchestrator, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mind, l.why = mind, why
}

func (l *leadership) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.settled:
	default:
		close(l.settled)
	}
}

// standing completes what the agent says of itself.
func (l *leadership) standing(ctx context.Context, a *api.Agent) {
	l.mu.Lock()
	mind, why := l.mind, l.why
	a.Installation = l.agent.installation
	l.mu.Unlock()
	a.Name = l.agent.name
	if mind != nil {
		a.Found = console.FoundOf(mind.Found(ctx))
		a.Role, a.Leader = api.RoleLeader, a.Name
		return
	}
	a.Role = api.RoleStandby
	if why != nil {
		a.Why = withHint(why)
	}
	a.Leader = l.leader(ctx)
}

// leader is the name of who leads instead, or led last; "" when that cannot be told.
func (l *leadership) leader(ctx context.Context) string {
	s := l.opened()
	if s == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, whoTime)
	defer cancel()
	leader, err := orchestrator.ReadLeader(ctx, s)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		l.agent.log.Warn("read who leads", "error", err)
	}
	return leader.Name
}

// leads says why the agent cannot answer for fleets and routes, if it does not lead.
func (l *leadership) leads(ctx context.Context) error {
	_, err := l.now(ctx)
	return err
}

// forget takes it that another agent's router serves nobody any more.
func (l *leadership) forget(ctx context.Context, ask api.Forget) error {
	if b, ok := l.agent.router.(interface {
		Forget(ctx context.Context, edge string) error
		MayForget(ctx context.Context, edge string) error
	}); ok {
		if ask.DryRun {
			return b.MayForget(ctx, ask.Edge)
		}
		return b.Forget(ctx, ask.Edge)
	}
	if !l.shared {
		return fault.New(fault.Unsupported, "forget edge %s: this agent shares its store with nobody, and knows of no other router than its own", ask.Edge)
	}
	if err := l.leads(ctx); err != nil {
		return err
	}
	return forgetRouter(ctx, l.opened(), ask.Edge, l.agent.name, ask.DryRun)
}

// now is the orchestrator of an agent that leads. Others say who does: fault.Unavailable.
func (l *leadership) now(ctx context.Context) (*orchestrator.Orchestrator, error) {
	select {
	case <-l.settled:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	l.mu.Lock()
	mind, why := l.mind, l.why
	l.mu.Unlock()
	if mind != nil {
		return mind, nil
	}
	leader := l.leader(ctx)
	switch {
	case why != nil:
		f := fault.New(fault.Unavailable, "agent %s stands by and cannot lead: %w", l.agent.name, why)
		return nil, f.WithHint("%s", hintFor(why, leader))
	case leader == "" || leader == l.agent.name:
		return nil, fault.New(fault.Unavailable, "agent %s stands by; nobody leads yet", l.agent.name).
			WithHint("the lease of a leader that died is over after half a minute: release agent status")
	}
	return nil, fault.New(fault.Unavailable, "agent %s stands by: %s leads", l.agent.name, leader).
		WithHint("run the command there; if that agent is gone, this one takes over within 40 s")
}

// hintFor says where else to ask, else what to do about the reason.
func hintFor(why error, leader string) string {
	next := "release agent status says what it waits for"
	var f *fault.Error
	if errors.As(why, &f) && f.Hint != "" {
		next = f.Hint
	}
	if leader != "" {
		return fmt.Sprintf("%s leads, or led last: run the command there. Else: %s", leader, next)
	}
	return next
}

// withHint is an error with what to do about it, in one line.
func withHint(err error) string {
	var f *fault.Error
	if errors.As(err, &f) && f.Hint != "" {
		return err.Error() + "; " + f.Hint
	}
	return err.Error()
}
