package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bootandshoot/release/store"
)

const (
	// journalBlock is how many entries are read at a time: those whose numbers differ in their last two digits only. A store
	// may be a network away.
	journalBlock = 100
	// journalFew is how many are read one by one instead: who follows the journal asks for the newest again and again.
	journalFew = 3
)

func journalPrefix(k Key, block uint64) string { return fmt.Sprintf("events/%s/%010d", k, block) }

// Events reads the journal entries after a sequence number, oldest first, at most limit of them. Entries that are no
// longer kept are skipped.
func (o *Orchestrator) Events(ctx context.Context, key Key, after uint64, limit int) ([]Event, error) {
	s, err := o.state(ctx, key)
	if err != nil {
		return nil, err
	}
	if s.EventSeq > keptEvents {
		after = max(after, s.EventSeq-keptEvents)
	}
	var events []Event
	for seq := after + 1; seq <= s.EventSeq && len(events) < limit; {
		entries, next, err := o.journal(ctx, key, seq, s.EventSeq)
		if err != nil {
			return nil, fmt.Errorf("read events of %s: %w", key, err)
		}
		for _, e := range entries {
			var event Event
			if err := json.Unmarshal(e.Value, &event); err != nil {
				return nil, fmt.Errorf("read events of %s: %w", key, err)
			}
			// What is beyond the state's count is of a change that was never finished.
			if event.Seq >= seq && event.Seq <= s.EventSeq && len(events) < limit {
				events = append(events, event)
			}
		}
		seq = next
	}
	return events, nil
}

// journal reads some entries from a number on, and says from where to go on.
func (o *Orchestrator) journal(ctx context.Context, key Key, from, last uint64) (entries []store.Entry, next uint64, err error) {
	if last-from >= journalFew {
		block := from / journalBlock
		entries, err = o.opts.Store.List(ctx, journalPrefix(key, block))
		return entries, (block + 1) * journalBlock, err
	}
	e, err := o.opts.Store.Get(ctx, eventKey(key, from))
	if errors.Is(err, store.ErrNotFound) {
		return nil, from + 1, nil
	}
	return []store.Entry{e}, from + 1, err
}
