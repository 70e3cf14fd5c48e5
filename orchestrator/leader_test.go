package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/store/storetest"
)

// A leader that does not know that it is not leading any more changes nothing, whatever it decides, and ends.
func TestStaleLeaderIsFenced(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		late := r.o
		stop := r.stop
		// The late one holds its lease, as far as it knows: the store of the next agent hands out another one.
		r.store = ownLease{Store: r.store, epoch: late.epoch + 1}
		r.driver = r.driver.Reopen("")
		r.start()
		r.until("the next leader", func(s *State) bool { return s.serving() != nil })
		before := r.state()
		_, err := late.Submit(context.Background(), Request{Kind: KindScale, Key: shop, By: "bob", Size: 7})
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("the late leader's scale: %v, want a conflict", err)
		}
		if s := r.state(); s.Size != before.Size || s.EventSeq != before.EventSeq {
			t.Errorf("the late leader wrote: size %d, event %d", s.Size, s.EventSeq)
		}
		r.done(Request{Kind: KindScale, Size: 3})
		if got := len(r.running("")); got != 3 {
			t.Errorf("%d nodes run, want 3", got)
		}
		defer stop()
	})
}

// ownLease is the same store with rights of its own, as another store's session would have it after the first ended unseen.
type ownLease struct {
	store.Store
	epoch uint64
}

func (o ownLease) Acquire(context.Context, string, string, time.Duration) (store.Lease, error) {
	return fixedLease(o.epoch), nil
}

type fixedLease uint64

func (l fixedLease) Epoch() uint64                 { return uint64(l) }
func (l fixedLease) Lost() <-chan struct{}         { return nil }
func (l fixedLease) Release(context.Context) error { return nil }

// A leader that comes late finds that a later one was here already.
func TestLateLeaderDoesNotTakeOver(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		late, err := New(Options{
			Installation: "test", Store: ownLease{Store: r.store, epoch: r.o.epoch}, Drivers: oneDriver{r.driver}, Router: r.router,
			Images: r.images, Slots: 10, Holder: "late",
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := late.Run(t.Context()); !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("run: %v, want the lease to be lost", err)
		}
		if l, err := ReadLeader(t.Context(), r.store); err != nil || l.Name != "test" || l.Epoch != r.o.epoch {
			t.Errorf("leader: %+v, %v", l, err)
		}
		if _, err := late.Status(t.Context(), shop); !fault.Is(err, fault.Unavailable) {
			t.Errorf("status of one that does not lead: %v", err)
		}
	})
}

// What is under way and who waits for a change learn at once that the lease is lost.
func TestLostLeaseEndsEverything(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		o := r.o
		stopped := make(chan error, 1)
		r.driver.OnCall(func(ctx context.Context, c fleettest.Call) error {
			if c.Method != fleettest.Ensure {
				return nil
			}
			<-ctx.Done()
			stopped <- ctx.Err()
			return ctx.Err()
		})
		r.submit(Request{Kind: KindScale, Size: 2})
		time.Sleep(time.Second)
		changed := o.Changed()
		r.stop = func() {} // Run ends with an error, as it should
		r.store.(*storetest.Memory).Restart()
		if err := <-stopped; !errors.Is(err, context.Canceled) {
			t.Errorf("the boot under way: %v", err)
		}
		<-changed
		<-o.over
		if _, err := o.Status(t.Context(), shop); !fault.Is(err, fault.Unavailable) {
			t.Errorf("status: %v", err)
		}
		r.driver.OnCall(nil)
		r.driver = r.driver.Reopen("")
		r.start()
		r.until("the second node", func(s *State) bool { return len(s.Operations) == 0 && s.serving().healthy() == 2 })
	})
}

