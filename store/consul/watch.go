package consul

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/store"
)

// watch is one watch of a prefix. It asks for names only, whose index is that of the newest change below the prefix.
type watch struct {
	store   *Store
	prefix  string // in Consul
	changes chan store.Change
	index   uint64
	empty   bool
	away    bool // Consul did not answer last
}

// Watch implements store.Store. While Consul is away nothing comes; what changed meanwhile is one change afterwards.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan store.Change, error) {
	w := &watch{store: s, prefix: s.entryKey(prefix), changes: make(chan store.Change, 1)}
	err := s.try(ctx, func(ctx context.Context) error {
		names, meta, err := s.client.KV().Keys(w.prefix, "", consistent(ctx))
		if err == nil {
			w.index, w.empty = meta.LastIndex, len(names) == 0
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("watch %q: %w", prefix, err)
	}
	first := store.Change{Version: w.index}
	if w.empty {
		first.Version = 0 // the index is that of all keys
	}
	w.changes <- first
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	go func() {
		defer close(w.changes)
		defer cancel()
		defer stop()
		consulapi.Follow(ctx, w.ask, w.failed)
	}()
	return w.changes, nil
}

func (w *watch) ask(q *api.QueryOptions) (*api.QueryMeta, error) {
	names, meta, err := w.store.client.KV().Keys(w.prefix, "", q)
	if err != nil {
		return nil, err
	}
	w.away = false
	w.take(meta.LastIndex, len(names) == 0)
	return meta, nil
}

// take tells of a change if there is one. Below a prefix without keys Consul's index is that of all keys, or of what was
// deleted there last: it says nothing.
func (w *watch) take(index uint64, empty bool) {
	changed := index != w.index && !(empty && w.empty) || empty != w.empty
	w.index, w.empty = index, empty
	if !changed {
		return
	}
	select { // one that nobody has read is replaced
	case <-w.changes:
	default:
	}
	w.changes <- store.Change{Version: index}
}

func (w *watch) failed(err error) {
	if !w.away {
		w.store.opts.Log.Warn("watch Consul", "prefix", w.prefix, "error", w.store.explain(err))
	}
	w.away = true
}
