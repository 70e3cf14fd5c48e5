package consul

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

// lease is a right that is held.
type lease struct {
	store   *Store
	name    string
	session string
	ttl     time.Duration
	epoch   uint64
	lost    chan struct{}
	ctx     context.Context // ends with the lease
	end     context.CancelFunc

	mu      sync.Mutex
	over    bool
	failing bool          // the last renewal failed
	renewed time.Duration // when the last renewal that succeeded was sent, by the store's clock
}

var _ store.Lease = (*lease)(nil)

// Epoch implements store.Lease.
func (l *lease) Epoch() uint64 { return l.epoch }

// Lost implements store.Lease.
func (l *lease) Lost() <-chan struct{} { return l.lost }

// hold begins to keep a right whose session was made or renewed at that time.
func (s *Store) hold(name, session string, ttl time.Duration, epoch uint64, renewed time.Duration) (*lease, error) {
	l := &lease{store: s, name: name, session: session, ttl: ttl, epoch: epoch, renewed: renewed, lost: make(chan struct{})}
	l.ctx, l.end = context.WithCancel(s.ctx)
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.leases[l] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		return nil, errors.Join(store.ErrLeaseLost, l.Release(context.Background()))
	}
	go l.renewals()
	go l.watchdog()
	go l.watch()
	return l, nil
}

// lose ends the right for its holder; the first call says why.
func (l *lease) lose(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	close(l.lost)
	l.end()
	l.store.mu.Lock()
	delete(l.store.leases, l)
	l.store.mu.Unlock()
	if why != "" {
		l.store.opts.Log.Warn("lease lost", "name", l.name, "epoch", l.epoch, "why", why)
	}
}

// left is how long the right still lasts if no renewal succeeds: nine tenths of a TTL from the last one that did.
func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewed + l.ttl - l.ttl/10 - l.store.opts.clock()
}

// watchdog ends the right in time, whatever a request under way waits for. It looks often instead of setting a timer, since
// timers stand still while the machine sleeps.
func (l *lease) watchdog() {
	ticker := time.NewTicker(l.ttl / 50)
	defer ticker.Stop()
	for {
		select {
		case <-l.ctx.Done():
			l.lose("the store was closed")
			return
		case <-ticker.C:
			if l.left() <= 0 {
				l.lose(fmt.Sprintf("Consul did not renew it within %s", l.ttl))
				return
			}
		}
	}
}

// renewals renews the session three times in a TTL, and more often while that fails.
func (l *lease) renewals() {
	for pause := l.ttl / 3; consulapi.Sleep(l.ctx, pause) == nil; {
		if l.renew() {
			pause = l.ttl / 3
		} else {
			pause = l.ttl / 20
		}
	}
}

// renew is one try. It counts from the moment it was sent: Consul may have taken it at once.
func (l *lease) renew() bool {
	sent := l.store.opts.clock()
	ctx, cancel := context.WithTimeout(l.ctx, l.ttl/4)
	defer cancel()
	entry, _, err := l.store.client.Session().Renew(l.session, (&api.WriteOptions{}).WithContext(ctx))
	switch {
	case err != nil:
		if l.ctx.Err() == nil && l.first() {
			l.store.opts.Log.Warn("renew lease", "name", l.name, "left", l.left(), "error", l.store.explain(err))
		}
		return false
	case entry == nil:
		l.lose("its session is gone at Consul")
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed, l.failing = sent, false
	return true
}

// first says of a failed renewal whether the one before succeeded.
func (l *lease) first() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.failing
	l.failing = true
	return !before
}

// watch ends the right as soon as Consul says that somebody took it away.
func (l *lease) watch() {
	consulapi.Follow(l.ctx, func(q *api.QueryOptions) (*api.QueryMeta, error) {
		q.RequireConsistent = true
		pair, meta, err := l.store.client.KV().Get(l.store.lockKey(l.name), q)
		if err == nil && (pair == nil || pair.Session != l.session) {
			l.lose("Consul gave its lock up")
		}
		return meta, err
	}, func(error) {}) // renewals say it
}

// releaseTime bounds a release, with room for an election of Consul's: whoever waits for it is about to end.
const releaseTime = patience

// Release implements store.Lease. The holder has lost the right when it returns, also with an error; then the right is free
// for others after its time only.
func (l *lease) Release(ctx context.Context) error {
	l.mu.Lock()
	over := l.over
	l.mu.Unlock()
	if over {
		return nil
	}
	l.lose("")
	ctx, cancel := context.WithTimeout(ctx, releaseTime)
	defer cancel()
	if err := l.store.unlock(ctx, l.name, l.session); err != nil {
		return fmt.Errorf("release %q: %w", l.name, err)
	}
	return nil
}

// unlock gives a lock up and ends its session. The lock first: a session that ends with it brings the lock delay.
func (s *Store) unlock(ctx context.Context, name, session string) error {
	op := &api.KVTxnOp{Verb: api.KVUnlock, Key: s.lockKey(name), Session: session}
	_, err := s.transact(ctx, api.TxnOps{{KV: op}})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	s.destroy(ctx, session)
	return nil
}

// destroy ends a session. One that cannot be ended now ends by its TTL.
func (s *Store) destroy(ctx context.Context, session string) {
	_, err := s.client.Session().Destroy(session, (&api.WriteOptions{}).WithContext(ctx))
	if err = s.explain(err); err != nil && !fault.Is(err, fault.Unavailable) && ctx.Err() == nil {
		s.opts.Log.Warn("end session at Consul", "session", session, "error", err)
	}
}
