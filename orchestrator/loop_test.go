package orchestrator

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/store/storetest"
)

// badStore takes its time for each commit, or refuses it, and counts those that it is asked for.
type badStore struct {
	store.Store
	slow    atomic.Bool
	refuses atomic.Bool
	asked   atomic.Int64
}

func (s *badStore) Commit(ctx context.Context, writes ...store.Write) (uint64, error) {
	s.asked.Add(1)
	if s.slow.Load() {
		time.Sleep(mostTaken / 2)
	}
	if s.refuses.Load() {
		return 0, errors.New("the store is away")
	}
	return s.Store.Commit(ctx, writes...)
}

// A store that is slow, or takes nothing, does not make a round longer: it ends after some time, and what failed counts too.
func TestRoundsOfABadStore(t *testing.T) {
	for name, c := range map[string]struct {
		slow, refuses bool
		apps          int
		most          int64 // commits of a round, those of its last app included
	}{
		"slow": {slow: true, apps: 12, most: 6}, "refuses": {refuses: true, apps: 2 * mostWritten, most: mostWritten + 4},
	} {
		t.Run(name, func(t *testing.T) {
			mem := &badStore{Store: storetest.NewMemory()}
			crowd := newCrowd(t, mem, c.apps)
			crowd.launch(1)
			if err := crowd.o.call(t.Context(), func() {
				for _, a := range crowd.o.apps {
					n := a.state.serving().Nodes[0]
					crowd.driver.Kill(n.Name, fleet.Exit{Code: 137, Signal: "KILL"})
					seen := crowd.o.world.nodes[n.Name]
					seen.node.Presence = fleet.Gone
					crowd.o.world.nodes[n.Name] = seen
				}
				crowd.o.touchAll()
				mem.slow.Store(c.slow)
				mem.refuses.Store(c.refuses)
				before := mem.asked.Load()
				if err := crowd.o.rounds(t.Context()); err != nil {
					t.Error(err)
				}
				if n := mem.asked.Load() - before; n == 0 || n > c.most || !crowd.o.world.postponed {
					t.Errorf("a round of %d apps asked for %d commits, at most %d are wanted; it goes on: %t", c.apps, n, c.most, crowd.o.world.postponed)
				}
				mem.slow.Store(false)
				mem.refuses.Store(false)
			}); err != nil {
				t.Fatal(err)
			}
			crowd.whole(1)
		})
	}
}

// What comes at once is taken in until that has written many states, or taken long, or the loop is to end.
func TestInboxIsLeftInTime(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(o *Orchestrator)
		gone bool
		most int
	}{
		"nothing special": {do: func(*Orchestrator) {}, most: 2 * mostWritten},
		"writes":          {do: func(o *Orchestrator) { o.world.written++ }, most: mostWritten},
		"slow":            {do: func(*Orchestrator) { time.Sleep(mostTaken / 2) }, most: 2},
		"the end":         {do: func(*Orchestrator) {}, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				taken := 0
				if err := r.o.call(t.Context(), func() {
					for range 2 * mostWritten {
						go r.o.post(func() { taken++; c.do(r.o) })
					}
					time.Sleep(time.Millisecond) // until they all wait
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if c.gone {
						cancel()
					}
					r.o.drainInbox(ctx)
					if taken != c.most {
						t.Errorf("%d were taken in, want %d", taken, c.most)
					}
				}); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
