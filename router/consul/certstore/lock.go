package certstore

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
)

// Lock implements certmagic.Locker: it waits until nobody has the lock, and for Consul.
func (s *Storage) Lock(ctx context.Context, name string) error {
	for {
		ok, err := s.TryLock(ctx, name)
		switch {
		case ok:
			return nil
		case err != nil && !fault.Is(err, fault.Unavailable):
			return err
		}
		if consulapi.Sleep(ctx, lockAgain) != nil {
			return fmt.Errorf("lock %s in Consul: %w", name, ctx.Err())
		}
	}
}

// TryLock implements certmagic.TryLocker.
func (s *Storage) TryLock(ctx context.Context, name string) (bool, error) {
	var session string
	err := s.ask(ctx, "lock", name, func(ctx context.Context) (err error) {
		pair, _, err := s.client.KV().Get(s.lockKey(name), reading(ctx))
		if err != nil || pair != nil && pair.Session != "" {
			return err // no session for each look at a lock that somebody has
		}
		session, _, err = s.client.Session().CreateNoChecks(&api.SessionEntry{
			Name: "release: certificate " + name, TTL: ttl.String(), LockDelay: lockDelay, Behavior: api.SessionBehaviorDelete,
		}, writing(ctx))
		return err
	})
	if err != nil || session == "" {
		return false, err
	}
	var ok bool
	err = s.ask(ctx, "lock", name, func(ctx context.Context) (err error) {
		ok, _, err = s.client.KV().Acquire(&api.KVPair{Key: s.lockKey(name), Session: session}, writing(ctx))
		return err
	})
	if err != nil || !ok {
		s.destroy(session)
		return false, err
	}
	renewing, end := context.WithCancel(context.Background())
	go s.renew(renewing, session)
	s.mu.Lock()
	s.held[name] = holding{session: session, end: end}
	s.mu.Unlock()
	return true, nil
}

// renew keeps a lock until it is given back or lost. Obtaining a certificate twice is no harm but to the authority's limits.
func (s *Storage) renew(ctx context.Context, session string) {
	for consulapi.Sleep(ctx, ttl/3) == nil {
		bounded, cancel := context.WithTimeout(ctx, attempt)
		entry, _, err := s.client.Session().Renew(session, writing(bounded))
		cancel()
		if err == nil && entry == nil {
			return
		}
	}
}

// Unlock implements certmagic.Locker.
func (s *Storage) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	h, ok := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	if !ok {
		return fault.New(fault.NotFound, "unlock %s in Consul: it is not locked here", name)
	}
	h.end()
	// The key first: a session that ends with its lock brings the lock delay.
	err := s.ask(context.WithoutCancel(ctx), "unlock", name, func(ctx context.Context) error {
		pair := &api.KVPair{Key: s.lockKey(name), Session: h.session}
		if _, _, err := s.client.KV().Release(pair, writing(ctx)); err != nil {
			return err
		}
		_, _, err := s.client.KV().DeleteCAS(s.released(ctx, name), writing(ctx))
		return err
	})
	s.destroy(h.session)
	return err
}

// released is the key of a lock that nobody has, to be removed as it is.
func (s *Storage) released(ctx context.Context, name string) *api.KVPair {
	pair, _, err := s.client.KV().Get(s.lockKey(name), reading(ctx))
	if err != nil || pair == nil || pair.Session != "" {
		return &api.KVPair{Key: s.lockKey(name), ModifyIndex: 1} // an index that no key has any more: nothing is removed
	}
	return pair
}

// destroy ends a session. One that cannot be ended now ends by its time.
func (s *Storage) destroy(session string) {
	ctx, cancel := context.WithTimeout(context.Background(), attempt)
	defer cancel()
	_, _ = s.client.Session().Destroy(session, writing(ctx))
}
