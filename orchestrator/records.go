package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

// Record is all that is known of one release.
type Record struct {
	Release      Release // its configuration without secrets
	ConfigDigest string
	Thinned      bool        // its configuration is no longer kept
	Operations   []Operation // that moved to it or away from it, the oldest first
	Events       []Event     // of it and of those operations, the oldest first
	Tails        []NodeTail  // last lines of its nodes that failed, as far as they are kept
}

// ConfigChange is one value that differs between the configurations of two releases.
type ConfigChange = config.Change

// archived is a release that no state holds any more.
type archived struct {
	Release
	ConfigDigest string `json:"config_digest"`
	Thinned      bool   `json:"thinned,omitempty"` // the configuration is not kept any more
}

func archivePrefix(k Key) string { return fmt.Sprintf("releases/%s/", k) }

func archiveKey(k Key, release string) string {
	return fmt.Sprintf("%s%08d", archivePrefix(k), releaseNumber(release))
}

// archive reads the releases that the state has let go of, the oldest first.
func (o *Orchestrator) archive(ctx context.Context, key Key) ([]archived, error) {
	entries, err := o.opts.Store.List(ctx, archivePrefix(key))
	if err != nil {
		return nil, fmt.Errorf("read the releases of %s: %w", key, err)
	}
	list := make([]archived, len(entries))
	for i, e := range entries {
		if err := json.Unmarshal(e.Value, &list[i]); err != nil {
			return nil, fmt.Errorf("read the releases of %s: %w", key, err)
		}
	}
	return list, nil
}

// Releases lists all releases that there ever were, the oldest first, also those that cannot be gone back to any more.
func (o *Orchestrator) Releases(ctx context.Context, key Key) ([]Release, error) {
	s, err := o.state(ctx, key)
	if err != nil {
		return nil, err
	}
	old, err := o.archive(ctx, key)
	if err != nil {
		return nil, err
	}
	var list []Release
	for _, a := range old {
		if s.release(a.ID) == nil { // else the state was put back from an older copy
			list = append(list, a.Release)
		}
	}
	for _, rel := range s.Releases {
		list = append(list, *rel)
	}
	return list, nil
}

// release finds a release in the state or among those that it has let go of.
func (o *Orchestrator) release(ctx context.Context, key Key, id string) (archived, error) {
	s, err := o.state(ctx, key)
	if err != nil {
		return archived{}, err
	}
	if rel := s.release(id); rel != nil {
		return archived{Release: *rel, ConfigDigest: configDigest(&rel.Config)}, nil
	}
	e, err := o.opts.Store.Get(ctx, archiveKey(key, id))
	if errors.Is(err, store.ErrNotFound) || releaseNumber(id) == 0 {
		return archived{}, s.noRelease(id)
	}
	var a archived
	if err == nil {
		err = json.Unmarshal(e.Value, &a)
	}
	if err != nil {
		return archived{}, fmt.Errorf("read release %s of %s: %w", id, key, err)
	}
	return a, nil
}

// Record is all that is known of a release; fault.NotFound for one that there never was.
func (o *Orchestrator) Record(ctx context.Context, key Key, id string) (Record, error) {
	rel, err := o.release(ctx, key, id)
	if err != nil {
		return Record{}, err
	}
	rec := Record{Release: rel.Release, ConfigDigest: rel.ConfigDigest, Thinned: rel.Thinned}
	rec.Release.Config = *config.Redacted(&rel.Config)
	if rec.Operations, err = o.operationsOf(ctx, key, id); err != nil {
		return Record{}, err
	}
	if rec.Events, err = o.eventsOf(ctx, key, rec); err != nil {
		return Record{}, err
	}
	rec.Tails, err = o.tailsOf(ctx, key, rec)
	return rec, err
}

