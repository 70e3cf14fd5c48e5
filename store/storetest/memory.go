package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/store/local"
)

// Memory is a store in memory for tests. It uses no socket and waits on channels only, so it works within
// testing/synctest.
type Memory struct {
	watchers local.Watchers
	rights   local.Rights

	mu            sync.Mutex
	entries       map[string]store.Entry
	epochs        map[string]uint64
	version       uint64
	before, after Fault
}

// Fault decides whether a call fails. The operation is "get", "list", "commit", "watch" or "acquire", the key its
// first key, prefix or name.
type Fault func(op, key string) error

var _ store.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{entries: map[string]store.Entry{}, epochs: map[string]uint64{}}
}

// SetFaults makes calls fail: where before returns an error the call does nothing, where after does it takes effect
// all the same, as when an answer is lost. Nil sets nothing.
func (m *Memory) SetFaults(before, after Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before, m.after = before, after
}

// Restart is what a kill of the only process does to a store: rights and watches end, entries and epochs stay.
func (m *Memory) Restart() {
	m.rights.Reset()
	m.watchers.Reset()
}

func (m *Memory) enter(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %q: %w", op, key, err)
	}
	m.mu.Lock()
	fail := m.before
	m.mu.Unlock()
	return call(fail, op, key)
}

func (m *Memory) leave(op, key string) error {
	m.mu.Lock()
	fail := m.after
	m.mu.Unlock()
	return call(fail, op, key)
}

func call(fail Fault, op, key string) error {
	if fail == nil {
		return nil
	}
	return fail(op, key)
}

// Get implements store.Store.
func (m *Memory) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := m.enter(ctx, "get", key); err != nil {
		return store.Entry{}, err
	}
	m.mu.Lock()
	e, ok := m.entries[key]
	m.mu.Unlock()
	if !ok {
		return store.Entry{}, fmt.Errorf("get %q: %w", key, store.ErrNotFound)
	}
	return clone(e), m.leave("get", key)
}

// List implements store.Store.
func (m *Memory) List(ctx context.Context, prefix string) ([]store.Entry, error) {
	if err := m.enter(ctx, "list", prefix); err != nil {
		return nil, err
	}
	return m.list(prefix), m.leave("list", prefix)
}

func (m *Memory) list(prefix string) []store.Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []store.Entry
	for key, e := range m.entries {
		if strings.HasPrefix(key, prefix) {
			found = append(found, clone(e))
		}
	}
	slices.SortFunc(found, func(a, b store.Entry) int { return strings.Compare(a.Key, b.Key) })
	return found
}

// Commit implements store.Store.
func (m *Memory) Commit(ctx context.Context, writes ...store.Write) (uint64, error) {
	if err := local.CheckWrites(writes); err != nil {
		return 0, err
	}
	first := ""
	if len(writes) > 0 {
		first = writes[0].Key
	}
	if err := m.enter(ctx, "commit", first); err != nil {
		return 0, err
	}
	version, err := m.apply(writes)
	if err != nil {
		return 0, err
	}
	m.watchers.Notify(version, local.Written(writes))
	return version, m.leave("commit", first)
}

func (m *Memory) apply(writes []store.Write) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range writes {
		if !local.Allows(w, m.entries[w.Key].Version) {
			return 0, fmt.Errorf("commit %q: %w", w.Key, store.ErrConflict)
		}
	}
	if len(local.Written(writes)) > 0 {
		m.version++
	}
	for _, w := range writes {
		if w.Check {
			continue
		}
		if w.Value == nil {
			delete(m.entries, w.Key)
			continue
		}
		m.entries[w.Key] = clone(store.Entry{Key: w.Key, Value: w.Value, Version: m.version})
	}
	return m.version, nil
}

// clone keeps callers from changing what is stored, and the other way round.
func clone(e store.Entry) store.Entry {
	e.Value = append([]byte{}, e.Value...)
	return e
}

// Watch implements store.Store.
func (m *Memory) Watch(ctx context.Context, prefix string) (<-chan store.Change, error) {
	if err := m.enter(ctx, "watch", prefix); err != nil {
		return nil, err
	}
	return m.watchers.Add(ctx, prefix, func() (uint64, error) {
		var newest uint64
		for _, e := range m.list(prefix) {
			newest = max(newest, e.Version)
		}
		return newest, nil
	})
}

// Acquire implements store.Store. The holder lives in this process, so the right never ends by time.
func (m *Memory) Acquire(ctx context.Context, name, _ string, _ time.Duration) (store.Lease, error) {
	if err := m.enter(ctx, "acquire", name); err != nil {
		return nil, err
	}
	return m.rights.Acquire(ctx, name, func() (uint64, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.epochs[name]++
		return m.epochs[name], nil
	})
}
