package consul

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

const (
	// consulTTL is the shortest TTL that Consul's servers take by default (session_ttl_min).
	consulTTL = 10 * time.Second
	// lockAgain is the wait before a lock is tried again that nobody holds and Consul does not give: the lock delay is not
	// told by blocking queries.
	lockAgain = 400 * time.Millisecond
)

// acquisition is a value of epochs.
type acquisition struct {
	Epoch  uint64 `json:"epoch"`
	Holder string `json:"holder"`
}

// holding is a value of leases while somebody holds it.
type holding struct {
	Holder string `json:"holder"`
	Client string `json:"client"`
}

// acquirer is one call of Acquire.
type acquirer struct {
	store        *Store
	name, holder string
	ttl          time.Duration
	session      string        // "": none yet
	renewed      time.Duration // when it was made or renewed, by the store's clock
	away         bool          // Consul did not answer last
}

func (s *Store) lockKey(name string) string { return s.key("leases/" + name) }

func (s *Store) epochKey(name string) string { return s.key("epochs/" + name) }

// Acquire implements store.Store. It waits for Consul as well, for as long as it takes; other errors end it.
func (s *Store) Acquire(ctx context.Context, name, holder string, ttl time.Duration) (store.Lease, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(store.ErrLeaseLost) })()
	a := &acquirer{store: s, name: name, holder: holder, ttl: max(ttl, s.opts.leastTTL)}
	l, err := a.run(ctx)
	if err != nil {
		a.abandon()
		return nil, fmt.Errorf("acquire %q: %w", name, err)
	}
	return l, nil
}

func (a *acquirer) run(ctx context.Context) (*lease, error) {
	for {
		l, err := a.try(ctx)
		switch {
		case ctx.Err() != nil:
			if l != nil {
				_ = l.Release(context.WithoutCancel(ctx))
			}
			return nil, ended(ctx)
		case l != nil:
			return l, nil
		case fault.Is(err, fault.Unavailable):
			if !a.away {
				a.store.opts.Log.Warn("wait for Consul to acquire a lease", "name", a.name, "error", err)
			}
			a.away = true
		case err != nil:
			return nil, err
		default:
			a.away = false
		}
		if err := consulapi.Sleep(ctx, lockAgain); err != nil {
			return nil, ended(ctx)
		}
	}
}

// ended is why a context ended: the store was closed, or what its caller did.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, store.ErrLeaseLost) {
		return cause
	}
	return ctx.Err()
}

// try waits until nobody holds the lock and takes it, with the next epoch in the same transaction. Without error and lease the
// lock was not given: somebody was quicker, or the lock delay is on.
func (a *acquirer) try(ctx context.Context) (*lease, error) {
	have, err := a.read(ctx)
	if err != nil {
		return nil, err
	}
	if have.session != "" && have.session == a.session { // taken by a try whose answer was lost
		return a.store.hold(a.name, a.session, a.ttl, have.epoch, a.renewed)
	}
	if have.session != "" {
		return nil, a.await(ctx, have.index)
	}
	if err := a.freshSession(ctx); err != nil {
		return nil, err
	}
	return a.lock(ctx, have)
}

// lockState is the lock and its counter as they are.
type lockState struct {
	session    string // of the holder; "": nobody
	index      uint64 // of the lock
	epoch      uint64
	epochIndex uint64
}

func (a *acquirer) read(ctx context.Context) (lockState, error) {
	lock, epoch := a.store.lockKey(a.name), a.store.epochKey(a.name)
	results, err := a.store.transactOnce(ctx, api.TxnOps{
		{KV: &api.KVTxnOp{Verb: api.KVGetOrEmpty, Key: lock}}, {KV: &api.KVTxnOp{Verb: api.KVGetOrEmpty, Key: epoch}},
	})
	if err != nil {
		return lockState{}, err
	}
	var have lockState
	for _, r := range results {
		switch {
		case r.KV == nil:
		case r.KV.Key == lock:
			have.session, have.index = r.KV.Session, r.KV.ModifyIndex
		case r.KV.Key == epoch && len(r.KV.Value) > 0:
			var last acquisition
			if err := json.Unmarshal(r.KV.Value, &last); err != nil {
				return have, fault.New(fault.Failed, "read its epoch in %s: %w", epoch, err)
			}
			have.epoch, have.epochIndex = last.Epoch, r.KV.ModifyIndex
		}
	}
	return have, nil
}

