package consul

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// turn lets one in at a time. Waiting for it ends with a context, which waiting for a mutex does not.
type turn struct{ free chan struct{} }

func newTurn() *turn { return &turn{free: make(chan struct{}, 1)} }

func (t *turn) take(ctx context.Context) error {
	select {
	case t.free <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turn) give() { <-t.free }

// tryOut asks every live edge whether it could serve a table.
func (b *Backend) tryOut(ctx context.Context, t router.Table) error {
	if err := b.trials.take(ctx); err != nil {
		return err
	}
	defer b.trials.give()
	q := trial{ID: rand.Text(), Table: t}
	value, err := encode(q)
	if err != nil {
		return err
	}
	err = b.try(ctx, func(ctx context.Context) error {
		_, err := b.client.KV().Put(&api.KVPair{Key: b.trialKey(), Value: value}, writing(ctx))
		return err
	})
	if err != nil {
		return err
	}
	var problems fault.List
	err = b.waitFor(ctx, "say whether they could serve it", func(e registered) bool {
		if e.Trial != q.ID {
			return false
		}
		problems = append(problems, faults(e.Edge, e.TrialFault)...)
		return true
	}, func() { problems = nil })
	if err != nil {
		return err
	}
	return problems.Err()
}

// precheckTime bounds a Precheck: an edge that answers no sooner is not waited for.
const precheckTime = 5 * time.Second

// Precheck implements router.Prechecker: every live edge says whether it could serve the route beside those that it serves. What
// the edges cannot tell in time, or nobody can tell since none lives, is found when the table is applied.
func (b *Backend) Precheck(ctx context.Context, r router.Route) error {
	asked, cancel := context.WithTimeout(ctx, precheckTime)
	defer cancel()
	have, _, err := b.table(asked)
	if err == nil {
		err = b.tryOut(asked, beside(have, r))
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, router.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded):
		b.opts.Log.Info("the edges did not say whether they could serve a route", "route", r.Name, "why", err)
		return nil
	case err != nil:
		return fmt.Errorf("ask the edges: %w", err)
	}
	return nil
}

// beside is a table with a route in it, newer than the one that it is made of: no edge holds it for an old one.
func beside(have router.Table, r router.Route) router.Table {
	t := router.Table{Schema: router.Schema, Version: router.Version{Epoch: have.Version.Epoch, Seq: have.Version.Seq + 1}, Closing: have.Closing}
	t.Routes = slices.DeleteFunc(slices.Clone(have.Routes), func(o router.Route) bool { return o.Name == r.Name })
	t.Routes = append(t.Routes, r)
	return t.Canonical()
}
