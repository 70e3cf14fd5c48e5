package orchestrator

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/images"
)

// lockedImages is an image store whose lock somebody else may have.
type lockedImages struct {
	anyImage
	mu     sync.Mutex
	locked bool
	slow   time.Duration // how long a pin takes
	tries  int
	pinned map[images.Digest]bool
}

func (l *lockedImages) PinFor(ctx context.Context, _ string, why map[images.Digest][]string) error {
	l.mu.Lock()
	l.tries++
	locked := l.locked
	l.mu.Unlock()
	if locked {
		<-ctx.Done() // as the store: it waits for the lock
		return ctx.Err()
	}
	time.Sleep(l.slow)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pinned = map[images.Digest]bool{}
	for d := range why {
		l.pinned[d] = true
	}
	return nil
}

func (l *lockedImages) set(locked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.locked, l.tries = locked, 0
}

func (l *lockedImages) has(image string) (pinned bool, tries int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pinned[images.Digest(image)], l.tries
}

// A store that is busy for minutes keeps the loop from nothing: a dead node is made up for, and the pins come afterwards.
func TestPinsDoNotHoldUpTheLoop(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		store := &lockedImages{}
		r.stop()
		r.images = store
		r.start()
		r.up(1, 2)
		store.set(true)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2)})
		began := time.Now()
		time.Sleep(time.Second)
		victim := r.running("r1")[0]
		r.driver.Kill(victim, fleet.Exit{Signal: "KILL", Code: 137})
		r.until("two nodes of r1 again", func(s *State) bool { return len(r.running("r1")) == 2 })
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("made up for after %s", took)
		}
		if pinned, tries := store.has(image(2)); pinned || tries < 2 {
			t.Errorf("pinned %v after %d tries", pinned, tries)
		}
		store.set(false)
		r.wait(op)
		if pinned, _ := store.has(image(2)); !pinned {
			t.Error("r2 is not pinned")
		}
	})
}

// An image is pinned before a driver has to do with it.
func TestPinnedBeforePrepared(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		store := &lockedImages{slow: time.Second}
		r.stop()
		r.images = store
		r.start()
		var early []fleettest.Call
		prepared := false
		var mu sync.Mutex
		r.driver.OnCall(func(_ context.Context, c fleettest.Call) error {
			mu.Lock()
			defer mu.Unlock()
			if c.Method != fleettest.Prepare && c.Method != fleettest.Ensure {
				return nil
			}
			prepared = true
			if pinned, _ := store.has(image(1)); !pinned {
				early = append(early, c)
			}
			return nil
		})
		r.up(1, 1)
		mu.Lock()
		defer mu.Unlock()
		if !prepared || len(early) > 0 {
			t.Errorf("not pinned at %v", early)
		}
	})
}
