package local

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootandshoot/release/store"
)

// Many ask, give up and release at random: never two holders, and the right is never lost on the way.
func TestRightsUnderStress(t *testing.T) {
	var rights Rights
	var holders, given atomic.Int32
	var epoch atomic.Uint64
	next := func() (uint64, error) {
		if rand.IntN(10) == 0 {
			return 0, errors.New("disk full")
		}
		return epoch.Add(1), nil
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(200))*time.Microsecond)
				l, err := rights.Acquire(ctx, "n", next)
				cancel()
				if err != nil {
					continue
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold the right", n)
				}
				given.Add(1)
				holders.Add(-1)
				_ = l.Release(t.Context())
			}
		})
	}
	group.Wait()
	if given.Load() == 0 {
		t.Error("nobody ever got the right")
	}
	l, err := rights.Acquire(t.Context(), "n", func() (uint64, error) { return epoch.Add(1), nil })
	if err != nil || l.Epoch() != epoch.Load() {
		t.Fatalf("the right is lost: %v", err)
	}
	if len(rights.held) != 1 || len(rights.held["n"].queue) != 0 {
		t.Errorf("left in the table: %+v", rights.held)
	}
}

func TestRightsGoInTheOrderOfAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rights Rights
		one := func() (uint64, error) { return 1, nil }
		first, err := rights.Acquire(t.Context(), "n", one)
		if err != nil {
			t.Fatal(err)
		}
		var order []int
		for i := range 5 {
			go func() {
				l, err := rights.Acquire(t.Context(), "n", one)
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, i)
				_ = l.Release(t.Context())
			}()
			synctest.Wait() // it has asked
		}
		_ = first.Release(t.Context())
		synctest.Wait()
		for i, who := range order {
			if i != who {
				t.Fatalf("order %v", order)
			}
		}
	})
}

func TestResetEndsWaitingAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rights Rights
		one := func() (uint64, error) { return 1, nil }
		held, _ := rights.Acquire(t.Context(), "n", one)
		done := make(chan error)
		go func() {
			_, err := rights.Acquire(t.Context(), "n", one)
			done <- err
		}()
		synctest.Wait()
		rights.Reset()
		if err := <-done; !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("waiting ended with %v", err)
		}
		<-held.Lost()
		again, err := rights.Acquire(t.Context(), "n", one)
		if err != nil {
			t.Fatal(err)
		}
		_ = held.Release(t.Context())
		select {
		case <-again.Lost():
			t.Error("releasing a right of before took the new one")
		default:
		}
	})
}

func TestWatchersSeeEveryLastChange(t *testing.T) {
	var watchers Watchers
	ctx, cancel := context.WithCancel(t.Context())
	const last = 2000
	var group sync.WaitGroup
	for range 4 {
		changes, err := watchers.Add(ctx, "a/", func() (uint64, error) { return 0, nil })
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			var seen uint64
			for c := range changes {
				if c.Version < seen {
					t.Errorf("change %d after %d", c.Version, seen)
				}
				if seen = c.Version; seen == last {
					return
				}
			}
			t.Error("the watch ended early")
		})
	}
	group.Go(func() {
		for v := uint64(last); v > 0; v-- { // the newest first: the order of notices must not matter
			watchers.Notify(v, []string{"b", "a/1"})
		}
	})
	group.Wait()
	cancel()
}

func TestWatchOfClosedWatchersEndsAtOnce(t *testing.T) {
	var watchers Watchers
	watchers.Close()
	changes, err := watchers.Add(t.Context(), "", func() (uint64, error) { return 1, nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, open := <-changes; open {
		t.Error("a closed store notifies")
	}
}