// operationsOf are those that moved to a release or away from it, under way or ended, the oldest first.
func (o *Orchestrator) operationsOf(ctx context.Context, key Key, id string) ([]Operation, error) {
	ops, err := o.History(ctx, key)
	if err != nil {
		return nil, err
	}
	s, err := o.state(ctx, key)
	if err != nil {
		return nil, err
	}
	slices.Reverse(ops)
	for _, op := range s.Operations {
		ops = append(ops, *op)
	}
	return slices.DeleteFunc(ops, func(op Operation) bool { return op.Release != id && op.From != id }), nil
}

// eventsOf are the journal's entries on a release and on the operations that moved to it.
func (o *Orchestrator) eventsOf(ctx context.Context, key Key, rec Record) ([]Event, error) {
	own := map[string]bool{}
	for _, op := range rec.Operations {
		own[op.ID] = own[op.ID] || op.Release == rec.Release.ID
	}
	after, err := o.EventsBefore(ctx, key, rec.Release.At)
	if err != nil {
		return nil, err
	}
	var found []Event
	for {
		events, err := o.Events(ctx, key, after, recordBatch)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			after = e.Seq
			if e.Release == rec.Release.ID || e.Release == "" && own[e.Operation] {
				found = append(found, e)
			}
		}
		if len(events) < recordBatch {
			return found, nil
		}
	}
}

// recordBatch is how many entries of the journal are held at once while those of a release are looked for.
const recordBatch = 1000

// tailsOf are the last lines of nodes of a release that failed: those of operations that failed, and of fleets there are.
func (o *Orchestrator) tailsOf(ctx context.Context, key Key, rec Record) ([]NodeTail, error) {
	s, err := o.state(ctx, key)
	if err != nil {
		return nil, err
	}
	var tails []NodeTail
	add := func(list []NodeTail) {
		for _, t := range list {
			if !slices.ContainsFunc(tails, func(have NodeTail) bool { return have.Node == t.Node }) {
				tails = append(tails, t)
			}
		}
	}
	for _, op := range rec.Operations {
		if op.Failure != nil && op.Release == rec.Release.ID {
			add(op.Failure.Logs)
		}
	}
	for _, fl := range s.Fleets {
		if fl.ID.Release == rec.Release.ID {
			add(fl.Tails)
		}
	}
	return tails, nil
}

// Diff is what differs between the configurations of two releases, secrets not shown. fault.NotFound for a release that there
// never was, or whose configuration is not kept any more.
func (o *Orchestrator) Diff(ctx context.Context, key Key, from, to string) (a, b Release, changes []ConfigChange, err error) {
	var sides [2]archived
	for i, id := range []string{from, to} {
		if sides[i], err = o.release(ctx, key, id); err != nil {
			return a, b, nil, err
		}
		if sides[i].Thinned {
			return a, b, nil, fault.New(fault.NotFound, "compare %s with %s: the configuration of %s is not kept any more", from, to, id).
				WithHint("history.keep in agent.yaml says for how long it is")
		}
	}
	return sides[0].Release, sides[1].Release, config.Diff(&sides[0].Config, &sides[1].Config), nil
}

// EventsBefore is the number of the newest journal entry before a time: what Events begins after to tell all since then. The
// newest entry that is not kept any more counts as before every time.
func (o *Orchestrator) EventsBefore(ctx context.Context, key Key, at time.Time) (uint64, error) {
	s, err := o.state(ctx, key)
	if err != nil {
		return 0, err
	}
	low, high := uint64(0), s.EventSeq // the answer is from low to high
	for low < high {
		middle := high - (high-low)/2
		e, err := o.opts.Store.Get(ctx, eventKey(key, middle))
		var event Event
		switch {
		case errors.Is(err, store.ErrNotFound):
			low = middle
			continue
		case err == nil:
			err = json.Unmarshal(e.Value, &event)
		}
		if err != nil {
			return 0, fmt.Errorf("read events of %s: %w", key, err)
		}
		if event.At.Before(at) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low, nil
}
