// Package local holds what stores within one process share: the fan-out of changes to watchers, and named
// rights with a queue. Neither keeps a lock while it waits, so both work in virtual time.
package local

import (
	"context"
	"strings"
	"sync"

	"github.com/bootandshoot/release/store"
)

// Watchers tells watchers of changes. The zero value is ready.
type Watchers struct {
	mu     sync.Mutex
	subs   map[*watcher]struct{}
	closed bool
}

type watcher struct {
	prefix string
	newest uint64
	ch     chan store.Change
}

// Add begins a watch that ends with ctx or at Close, and sends the first change: initial is called when the
// watch already sees later changes, so that none falls between.
func (w *Watchers) Add(ctx context.Context, prefix string, initial func() (uint64, error)) (<-chan store.Change, error) {
	sub := &watcher{prefix: prefix, ch: make(chan store.Change, 1)}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		close(sub.ch)
		return sub.ch, nil
	}
	if w.subs == nil {
		w.subs = map[*watcher]struct{}{}
	}
	w.subs[sub] = struct{}{}
	w.mu.Unlock()
	version, err := initial()
	if err != nil {
		w.remove(sub)
		return nil, err
	}
	w.mu.Lock()
	if _, open := w.subs[sub]; open {
		sub.send(version)
	}
	w.mu.Unlock()
	context.AfterFunc(ctx, func() { w.remove(sub) })
	return sub.ch, nil
}

// send replaces a change that nobody has read yet. Only the holder of the lock sends, so it never blocks.
func (s *watcher) send(version uint64) {
	s.newest = max(s.newest, version)
	select {
	case <-s.ch:
	default:
	}
	s.ch <- store.Change{Version: s.newest}
}

func (w *Watchers) remove(sub *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, open := w.subs[sub]; open {
		delete(w.subs, sub)
		close(sub.ch)
	}
}

// Notify tells the watchers of the keys that they have changed at version. Calls may come out of order.
func (w *Watchers) Notify(version uint64, keys []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for sub := range w.subs {
		if sub.concerns(keys) {
			sub.send(version)
		}
	}
}

func (s *watcher) concerns(keys []string) bool {
	for _, key := range keys {
		if strings.HasPrefix(key, s.prefix) {
			return true
		}
	}
	return false
}

// Close ends all watches, and those begun later at once.
func (w *Watchers) Close() {
	w.end(true)
}

// Reset ends all watches; new ones may begin.
func (w *Watchers) Reset() {
	w.end(false)
}

func (w *Watchers) end(closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for sub := range w.subs {
		close(sub.ch)
	}
	w.subs = nil
	w.closed = closed
}
