package orchestrator

import (
	"context"
	"fmt"
	"strings"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// Several agents may share a store, but a sandbox or a container is seen from one machine or engine only. An agent that does not see
// the nodes of a living fleet would take them for gone and boot them again, so it does not lead: their fleets stay as they are
// until an agent that sees them does.

// scope is what a driver sees, "" where that is the same for every agent.
func (o *Orchestrator) scope(ctx context.Context, driver string) (string, error) {
	if !o.opts.Shared {
		return "", nil
	}
	d, err := o.opts.Drivers.Driver(driver)
	if err != nil {
		return "", err
	}
	scoped, ok := d.(fleet.Scoped)
	if !ok {
		return "", nil
	}
	scope, err := scoped.Scope(ctx)
	if err != nil {
		return "", fmt.Errorf("tell what driver %s sees: %w", driver, err)
	}
	return scope, nil
}

// sees says why this agent must not keep an app: one of its fleets runs where our drivers do not look.
func (o *Orchestrator) sees(ctx context.Context, s *State) error {
	for _, fl := range s.holders() {
		have, err := o.scope(ctx, fl.Driver)
		if err != nil {
			return fault.New(fault.Unavailable, "fleet %s cannot be kept from here: %w", fl.ID, err)
		}
		if o.opts.Shared && fl.Scope != have {
			return fault.New(fault.Unsupported, "fleet %s cannot be kept from here: it runs on %s, and this agent sees %s", fl.ID, fl.Scope, have).
				WithHint("an agent that sees it must lead; its nodes go on meanwhile. When that machine is gone for good: release host forget %s", quoted(fl.host()))
		}
	}
	return nil
}

// quoted is a name as a shell takes it.
func quoted(name string) string {
	if strings.ContainsAny(name, " ()") {
		return "'" + name + "'"
	}
	return name
}

// mayLead says why this agent must not lead, before it waits for its turn.
func (o *Orchestrator) mayLead(ctx context.Context) error {
	if !o.opts.Shared {
		return nil
	}
	states, err := o.states(ctx)
	if err != nil {
		return err
	}
	for s := range states {
		if err := o.sees(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
