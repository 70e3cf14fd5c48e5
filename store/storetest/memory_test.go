package storetest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootandshoot/release/store"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) store.Store { return NewMemory() })
}

func TestMemoryInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		changes := watch(t, ctx, m, "")
		first := acquire(t, ctx, m, "leader", "one")
		go func() {
			time.Sleep(time.Minute)
			commit(t, ctx, m, put("a", "x"))
			_ = first.Release(ctx)
		}()
		next(t, ctx, changes)
		began := time.Now()
		next(t, ctx, changes)
		acquire(t, ctx, m, "leader", "two")
		if waited := time.Since(began); waited != time.Minute {
			t.Fatalf("waited %s of virtual time, want a minute", waited)
		}
	})
}

func TestMemoryFaults(t *testing.T) {
	m, ctx, broken := NewMemory(), t.Context(), errors.New("broken")
	fail := func(op, _ string) error {
		if op == "commit" {
			return broken
		}
		return nil
	}
	m.SetFaults(fail, nil)
	if _, err := m.Commit(ctx, put("a", "x")); !errors.Is(err, broken) {
		t.Fatalf("commit: %v", err)
	}
	if got := list(t, ctx, m, ""); len(got) != 0 {
		t.Fatalf("a commit that failed before its effect left %v", got)
	}
	m.SetFaults(nil, fail)
	if _, err := m.Commit(ctx, put("a", "x")); !errors.Is(err, broken) {
		t.Fatalf("commit: %v", err)
	}
	if got := list(t, ctx, m, ""); len(got) != 1 {
		t.Fatalf("a commit that failed after its effect left %v", got)
	}
}

func TestMemoryRestart(t *testing.T) {
	m, ctx := NewMemory(), t.Context()
	commit(t, ctx, m, put("a", "x"))
	l, changes := acquire(t, ctx, m, "leader", "one"), watch(t, ctx, m, "")
	next(t, ctx, changes)
	m.Restart()
	if _, open := <-changes; open || !lost(l) {
		t.Fatal("a restart leaves watches or rights")
	}
	if again := acquire(t, ctx, m, "leader", "two"); again.Epoch() <= l.Epoch() {
		t.Fatalf("epoch %d after %d", again.Epoch(), l.Epoch())
	}
	if got := string(get(t, ctx, m, "a").Value); got != "x" {
		t.Fatalf("a restart left %q", got)
	}
}
