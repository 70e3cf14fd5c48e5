package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bootandshoot/release/store"
)

func watchBegins(t *testing.T, ctx context.Context, s store.Store) {
	if c := next(t, ctx, watch(t, ctx, s, "a/")); c.Version != 0 {
		t.Errorf("first change of an empty prefix: %d, want 0", c.Version)
	}
	version := commit(t, ctx, s, put("a/1", "x"))
	commit(t, ctx, s, put("b/1", "x"))
	if c := next(t, ctx, watch(t, ctx, s, "a/")); c.Version != version {
		t.Errorf("first change: %d, want %d", c.Version, version)
	}
}

func watchPrefix(t *testing.T, ctx context.Context, s store.Store) {
	changes := watch(t, ctx, s, "a/")
	next(t, ctx, changes)
	other := commit(t, ctx, s, put("b", "x"))
	version := commit(t, ctx, s, put("c", "x"), put("a/1", "x"))
	if c := next(t, ctx, changes); c.Version != version {
		t.Errorf("change %d, want %d (%d is another prefix)", c.Version, version, other)
	}
	version = commit(t, ctx, s, store.Write{Key: "a/1", Any: true})
	if c := next(t, ctx, changes); c.Version != version {
		t.Errorf("change %d after a delete, want %d", c.Version, version)
	}
}

func watchMerges(t *testing.T, ctx context.Context, s store.Store) {
	changes := watch(t, ctx, s, "a/")
	var last uint64
	for i := range 50 {
		last = commit(t, ctx, s, put(fmt.Sprintf("a/%d", i), "x"))
	}
	for seen := uint64(0); seen < last; {
		c := next(t, ctx, changes)
		if c.Version < seen {
			t.Fatalf("change %d after %d", c.Version, seen)
		}
		seen = c.Version
	}
}

func watchEnds(t *testing.T, ctx context.Context, s store.Store) {
	short, cancel := context.WithCancel(ctx)
	changes := watch(t, short, s, "")
	cancel()
	for {
		select {
		case _, open := <-changes:
			if !open {
				commit(t, ctx, s, put("a", "x"))
				return
			}
		case <-ctx.Done():
			t.Fatal("the channel stays open after the context ended")
		}
	}
}

func exclusive(t *testing.T, ctx context.Context, s store.Store) {
	first := acquire(t, ctx, s, "leader", "one")
	if lost(first) {
		t.Fatal("lost at once")
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := s.Acquire(short, "leader", "two", time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a second holder: %v, want the end of its context", err)
	}
	for range 2 {
		if err := first.Release(ctx); err != nil {
			t.Fatalf("release: %v", err)
		}
	}
	if !lost(first) {
		t.Fatal("Lost is open after Release")
	}
	second := acquire(t, ctx, s, "leader", "two")
	if second.Epoch() <= first.Epoch() {
		t.Fatalf("epoch %d after %d", second.Epoch(), first.Epoch())
	}
	if err := first.Release(ctx); err != nil || lost(second) {
		t.Fatalf("a late release of the first took the second's right (%v)", err)
	}
}

func passesOn(t *testing.T, ctx context.Context, s store.Store) {
	held := acquire(t, ctx, s, "leader", "0")
	const waiting = 5
	got := make(chan store.Lease, waiting)
	for i := range waiting {
		go func() {
			l, err := s.Acquire(ctx, "leader", fmt.Sprint(i+1), time.Minute)
			if err != nil {
				t.Error(err)
			}
			got <- l
		}()
	}
	for range waiting {
		if err := held.Release(ctx); err != nil {
			t.Fatal(err)
		}
		l := <-got
		if l == nil {
			t.FailNow()
		}
		if l.Epoch() <= held.Epoch() {
			t.Fatalf("epoch %d after %d", l.Epoch(), held.Epoch())
		}
		held = l
	}
	select {
	case <-got:
		t.Fatal("two hold the right")
	default:
	}
}

func waitEnds(t *testing.T, ctx context.Context, s store.Store) {
	held := acquire(t, ctx, s, "leader", "one")
	short, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		_, err := s.Acquire(short, "leader", "two", time.Minute)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("waiting: %v, want the end of its context", err)
	}
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	acquire(t, ctx, s, "leader", "three")
}

func otherNames(t *testing.T, ctx context.Context, s store.Store) {
	a, b := acquire(t, ctx, s, "a", "me"), acquire(t, ctx, s, "b", "me")
	if err := a.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if lost(b) {
		t.Fatal("releasing one right ended another")
	}
}

func watch(t *testing.T, ctx context.Context, s store.Store, prefix string) <-chan store.Change {
	t.Helper()
	changes, err := s.Watch(ctx, prefix)
	if err != nil {
		t.Fatalf("watch %s: %v", prefix, err)
	}
	return changes
}

func next(t *testing.T, ctx context.Context, changes <-chan store.Change) store.Change {
	t.Helper()
	select {
	case c, open := <-changes:
		if !open {
			t.Fatal("the watch ended")
		}
		return c
	case <-ctx.Done():
		t.Fatal("no change came")
	}
	return store.Change{}
}

func acquire(t *testing.T, ctx context.Context, s store.Store, name, holder string) store.Lease {
	t.Helper()
	l, err := s.Acquire(ctx, name, holder, time.Minute)
	if err != nil {
		t.Fatalf("acquire %s for %s: %v", name, holder, err)
	}
	return l
}

func lost(l store.Lease) bool {
	select {
	case <-l.Lost():
		return true
	default:
		return false
	}
}
