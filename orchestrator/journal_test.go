package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/store/embedded"
)

// countingStore counts what is read of it.
type countingStore struct {
	store.Store
	reads atomic.Int64
}

func (s *countingStore) Get(ctx context.Context, key string) (store.Entry, error) {
	s.reads.Add(1)
	return s.Store.Get(ctx, key)
}

func (s *countingStore) List(ctx context.Context, prefix string) ([]store.Entry, error) {
	s.reads.Add(1)
	return s.Store.List(ctx, prefix)
}

// longJournal is an orchestrator of an app with so many entries in its journal, one a second from a time on.
func longJournal(t *testing.T, entries uint64, from time.Time) (*Orchestrator, *countingStore) {
	t.Helper()
	s, err := embedded.Open(filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var writes []store.Write
	for seq := uint64(1); seq <= entries; seq++ {
		value, err := json.Marshal(Event{Seq: seq, At: from.Add(time.Duration(seq) * time.Second), App: shop.App, Env: shop.Env, Type: "node.healthy", Message: fmt.Sprintf("entry %d", seq)})
		if err != nil {
			t.Fatal(err)
		}
		writes = append(writes, store.Write{Key: eventKey(shop, seq), Value: value})
		if len(writes) == store.MaxWrites || seq == entries {
			if _, err := s.Commit(t.Context(), writes...); err != nil {
				t.Fatal(err)
			}
			writes = nil
		}
	}
	counting := &countingStore{Store: s}
	o := &Orchestrator{opts: Options{Store: counting, Now: time.Now}, ready: make(chan struct{}), over: make(chan struct{}),
		apps: map[Key]*app{shop: {state: &State{Key: shop, EventSeq: entries}}}}
	close(o.ready)
	return o, counting
}

// A long journal is read and let go of in few steps: a store may be a network away.
func TestJournalInFewReads(t *testing.T) {
	from := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	o, s := longJournal(t, keptEvents, from)
	reads := func(what string, most int64, f func()) {
		t.Helper()
		s.reads.Store(0)
		began := time.Now()
		f()
		n := s.reads.Load()
		t.Logf("%s: %d reads, %s", what, n, time.Since(began).Round(time.Millisecond))
		if n > most {
			t.Errorf("%s takes %d reads, want at most %d", what, n, most)
		}
	}
	reads("the last ten entries", 30, func() {
		after, err := o.EventsBefore(t.Context(), shop, from.Add((keptEvents-9)*time.Second))
		if err != nil || after != keptEvents-10 {
			t.Fatalf("after %d, %v", after, err)
		}
		if events, err := o.Events(t.Context(), shop, after, 1000); err != nil || len(events) != 10 {
			t.Fatalf("%d events, %v", len(events), err)
		}
	})
	reads("all entries", keptEvents/journalBlock+5, func() {
		if events, err := o.Events(t.Context(), shop, 0, keptEvents); err != nil || len(events) != keptEvents {
			t.Fatalf("%d events, %v", len(events), err)
		}
	})
	for _, old := range []uint64{0, 1, journalBlock - 1, journalBlock, journalBlock + 1, keptEvents} {
		reads(fmt.Sprintf("%d old entries", old), int64(old/journalBlock)+25, func() {
			writes, err := o.oldEvents(t.Context(), shop, from.Add(time.Duration(old+1)*time.Second))
			if err != nil || len(writes) != int(old) {
				t.Fatalf("%d are old, %v; want %d", len(writes), err, old)
			}
			for i, w := range writes {
				if w.Key != eventKey(shop, uint64(i)+1) {
					t.Fatalf("the %dth is %s: the oldest go first", i, w.Key)
				}
			}
		})
	}
}