// await returns when the lock has changed.
func (a *acquirer) await(ctx context.Context, index uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var last error
	consulapi.Follow(ctx, func(q *api.QueryOptions) (*api.QueryMeta, error) {
		pair, meta, err := a.store.client.KV().Get(a.store.lockKey(a.name), q)
		if err == nil && (pair == nil || pair.ModifyIndex != index || pair.Session == "") {
			cancel()
		}
		return meta, err
	}, func(err error) {
		last = a.store.explain(err)
		cancel()
	})
	return last
}

// freshSession makes sure of a session that was renewed a moment ago, so that its right does not begin half over.
func (a *acquirer) freshSession(ctx context.Context) error {
	now := a.store.opts.clock()
	if a.session != "" && now-a.renewed < a.ttl/3 {
		return nil
	}
	return a.store.once(ctx, func(ctx context.Context) error {
		opts := (&api.WriteOptions{}).WithContext(ctx)
		if a.session != "" {
			entry, _, err := a.store.client.Session().Renew(a.session, opts)
			if err == nil && entry != nil {
				a.renewed = now
			}
			if err != nil || entry != nil {
				return err
			}
		}
		id, _, err := a.store.client.Session().CreateNoChecks(&api.SessionEntry{
			Name: "release: " + a.name + " of " + a.holder, TTL: a.ttl.String(), LockDelay: a.ttl, Behavior: api.SessionBehaviorRelease,
		}, opts)
		if err == nil {
			a.session, a.renewed = id, now
		}
		return err
	})
}

func (a *acquirer) lock(ctx context.Context, have lockState) (*lease, error) {
	holder, err := json.Marshal(holding{Holder: a.holder, Client: a.store.opts.Client})
	if err != nil {
		return nil, err
	}
	next, err := json.Marshal(acquisition{Epoch: have.epoch + 1, Holder: a.holder})
	if err != nil {
		return nil, err
	}
	_, err = a.store.transactOnce(ctx, api.TxnOps{
		{KV: &api.KVTxnOp{Verb: api.KVLock, Key: a.store.lockKey(a.name), Value: holder, Session: a.session}},
		{KV: &api.KVTxnOp{Verb: api.KVCAS, Key: a.store.epochKey(a.name), Value: next, Index: have.epochIndex}},
	})
	var refused *refusal
	if errors.As(err, &refused) {
		if strings.Contains(refused.why, "invalid session") {
			a.session = "" // it ended while we waited
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return a.store.hold(a.name, a.session, a.ttl, have.epoch+1, a.renewed)
}

// abandon leaves nothing behind of a call that failed: a lock whose answer was lost is given up too.
func (a *acquirer) abandon() {
	if a.session == "" || a.store.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(a.store.ctx, releaseTime)
	defer cancel()
	if err := a.store.unlock(ctx, a.name, a.session); err != nil {
		a.store.opts.Log.Warn("give up a lock", "name", a.name, "error", cmp.Or(err, ctx.Err()))
	}
}

// reclaim gives up the rights that an earlier process of this client still holds, so that nobody waits for their time.
func (s *Store) reclaim(ctx context.Context) error {
	var locks api.KVPairs
	err := s.try(ctx, func(ctx context.Context) (err error) {
		locks, _, err = s.client.KV().List(s.lockKey(""), consistent(ctx))
		return err
	})
	if err != nil {
		return err
	}
	for _, lock := range locks {
		var held holding
		if lock.Session == "" || json.Unmarshal(lock.Value, &held) != nil || held.Client != s.opts.Client {
			continue
		}
		if err := s.unlock(ctx, strings.TrimPrefix(lock.Key, s.lockKey("")), lock.Session); err != nil {
			return err
		}
	}
	return nil
}
