package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/pause"
	"github.com/bootandshoot/release/store"
)

// Retention is how much of the history is kept of each app and environment. The numbers of releases, with their images, who
// made them and what became of them, are kept for ever.
type Retention struct {
	Keep       time.Duration // operations, journal entries and old releases' configurations; 0: for ever
	Operations int           // newest operations that are kept at most; 0: all
}

const (
	// retainEvery is how often what is too old is looked for.
	retainEvery = 10 * time.Minute
	// retainStep is how many records are removed at a time, and retainPause the wait between two times: others want the store too.
	retainStep  = store.MaxWrites - 10
	retainPause = 50 * time.Millisecond
)

// watchHistory lets go of what is too old, in bounded steps, as long as this agent leads.
func (o *Orchestrator) watchHistory(ctx context.Context) {
	if o.opts.History == (Retention{}) {
		return
	}
	ticker := time.NewTicker(retainEvery)
	defer ticker.Stop()
	seen := trouble{log: o.log}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, key := range o.Keys() {
			if err := o.retain(ctx, key); ctx.Err() == nil {
				seen.say("let go of the history of "+key.String(), err)
			}
		}
	}
}

// retain lets go of what is too old of one app.
func (o *Orchestrator) retain(ctx context.Context, key Key) error {
	oldest := time.Time{}
	if keep := o.opts.History.Keep; keep > 0 {
		oldest = o.opts.Now().Add(-keep)
	}
	operations, err := o.oldOperations(ctx, key, oldest)
	if err != nil {
		return err
	}
	events, err := o.oldEvents(ctx, key, oldest)
	if err != nil {
		return err
	}
	thin, err := o.oldReleases(ctx, key, oldest)
	if err != nil {
		return err
	}
	for step := range slices.Chunk(slices.Concat(operations, events, thin), retainStep) {
		if _, err := o.opts.Store.Commit(ctx, append(slices.Clone(step), o.fence)...); err != nil {
			return err
		}
		if err := pause.For(ctx, retainPause); err != nil {
			return err
		}
	}
	return nil
}

// oldOperations are the removals of operations that ended before a time or are too many, with what draining cost them later.
func (o *Orchestrator) oldOperations(ctx context.Context, key Key, oldest time.Time) ([]store.Write, error) {
	entries, err := o.opts.Store.List(ctx, operationPrefix(key))
	if err != nil {
		return nil, fmt.Errorf("list operations: %w", err)
	}
	surplus := 0
	if most := o.opts.History.Operations; most > 0 {
		surplus = max(0, len(entries)-most)
	}
	gone := map[string]bool{}
	var writes []store.Write
	for i, e := range entries {
		var op struct {
			Ended time.Time `json:"ended"`
		}
		if err := json.Unmarshal(e.Value, &op); err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Key, err)
		}
		if i < surplus || op.Ended.Before(oldest) {
			gone[strings.TrimPrefix(e.Key, operationPrefix(key))] = true
			writes = append(writes, store.Write{Key: e.Key, Any: true})
		}
	}
	if len(gone) == 0 {
		return nil, nil
	}
	late, err := o.opts.Store.List(ctx, drainPrefix(key))
	if err != nil {
		return nil, fmt.Errorf("list what draining cost: %w", err)
	}
	for _, e := range late {
		if number, _, _ := strings.Cut(strings.TrimPrefix(e.Key, drainPrefix(key)), "/"); gone[number] {
			writes = append(writes, store.Write{Key: e.Key, Any: true})
		}
	}
	return writes, nil
}

// oldEvents are the removals of journal entries from before a time, the oldest first, so that those kept have no gaps. They are
// looked for block by block, back to where there are none: what is older went before.
func (o *Orchestrator) oldEvents(ctx context.Context, key Key, oldest time.Time) ([]store.Write, error) {
	last, err := o.EventsBefore(ctx, key, oldest)
	if err != nil || last == 0 {
		return nil, err
	}
	var writes []store.Write
	for block := last / journalBlock; ; block-- {
		entries, err := o.opts.Store.List(ctx, journalPrefix(key, block))
		if err != nil {
			return nil, fmt.Errorf("list events: %w", err)
		}
		found := false
		for _, e := range slices.Backward(entries) {
			if e.Key <= eventKey(key, last) {
				writes, found = append(writes, store.Write{Key: e.Key, Any: true}), true
			}
		}
		if !found || block == 0 {
			break
		}
	}
	slices.Reverse(writes)
	return writes, nil
}

// oldReleases are the writes that take the configurations from releases that the state let go of and that are too old.
func (o *Orchestrator) oldReleases(ctx context.Context, key Key, oldest time.Time) ([]store.Write, error) {
	list, err := o.archive(ctx, key)
	if err != nil {
		return nil, err
	}
	var writes []store.Write
	for _, a := range list {
		if a.Thinned || !a.At.Before(oldest) {
			continue
		}
		value, err := json.Marshal(a.thin())
		if err != nil {
			return nil, fmt.Errorf("thin release %s: %w", a.ID, err)
		}
		writes = append(writes, store.Write{Key: archiveKey(key, a.ID), Value: value, Any: true})
	}
	return writes, nil
}

// thin is a release's record without what takes much space.
func (a archived) thin() any {
	rel := a.Release
	rel.Ledger.Fleets = nil
	type bare struct {
		Release
		Config       any    `json:"config,omitempty"` // hides the release's
		ConfigDigest string `json:"config_digest"`
		Thinned      bool   `json:"thinned"`
	}
	return bare{Release: rel, ConfigDigest: a.ConfigDigest, Thinned: true}
}

// archiveWrites keep releases that a state lets go of.
func archiveWrites(key Key, dropped []*Release) ([]store.Write, error) {
	var writes []store.Write
	for _, rel := range dropped {
		value, err := json.Marshal(archived{Release: *rel, ConfigDigest: configDigest(&rel.Config)})
		if err != nil {
			return nil, fmt.Errorf("keep release %s: %w", rel.ID, err)
		}
		writes = append(writes, store.Write{Key: archiveKey(key, rel.ID), Value: value, Any: true})
	}
	return writes, nil
}
