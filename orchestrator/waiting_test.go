package orchestrator

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// slowFeet is a router that does not find the nodes of r2 of the shop ready.
type slowFeet struct {
	*routertest.Fake
	slow      atomic.Bool
	abandoned chan []string // nil: nobody asks
}

func (s *slowFeet) Abandon(_ context.Context, routes []string) error {
	if s.abandoned != nil {
		s.abandoned <- routes
	}
	return nil
}

func (s *slowFeet) Apply(ctx context.Context, t router.Table) error {
	for _, r := range t.Routes {
		for _, f := range r.Fleets {
			if s.slow.Load() && strings.HasPrefix(f.ID, "shop/production/web/r2/") && f.Weight > 0 {
				return &router.Waiting{Routes: []string{r.Name}, Err: errors.New("the balancer does not find it healthy yet")}
			}
		}
	}
	return s.Fake.Apply(ctx, t)
}

// Nodes that one app waits for hold up no other app's table, and the operation says what it waits for.
func TestOneAppWaitsAlone(t *testing.T) {
	feet := &slowFeet{}
	inFrontOf(t, func(r *rig) { feet.Fake, r.front = r.router, feet }, func(t *testing.T, r *rig) {
		r.up(1, 1)
		feet.slow.Store(true)
		slow := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1)})
		r.until("the shop to wait", func(s *State) bool {
			return len(s.Operations) > 0 && strings.Contains(s.Operations[0].Waits, "does not find it healthy yet")
		})
		cfg := shopConfig(1)
		cfg.App, cfg.Route.Listen = "wiki", ":8081"
		wiki := Key{App: "wiki", Env: shop.Env}
		op, err := r.o.Submit(t.Context(), Request{Kind: KindUp, Key: wiki, Image: image(3), Config: cfg, By: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if op, err = r.o.Operation(t.Context(), wiki, op.ID); err != nil || op.Ended.IsZero() || op.Failure != nil {
			t.Errorf("the other app waits too: %+v %v", op, err)
		}
		if w := r.weights(); w["r2"] != 0 {
			t.Errorf("the shop did not wait: %v", w)
		}
		feet.slow.Store(false)
		if op := r.wait(slow); op.Failure != nil || r.weights()["r2"] != 100 {
			t.Errorf("then: %+v %v", op.Failure, r.weights())
		}
	})
}

// An app that goes back to what it had, while nodes of another table are waited for, wants those no more: the backend is told at once.
func TestWhoIsWaitedForIsAbandoned(t *testing.T) {
	feet := &slowFeet{}
	inFrontOf(t, func(r *rig) { feet.Fake, feet.abandoned, r.front = r.router, make(chan []string, 10), feet }, func(t *testing.T, r *rig) {
		r.up(1, 1)
		feet.slow.Store(true)
		slow := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1)})
		r.until("the shop to wait", func(s *State) bool {
			return len(s.Operations) > 0 && strings.Contains(s.Operations[0].Waits, "does not find it healthy yet")
		})
		if n := len(feet.abandoned); n != 0 {
			t.Fatalf("abandoned while it is waited for, or before: %v", <-feet.abandoned)
		}
		began := time.Now()
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		if routes := <-feet.abandoned; len(routes) != 1 || routes[0] != "shop/production/web" || time.Since(began) > time.Second {
			t.Errorf("%v is abandoned after %s", routes, time.Since(began))
		}
		if op := r.wait(slow); op.Failure == nil || r.weights()["r1"] != 100 {
			t.Errorf("then: %+v %v", op.Failure, r.weights())
		}
		time.Sleep(time.Minute)
		if n := len(feet.abandoned); n != 0 {
			t.Errorf("abandoned again: %v", <-feet.abandoned)
		}
	})
}

// scripted is a router that answers a table which gives r2 weight as the test says.
type scripted struct {
	*routertest.Fake
	answer  func(ctx context.Context, t router.Table) error
	blind   atomic.Bool // it tells no more what the edges serve
	applied atomic.Int32
}

func (s *scripted) Apply(ctx context.Context, t router.Table) error {
	for _, r := range t.Routes {
		for _, f := range r.Fleets {
			if strings.HasPrefix(f.ID, "shop/production/web/r2/") && f.Weight > 0 {
				return s.answer(ctx, t)
			}
		}
	}
	return s.Fake.Apply(ctx, t)
}

func (s *scripted) Applied(ctx context.Context) (router.Table, error) {
	s.applied.Add(1)
	return s.Fake.Applied(ctx)
}

func (s *scripted) Observe(ctx context.Context) (router.Observation, error) {
	if s.blind.Load() {
		return router.Observation{}, router.ErrUnavailable
	}
	return s.Fake.Observe(ctx)
}

// A table whose answer was lost may be in effect, whatever becomes of the one after it: it is read back.
func TestTheOneBeforeMayBeInEffect(t *testing.T) {
	for name, then := range map[string]error{
		"waiting": &router.Waiting{Routes: []string{"shop/production/web"}, Err: errors.New("the balancer does not find it healthy yet")},
		"refused": fault.New(fault.Failed, "the balancer does not find it healthy"),
	} {
		t.Run(name, func(t *testing.T) {
			front := &scripted{}
			var applied int32
			front.answer = func(ctx context.Context, t router.Table) error {
				if front.blind.Swap(true) {
					return then
				}
				applied = front.applied.Load()
				return errors.Join(router.ErrUnavailable, front.Fake.Apply(ctx, t))
			}
			inFrontOf(t, func(r *rig) { front.Fake, r.front = r.router, front }, func(t *testing.T, r *rig) {
				r.up(1, 1)
				op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1)})
				r.until("the table to be read back", func(*State) bool { return front.applied.Load() > applied })
				front.blind.Store(false)
				if op := r.wait(op); op.Failure != nil || r.weights()["r2"] != 100 {
					t.Errorf("then: %+v %v", op.Failure, r.weights())
				}
			})
		})
	}
}

// What the backend refused, and waits for when it is asked again, was not taken all that time.
func TestWaitingAfterARefusal(t *testing.T) {
	front := &scripted{}
	var refused time.Time
	front.answer = func(context.Context, router.Table) error {
		if refused.IsZero() {
			refused = time.Now()
			return fault.New(fault.Failed, "the balancer does not find it healthy")
		}
		return &router.Waiting{Routes: []string{"shop/production/web"}, Err: errors.New("the balancer does not find it healthy yet")}
	}
	inFrontOf(t, func(r *rig) { front.Fake, r.front = r.router, front }, func(t *testing.T, r *rig) {
		r.up(1, 1)
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1)}))
		if op.Failure == nil || op.Failure.Code != fault.RolledBack || !strings.Contains(op.Failure.Message, "does not find it healthy") {
			t.Errorf("it ended with %+v", op.Failure)
		}
		if took := op.Ended.Sub(refused); took > time.Minute {
			t.Errorf("it was given up %s after it was refused", took)
		}
	})
}
