package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator"
)

// giveUpWithin is how long the lease of an agent that died is waited for: it is free after 40 s at most, or a minute when Consul's
// leader died with it.
const giveUpWithin = 70 * time.Second

// forgetHost takes it that a machine is gone for good: its fleets are booted anew here, and nothing waits for its routers. The
// agent need not lead: with fleets that it does not see it cannot.
func (l *leadership) forgetHost(ctx context.Context, ask api.ForgetHost) (api.Forgotten, error) {
	gone := api.Forgotten{Fleets: []string{}, Edges: []string{}}
	if leading := l.present(); leading != nil {
		if err := leading.ForgetHost(ctx, ask.Host, ask.DryRun); !fault.Is(err, fault.NotFound) {
			return gone, err
		}
	}
	if !l.shared {
		return gone, fault.New(fault.Unsupported, "forget host %s: this agent shares its store with nobody, and knows of no other machine than its own", ask.Host)
	}
	select {
	case <-l.settled:
	case <-ctx.Done():
		return gone, ctx.Err()
	}
	if l.opened() == nil {
		return gone, fault.New(fault.Unavailable, "forget host %s: the store is not open yet", ask.Host).WithHint("release agent status says what it waits for")
	}
	taken, err := l.take(ctx, ask)
	none := fault.Is(err, fault.NotFound)
	gone.Fleets, gone.Volumes = append(gone.Fleets, taken.Fleets...), taken.Volumes
	failing := func(err error) error {
		if ask.DryRun {
			return err // nothing was done
		}
		return saysGone(gone, err)
	}
	if err != nil && !none {
		return gone, failing(err)
	}
	edges, failed := l.forgetEdgesOf(ctx, ask, len(taken.Fleets) > 0)
	gone.Edges = append(gone.Edges, edges...)
	if failed != nil {
		return gone, failing(failed)
	}
	if len(edges) > 0 || !none {
		return gone, nil
	}
	return gone, err
}

// hosts are the machines that apps spread their nodes over.
func (l *leadership) hosts(ctx context.Context) ([]orchestrator.HostStatus, error) {
	o, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return o.Hosts(ctx)
}

// drainHost has the nodes of a host replaced on others, or takes that back.
func (l *leadership) drainHost(ctx context.Context, ask api.DrainHost) error {
	o, err := l.now(ctx)
	if err != nil {
		return err
	}
	return o.DrainHost(ctx, ask.Host, ask.By, ask.Undo, ask.DryRun)
}

// saysGone adds to an error what was given up before it, which stays given up: an answer is a result or an error, so the person who
// asked learns of it here.
func saysGone(gone api.Forgotten, err error) error {
	var parts []string
	for _, p := range []struct {
		what  string
		names []string
	}{
		{"booted anew here: fleet", gone.Fleets}, {"lost with its data: volume", gone.Volumes}, {"forgotten: router", gone.Edges},
	} {
		for _, name := range p.names {
			parts = append(parts, p.what+" "+name)
		}
	}
	if len(parts) == 0 {
		return err
	}
	return fmt.Errorf("%w; what was done before that stays so: %s", err, strings.Join(parts, "; "))
}

// take makes the fleets of a machine this agent's, and new volumes of those that were there.
func (l *leadership) take(ctx context.Context, ask api.ForgetHost) (orchestrator.GivenUp, error) {
	if leading := l.present(); leading != nil {
		volumes, err := leading.LoseVolumes(ctx, ask.Host, ask.By, ask.DryRun)
		if err == nil && len(volumes) == 0 {
			err = fault.New(fault.NotFound, "forget host %s: this agent leads, so it sees the nodes of every fleet, and no volume lies there", ask.Host)
		}
		return orchestrator.GivenUp{Volumes: volumes}, err
	}
	mind, err := orchestrator.New(l.options(l.opened()))
	if err != nil {
		return orchestrator.GivenUp{}, err
	}
	if ask.DryRun {
		return mind.WouldGiveUp(ctx, ask.Host)
	}
	ctx, cancel := context.WithTimeout(ctx, giveUpWithin)
	defer cancel()
	return mind.GiveUp(ctx, ask.Host, ask.By)
}

// forgetEdgesOf forgets the routers of a machine: edges that are silent, or the one that users came to if nobody leads there.
func (l *leadership) forgetEdgesOf(ctx context.Context, ask api.ForgetHost, taken bool) (forgotten []string, err error) {
	host := ask.Host
	b := l.agent.sharedRouter()
	if b == nil {
		rec, _, err := readOwner(ctx, l.opened())
		if err != nil || rec.Host != host || rec.Agent == l.agent.name {
			return nil, err
		}
		if !taken {
			if err := l.leads(ctx); err != nil {
				return nil, err
			}
		}
		return []string{rec.Agent}, forgetRouter(ctx, l.opened(), rec.Agent, l.agent.name, ask.DryRun)
	}
	seen, err := b.Observe(ctx)
	if err != nil {
		return nil, fmt.Errorf("forget host %s: %w", host, err)
	}
	var failed []error
	for _, e := range seen.Edges {
		if e.Host != host || e.Silent.IsZero() {
			continue
		}
		forget := b.Forget
		if ask.DryRun {
			forget = b.MayForget
		}
		if err := forget(ctx, e.ID); err != nil {
			failed = append(failed, err)
			continue
		}
		forgotten = append(forgotten, e.ID)
	}
	return forgotten, errors.Join(failed...)
}
