package consul

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/test/tools/consultest"
)

// first waits until one of the holders leads, and gives it with its epoch.
func first(t *testing.T, holders []*holder, within time.Duration) (*holder, int) {
	t.Helper()
	deadline := time.Now().Add(within)
	for time.Now().Before(deadline) {
		for _, h := range holders {
			select {
			case line := <-h.lines:
				var epoch int
				if _, err := fmt.Sscanf(line, "leads %d", &epoch); err != nil {
					t.Fatalf("%s says %q", h.name, line)
				}
				return h, epoch
			default:
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("nobody leads within %s", within)
	return nil, 0
}

func without(holders []*holder, h *holder) []*holder {
	return slices.DeleteFunc(slices.Clone(holders), func(other *holder) bool { return other == h })
}

// TestElection lets processes wait for a right with the times that agents use: one that is killed is replaced within
// 40 s, one that ends in order within 2 s.
func TestElection(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consultest.Options{Servers: 3})
	client := c.Client()
	var holders []*holder
	for _, name := range []string{"alpha", "beta", "gamma", "delta"} {
		holders = append(holders, startHolder(t, name, client.Address, "test/election/", "10s"))
	}
	leader, epoch := first(t, holders, 20*time.Second)
	holders = without(holders, leader)
	began := time.Now()
	leader.kill()
	next, later := first(t, holders, 40*time.Second)
	t.Logf("killed: replaced after %s", time.Since(began).Round(time.Millisecond))
	if later <= epoch {
		t.Errorf("epoch %d after %d", later, epoch)
	}
	holders = without(holders, next)
	began = time.Now()
	next.signal(syscall.SIGTERM)
	last, latest := first(t, holders, 2*time.Second)
	t.Logf("ended in order: replaced after %s", time.Since(began).Round(time.Millisecond))
	if latest <= later {
		t.Errorf("epoch %d after %d", latest, later)
	}
	// A leader and the server that leads die together: the new server begins to count the session's time anew, and so does each
	// further one on a machine that is so busy that servers step down.
	holders = without(holders, last)
	began = time.Now()
	c.Leader().Kill()
	last.kill()
	first(t, holders, 3*time.Minute)
	t.Logf("killed together with Consul's leader: replaced after %s", time.Since(began).Round(time.Millisecond))
}

// TestStaleLeader stops a leader as a machine that hangs does, and lets it go on when another leads: what it then writes is
// refused, and it learns that it does not lead.
func TestStaleLeader(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consultest.Options{Config: quick})
	s := open(t, c.Servers[0], shortLived)
	stale := startHolder(t, "stale", c.Servers[0].Address, s.opts.Prefix, "1s")
	stale.says("leads", 20*time.Second)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := s.Get(t.Context(), "by/stale"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the leader writes nothing")
		}
	}
	stale.signal(syscall.SIGSTOP)
	next := startHolder(t, "next", c.Servers[0].Address, s.opts.Prefix, "1s")
	next.says("leads", 20*time.Second)
	before, err := s.Get(t.Context(), "by/stale")
	if err != nil {
		t.Fatal(err)
	}
	stale.signal(syscall.SIGCONT)
	stale.says("fenced", 20*time.Second)
	stale.says("lost", 20*time.Second)
	if after, err := s.Get(t.Context(), "by/stale"); err != nil || after.Version != before.Version {
		t.Errorf("the stale leader wrote: %+v after %+v, %v", after, before, err)
	}
	if e, err := s.Get(t.Context(), "leader"); err != nil || string(e.Value) != "next" {
		t.Errorf("%q leads, %v", e.Value, err)
	}
}

// lostWithin says how long it takes until a right is lost.
func lostWithin(t *testing.T, l store.Lease, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	select {
	case <-l.Lost():
	case <-time.After(within):
		t.Fatalf("the right is not lost within %s", within)
	}
	return time.Since(began)
}

func TestHolderKnowsBeforeTheNext(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	tests := map[string]func(*testing.T, *consultest.Member, *Store, *lease){
		"Consul hangs":         func(_ *testing.T, m *consultest.Member, _ *Store, _ *lease) { m.Pause() },
		"Consul is killed":     func(_ *testing.T, m *consultest.Member, _ *Store, _ *lease) { m.Kill() },
		"the session is ended": func(t *testing.T, _ *consultest.Member, s *Store, l *lease) { s.destroy(t.Context(), l.session) },
		"the lock is deleted": func(t *testing.T, _ *consultest.Member, s *Store, l *lease) {
			if _, err := s.client.KV().Delete(s.lockKey(l.name), nil); err != nil {
				t.Error(err)
			}
		},
	}
	for name, harm := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := consultest.Start(t, consultest.Options{Config: quick})
			m := c.Servers[0]
			s := open(t, m, shortLived)
			l, err := s.Acquire(t.Context(), "leader", "one", ttl)
			if err != nil {
				t.Fatal(err)
			}
			harm(t, m, s, l.(*lease))
			if took := lostWithin(t, l, ttl); took >= ttl {
				t.Errorf("the holder knew after %s, others may have it after %s", took, ttl)
			}
			if name == "Consul hangs" {
				m.Resume()
			}
			if !m.Running() {
				m.Start()
			}
			c.Await()
			again, err := s.Acquire(t.Context(), "leader", "two", ttl)
			if err != nil {
				t.Fatal(err)
			}
			if again.Epoch() <= l.Epoch() {
				t.Errorf("epoch %d after %d", again.Epoch(), l.Epoch())
			}
		})
	}
}

// TestClockOfTheHolder lets the machine sleep: the right's time passes although no timer runs.
func TestClockOfTheHolder(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consultest.Options{})
	var slept atomicDuration
	s := open(t, c.Servers[0], func(o *Options) { o.clock = func() time.Duration { return bootClock() + slept.load() } })
	l, err := s.Acquire(t.Context(), "leader", "one", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	slept.add(8 * time.Second)
	select {
	case <-l.Lost():
		t.Fatal("lost before its time")
	case <-time.After(500 * time.Millisecond):
	}
	slept.add(8 * time.Second)
	lostWithin(t, l, 2*time.Second)
	// Nobody took it meanwhile, so that it is free once Consul ends the session, or at once when it is released.
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNextProcessOfTheSameClient need not wait for the right of the one that was killed; another's it leaves alone.
func TestNextProcessOfTheSameClient(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consultest.Options{})
	s := open(t, c.Servers[0])
	dead := startHolder(t, "alpha", c.Servers[0].Address, s.opts.Prefix, "10s")
	dead.says("leads 1", 20*time.Second)
	dead.kill()
	as := func(client string, sole bool) *Store {
		return open(t, c.Servers[0], at(s.opts.Prefix), func(o *Options) { o.Client, o.Sole = client, sole })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	for _, other := range []*Store{as("beta", true), as("alpha", false)} {
		if _, err := other.Acquire(ctx, "leader", other.opts.Client, time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s: %v", other.opts.Client, err)
		}
	}
	began := time.Now()
	l, err := as("alpha", true).Acquire(t.Context(), "leader", "alpha", time.Second)
	if err != nil || l.Epoch() != 2 {
		t.Fatalf("acquire: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the next process waited %s", took)
	}
}
