package consul

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/test/tools/consultest"
)

// The suite looks at one edge: the first of two, once Consul has what the edge itself counts. The second one has a network of
// its own, so that it takes the same ports, and its part is that no table holds before it serves it.
func TestConformance(t *testing.T) {
	cluster := consultest.Start(t, consultest.Options{})
	way := newRelay(t, cluster.Servers[0].Address)
	n := 0
	routertest.Run(t, routertest.Harness{New: func(t *testing.T) routertest.Instance {
		n++
		prefix := fmt.Sprintf("conformance-%d/", n)
		b := newBackend(t, way.Address, prefix)
		first, second := startEdge(t, way.Address, prefix, false), startEdge(t, way.Address, prefix, true)
		awaitLive(t, b, first, second)
		return routertest.Instance{Backend: &settled{t: t, Backend: b, first: first, second: second}, Serves: true, Restart: func(*testing.T) {
			first.kill()
			first.start()
			awaitLive(t, b, first)
		}}
	}})
}

// settled is a backend whose observations are as new as those of the edge itself.
type settled struct {
	*Backend
	t             *testing.T
	first, second *edge
}

func (s *settled) Apply(ctx context.Context, table router.Table) error {
	err := s.Backend.Apply(ctx, table)
	if err == nil && (s.first.version() != table.Version || s.second.version() != table.Version) {
		s.t.Errorf("apply of %s returned before both edges serve it: %s, %s", table.Version, s.first.version(), s.second.version())
	}
	return err
}

func (s *settled) Observe(ctx context.Context) (router.Observation, error) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		o, err := s.Backend.Observe(ctx)
		if err != nil {
			return o, err
		}
		truth, err := s.first.local.Observe(ctx)
		if err != nil {
			return o, err
		}
		for _, e := range o.Edges {
			if e.ID != s.first.id() {
				continue
			}
			e.Host = ""
			if o.Edges = []router.Edge{e}; asJSON(s.t, e) == asJSON(s.t, truth.Edges[0]) {
				return o, nil
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("Consul has %s, the edge says %s", asJSON(s.t, o.Edges), asJSON(s.t, truth.Edges[0]))
		}
	}
}
