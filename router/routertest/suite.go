package routertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
)

// Harness gives the conformance suite a backend.
type Harness struct {
	// New returns a backend without a table; it is ended with the test.
	New func(t *testing.T) Instance
}

// Instance is one backend under test.
type Instance struct {
	Backend router.Backend
	// Restart ends the backend's edge without warning (kill -9) and starts it over the same state. Nil: it can not.
	Restart func(t *testing.T)
	// Probes says that edges find dead nodes by themselves, maybe before a request does.
	Probes bool
	// Remote says that the edge is no process of this machine: it has no pid.
	Remote bool
	// Lacks says why the backend cannot do what a case of the traffic half asks, by the case's name. The counters of "counters" are
	// not asked for elsewhere either then.
	Lacks map[string]string
	// Serves says that an edge on this machine answers on the tables' listen addresses. Without it only the half of the
	// suite that needs no traffic is run.
	Serves bool
}

// Run is the conformance suite: every sentence of router.Backend's contract that can be observed.
func Run(t *testing.T, h Harness) {
	runTables(t, h)
	t.Run("traffic", func(t *testing.T) {
		if !h.New(t).Serves {
			t.Log("the backend has no edge that serves here: only tables were tested")
			return
		}
		cases := append(trafficCases(), featureCases()...)
		for name := range h.New(t).Lacks {
			if !slices.ContainsFunc(cases, func(c trafficCase) bool { return c.name == name }) {
				t.Errorf("the backend lacks %q, which is no case", name)
			}
		}
		for _, tt := range cases {
			t.Run(tt.name, func(t *testing.T) {
				in := h.New(t)
				if why, lacks := in.Lacks[tt.name]; lacks {
					t.Log("the backend cannot do this: " + why)
					return
				}
				tt.test(t, in)
			})
		}
	})
}

// trafficCase is one of the half of the suite that needs traffic.
type trafficCase struct {
	name string
	test func(*testing.T, Instance)
}

const patience = 20 * time.Second

// Eventually polls until ok holds, for what becomes true soon but not at once.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// FreeListen is a loopback address that nobody listens on, and that no connection takes by chance meanwhile: those that choose
// their own port have the address 127.0.0.1.
func FreeListen(t testing.TB) string {
	t.Helper()
	return FreePortOf(t, net.IPv4(127, byte(1+rand.N(254)), byte(rand.N(256)), byte(1+rand.N(254))).String())
}

// PortOf is the port of an address.
func PortOf(t testing.TB, address string) int {
	t.Helper()
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return int(a.Port())
}

// FreePortOf is an address on host that nobody listens on, for when it must be that host.
func FreePortOf(t testing.TB, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// FreePort is a port that nothing on the machine uses at any address, for when all of them must be free.
func FreePort(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(FreePortOf(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TableOf is a table of version (1, seq).
func TableOf(seq uint64, routes ...router.Route) router.Table {
	return router.Table{Schema: router.Schema, Version: router.Version{Epoch: 1, Seq: seq}, Routes: routes}
}

// RouteTo is a route for everything on listen.
func RouteTo(listen string, fleets ...router.Fleet) router.Route {
	return router.Route{Name: "shop/production/web", Listen: listen, Fleets: fleets}
}

// FleetOf is a fleet of release r<n> with these nodes.
func FleetOf(n, weight int, nodes ...*TestNode) router.Fleet {
	f := router.Fleet{ID: fmt.Sprintf("shop/production/web/r%d/1", n), Release: fmt.Sprintf("r%d", n), Weight: weight}
	for _, node := range nodes {
		f.Nodes = append(f.Nodes, router.Node{Name: node.Name, Address: node.Address})
	}
	return f
}

func mustApply(t *testing.T, b router.Backend, table router.Table) {
	t.Helper()
	if err := b.Apply(context.Background(), table); err != nil {
		t.Fatalf("apply %s: %v", table.Version, err)
	}
}

// edgeOf is the only edge that Observe reports.
func edgeOf(t *testing.T, b router.Backend) router.Edge {
	t.Helper()
	o, err := b.Observe(context.Background())
	if err != nil {
		t.Fatalf("observe: %v", err)
	}
	if len(o.Edges) != 1 {
		t.Fatalf("observe: %d edges, want 1", len(o.Edges))
	}
	return o.Edges[0]
}

// nodeOf is a node's part of an edge, or false.
func nodeOf(e router.Edge, node *TestNode) (router.NodeTraffic, bool) {
	for _, n := range e.Nodes {
		if n.Node == node.Name {
			return n, true
		}
	}
	return router.NodeTraffic{}, false
}

func routeOf(t *testing.T, e router.Edge) router.RouteTraffic {
	t.Helper()
	if len(e.Routes) != 1 {
		t.Fatalf("%d routes observed, want 1", len(e.Routes))
	}
	return e.Routes[0]
}
