package orchestrator

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// slowEyes is a router whose looks do not come to their end while it is slow: it answers with the last one that did, or, with none, nothing.
type slowEyes struct {
	*routertest.Fake
	slow, none atomic.Bool
	last       atomic.Pointer[router.Observation]
}

func (s *slowEyes) Observe(ctx context.Context) (router.Observation, error) {
	if !s.slow.Load() {
		o, err := s.Fake.Observe(ctx)
		s.last.Store(&o)
		return o, err
	}
	<-ctx.Done()
	if s.none.Load() {
		return router.Observation{}, ctx.Err()
	}
	return *s.last.Load(), nil
}

// A router that cannot be looked at for long is no secret, and what was seen before a node left says nothing of it.
func TestBlind(t *testing.T) {
	for name, none := range map[string]bool{"an old look": false, "no look": true} {
		t.Run(name, func(t *testing.T) {
			eyes := &slowEyes{}
			inFrontOf(t, func(r *rig) { eyes.Fake, r.front = r.router, eyes }, func(t *testing.T, r *rig) {
				r.up(1, 1, coldAtOnce)
				routes := func() []RouteStatus {
					s, err := r.o.Status(t.Context(), shop)
					if err != nil {
						t.Fatal(err)
					}
					return s.Routes
				}
				time.Sleep(time.Minute)
				if got := routes(); len(got) != 1 || got[0].Error != "" {
					t.Errorf("with good eyes: %+v", got)
				}
				eyes.none.Store(none)
				eyes.slow.Store(true)
				r.up(2, 1, coldAtOnce)
				time.Sleep(blindAfter + 2*observeTimeout)
				if got := routes(); len(got) != 1 || !strings.Contains(got[0].Error, "not known since") {
					t.Errorf("blind: %+v", got)
				}
				if len(r.running("r1")) == 0 {
					t.Error("r1 was shot before anybody had seen that it is empty")
				}
				eyes.slow.Store(false)
				time.Sleep(time.Minute)
				if got := routes(); len(got) != 1 || got[0].Error != "" {
					t.Errorf("with good eyes again: %+v", got)
				}
			})
		})
	}
}