// A change with more journal entries than a commit takes is written whole, also when an agent dies in the middle of it.
func TestLongJournal(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		const size = 3 * store.MaxWrites
		mem := r.store.(*storetest.Memory)
		r.submit(Request{Kind: KindUp, Image: image(1), Config: shopConfig(size)})
		commits := 0
		mem.SetFaults(func(op, key string) error {
			if op != "commit" {
				return nil
			}
			if commits++; commits > 3 && strings.HasPrefix(key, "events/") || commits > 3 && commits < 6 {
				return errors.New("the agent dies")
			}
			return nil
		}, nil)
		time.Sleep(3 * time.Second)
		r.stop()
		mem.SetFaults(nil, nil)
		r.driver = r.driver.Reopen("")
		r.start()
		s := r.until("the nodes", func(s *State) bool {
			return len(s.Operations) == 0 && s.serving() != nil && s.serving().healthy() == size
		})
		events, err := r.o.Events(t.Context(), shop, 0, 10_000)
		if err != nil || len(events) != int(s.EventSeq) {
			t.Fatalf("%d events of %d, %v", len(events), s.EventSeq, err)
		}
		for _, part := range []struct {
			after        uint64
			limit, count int
		}{{0, 7, 7}, {95, 10, 10}, {s.EventSeq - 150, 1000, 150}, {s.EventSeq - 2, 10, 2}, {s.EventSeq, 10, 0}} {
			some, err := r.o.Events(t.Context(), shop, part.after, part.limit)
			if err != nil || len(some) != part.count || part.count > 0 && some[0].Seq != part.after+1 {
				t.Errorf("%d events after %d: %d, %v", part.limit, part.after, len(some), err)
			}
		}
		booted := map[string]int{}
		for i, e := range events {
			if e.Seq != uint64(i+1) {
				t.Fatalf("event %d is number %d", i+1, e.Seq)
			}
			if e.Type == "node.booting" {
				booted[e.Node]++
			}
		}
		if len(booted) != size {
			t.Errorf("the journal has %d nodes of %d", len(booted), size)
		}
		if got := len(r.running("")); got != size {
			t.Errorf("%d nodes run", got)
		}
	})
}

// scopedDriver sees one engine.
type scopedDriver struct {
	*fleettest.Fake
	engine string
	err    error
}

func (d *scopedDriver) Scope(context.Context) (string, error) { return d.engine, d.err }

// An agent leads only where it sees the nodes of all fleets.
func TestWhoSeesTheFleets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, rout, fake := storetest.NewMemory(), routertest.NewFake(), fleettest.NewFake(fleettest.FakeOptions{})
		run := func(d fleet.Driver, until func(*Orchestrator)) error {
			r := &rig{t: t, driver: fake, sick: map[string]bool{}}
			o, err := New(Options{
				Installation: "test", Store: mem, Drivers: oneDriver{d}, Router: rout, Images: anyImage{}, Slots: 100, Holder: "x",
				Rand: rand.NewChaCha8([32]byte{2}), Check: r.check, Shared: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- o.Run(ctx) }()
			until(o)
			cancel()
			return <-done
		}
		if err := run(&scopedDriver{Fake: fake, engine: "engine A"}, func(o *Orchestrator) {
			op, err := o.Submit(t.Context(), Request{Kind: KindUp, Key: shop, By: "ann", Image: image(1), Config: shopConfig(2)})
			for err == nil && op.Ended.IsZero() {
				time.Sleep(time.Second)
				op, err = o.Operation(t.Context(), shop, op.ID)
			}
			if err != nil || op.Failure != nil {
				t.Errorf("up: %+v, %v", op.Failure, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		wait := func(o *Orchestrator) { <-o.over }
		for name, test := range map[string]struct {
			driver *scopedDriver
			want   fault.Code
		}{
			"another engine": {&scopedDriver{Fake: fleettest.NewFake(fleettest.FakeOptions{}), engine: "engine B"}, fault.Unsupported},
			"no engine":      {&scopedDriver{Fake: fake, err: fmt.Errorf("ask: %w", fleet.ErrUnavailable)}, fault.Unavailable},
		} {
			if err := run(test.driver, wait); !fault.Is(err, test.want) {
				t.Errorf("%s: %v, want %s", name, err, test.want)
			}
			if l, err := ReadLeader(t.Context(), mem); err != nil || l.Epoch != 1 {
				t.Errorf("%s: led with epoch %d, %v", name, l.Epoch, err)
			}
		}
		if err := run(&scopedDriver{Fake: fake.Reopen(""), engine: "engine A"}, func(o *Orchestrator) { time.Sleep(10 * time.Second) }); err != nil {
			t.Errorf("the same engine: %v", err)
		}
		if running := len(fake.All()); running != 2 {
			t.Errorf("%d nodes run, want the 2 of the first agent", running)
		}
	})
}
