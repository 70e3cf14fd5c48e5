package consul

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/router"
)

const (
	// schema is the version of edgeRecord.
	schema = 1
	// followsName is a file in the edge's folder: the prefix in Consul that its table is from.
	followsName = "follows"
)

// EdgeOptions of an edge.
type EdgeOptions struct {
	Options
	Dir     string        // the data plane's own folder, where it is noted whose table it has
	Program string        // version of the program, for people
	TTL     time.Duration // of the session; 0: 10 s, the shortest that Consul's servers take by default
	Publish time.Duration // the shortest time between two readings of counters; 0: 250 ms
}

// Edge brings a data plane the tables of an installation in Consul, and says there what it serves.
type Edge struct {
	*space
	opts EdgeOptions
	kick chan struct{} // something is to be said at once

	retrying atomic.Bool // a refused table is tried again

	mu     sync.Mutex
	answer answer
}

// answer is what an edge has to say beside its counters.
type answer struct {
	trial      string
	trialFault []problem
	refused    *router.Version
	fault      []problem
}

var _ router.Companion = (*Edge)(nil)

// NewEdge returns an edge; nothing is asked yet. fault.Invalid says which setting is wrong.
func NewEdge(opts EdgeOptions) (*Edge, error) {
	s, err := newSpace(opts.Options)
	if err != nil {
		return nil, err
	}
	opts.TTL, opts.Publish = cmp.Or(opts.TTL, 10*time.Second), cmp.Or(opts.Publish, 250*time.Millisecond)
	return &Edge{space: s, opts: opts, kick: make(chan struct{}, 1)}, nil
}

// Run follows Consul until ctx ends, whether Consul answers or not.
func (e *Edge) Run(ctx context.Context, local router.Local) {
	var all sync.WaitGroup
	all.Go(func() { (&publisher{Edge: e, local: local}).run(ctx) })
	all.Go(func() { e.follow(ctx, e.tableKey(), func(pair *api.KVPair) { e.take(ctx, local, pair) }) })
	all.Go(func() { e.follow(ctx, e.trialKey(), func(pair *api.KVPair) { e.judge(ctx, local, pair) }) })
	all.Wait()
}

// follow hands each value of a key to take; nil when there is none.
func (e *Edge) follow(ctx context.Context, key string, take func(*api.KVPair)) {
	away := false
	consulapi.Follow(ctx, func(q *api.QueryOptions) (*api.QueryMeta, error) {
		pair, meta, err := e.client.KV().Get(key, q)
		if err != nil || ctx.Err() != nil {
			return meta, err
		}
		if away {
			e.space.opts.Log.Info("Consul answers again", "key", key)
		}
		away = false
		take(pair)
		return meta, nil
	}, func(err error) {
		if !away {
			e.space.opts.Log.Warn("follow Consul: the last table is served on", "key", key, "error", e.explain(err))
		}
		away = true
	})
}

// take applies the record. One that is older than what is served is never applied: if Consul lost the newer one, it gets it
// back.
func (e *Edge) take(ctx context.Context, local router.Local, pair *api.KVPair) {
	have, err := local.Applied(ctx)
	if err != nil && !errors.Is(err, router.ErrNoTable) {
		e.space.opts.Log.Error("read the own table", "error", err)
		return
	}
	if pair == nil {
		e.restore(ctx, have)
		return
	}
	t, err := decodeTable(pair.Value)
	if err != nil {
		e.space.opts.Log.Error("the table in Consul does not read: the last one is served on", "key", pair.Key, "error", err)
		e.say(func(a *answer) { a.refused, a.fault = &router.Version{}, problemsOf(err) })
		return
	}
	if t.Version.Compare(have.Version) < 0 {
		e.restore(ctx, have)
		return
	}
	same := t.Version == have.Version
	if err = local.Apply(ctx, t); err == nil {
		err = e.note()
	}
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		e.space.opts.Log.Error("apply the table of Consul: the last one is served on", "version", t.Version.String(), "error", err)
		e.say(func(a *answer) { a.refused, a.fault = &t.Version, problemsOf(err) })
		go e.again(ctx, local, pair)
	case !same || e.refuses():
		e.say(func(a *answer) { a.refused, a.fault = nil, nil })
	}
}

// againAfter is the wait before a refused table is tried again.
const againAfter = 2 * time.Second

// again applies a table that was refused, for as long as it is the newest.
func (e *Edge) again(ctx context.Context, local router.Local, pair *api.KVPair) {
	if !e.retrying.CompareAndSwap(false, true) {
		return
	}
	slept := consulapi.Sleep(ctx, againAfter)
	e.retrying.Store(false)
	if slept != nil {
		return
	}
	now, _, err := e.client.KV().Get(pair.Key, (&api.QueryOptions{}).WithContext(ctx))
	if err == nil && (now == nil || now.ModifyIndex != pair.ModifyIndex) {
		return
	}
	e.take(ctx, local, pair)
}

// restore writes the own table back to Consul if it came from there and is newer than what is there.
func (e *Edge) restore(ctx context.Context, have router.Table) {
	if have.Version == (router.Version{}) {
		return
	}
	if !e.noted() {
		e.space.opts.Log.Error("the table of this edge is newer than the one in Consul, and not from there: it is served on",
			"version", have.Version.String(), "folder", e.opts.Dir)
		return
	}
	now, index, err := e.table(ctx)
	if err != nil || index > 0 && now.Version.Compare(have.Version) >= 0 {
		return // Follow asks again
	}
	if written, err := e.putTable(ctx, have, index); err != nil || !written {
		e.space.opts.Log.Warn("write the table back to Consul", "version", have.Version.String(), "error", err)
		return
	}
	e.space.opts.Log.Warn("Consul had lost the newest table: written back", "version", have.Version.String(), "had", now.Version.String())
}

func (e *Edge) note() error {
	if e.noted() {
		return nil
	}
	return atomicfile.Write(filepath.Join(e.opts.Dir, followsName), []byte(e.space.opts.Prefix), 0o600)
}

// noted says whether the own table is from there.
func (e *Edge) noted() bool {
	b, err := os.ReadFile(filepath.Join(e.opts.Dir, followsName))
	return err == nil && string(b) == e.space.opts.Prefix
}

// judge answers a trial.
func (e *Edge) judge(ctx context.Context, local router.Local, pair *api.KVPair) {
	if pair == nil {
		return
	}
	var q trial
	if err := decode(pair.Value, &q); err != nil {
		e.space.opts.Log.Error("the trial in Consul does not read", "key", pair.Key, "error", err)
		return
	}
	e.mu.Lock()
	known := e.answer.trial == q.ID
	e.mu.Unlock()
	if known {
		return
	}
	err := local.Check(ctx, q.Table)
	if errors.Is(err, router.ErrStale) {
		err = nil // an old question; who asks it now is told by the record
	}
	if ctx.Err() == nil {
		e.say(func(a *answer) { a.trial, a.trialFault = q.ID, problemsOf(err) })
	}
}

// say changes what the edge has to say, and publishes it.
func (e *Edge) say(change func(*answer)) {
	e.mu.Lock()
	change(&e.answer)
	e.mu.Unlock()
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

func (e *Edge) said() answer {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.answer
}

func (e *Edge) refuses() bool { return e.said().refused != nil }
