package consul

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/test/tools/consultest"
)

// two is two edges, the second in a network of its own, and a way to Consul for each.
type two struct {
	cluster       *consultest.Cluster
	b             *Backend
	first, second *edge
	ways          [2]*relay
}

func startTwo(t *testing.T) *two {
	t.Helper()
	c := consultest.Start(t, consultest.Options{})
	s := &two{cluster: c, b: newBackend(t, c.Servers[0].Address, "")}
	for i := range s.ways {
		s.ways[i] = newRelay(t, c.Servers[0].Address)
	}
	s.first, s.second = startEdge(t, s.ways[0].Address, DefaultPrefix, false), startEdge(t, s.ways[1].Address, DefaultPrefix, true)
	awaitLive(t, s.b, s.first, s.second)
	return s
}

func quiet(t *testing.T, seq uint64, listen string, weight int) router.Table {
	t.Helper()
	return routertest.TableOf(seq, routertest.RouteTo(listen, routertest.FleetOf(1, weight, routertest.DeadNode(t, "a"))))
}

// applyWithin applies with a deadline.
func applyWithin(b router.Backend, table router.Table, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return b.Apply(ctx, table)
}

func silentAt(t *testing.T, b router.Backend, e *edge) (router.Edge, bool) {
	got, ok := seen(t, b, e.id())
	return got, ok && !got.Silent.IsZero()
}

// awaitSilent waits until an edge that wrote once a second is taken for silent: sooner than Consul ends its session, 20 s after its
// last renewal, which is at most 3.3 s old.
func awaitSilent(t *testing.T, b router.Backend, e *edge) router.Edge {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got, ok := silentAt(t, b, e); ok {
			return got
		}
	}
	t.Fatal("the edge is not silent")
	return router.Edge{}
}

// An edge that is killed holds tables up until it has missed some beats, is silent then, and still names what it had.
func TestEdgeIsKilled(t *testing.T) {
	s := startTwo(t)
	listen := routertest.FreeListen(t)
	mustApply(t, s.b, quiet(t, 1, listen, 1))
	s.second.kill()
	err := applyWithin(s.b, quiet(t, 2, listen, 2), 2*time.Second)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), s.second.id()) {
		t.Errorf("applied while an edge may live: %v", err)
	}
	if v := s.first.version(); v.Seq != 2 {
		t.Errorf("the edge that lives serves %s", v)
	}
	if err := s.b.Forget(t.Context(), s.second.id()); !fault.Is(err, fault.Invalid) {
		t.Errorf("forget an edge whose session lasts: %v", err)
	}
	gone := awaitSilent(t, s.b, s.second)
	if gone.Confirmed.Seq != 1 || len(gone.Nodes) != 1 || gone.Nodes[0].Node != "a" {
		t.Errorf("the silent edge: %+v", gone)
	}
	mustApply(t, s.b, quiet(t, 3, listen, 3))
	if err := s.b.Forget(t.Context(), "nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("forget nobody: %v", err)
	}
	if err := s.b.Forget(t.Context(), s.second.id()); err != nil {
		t.Error(err)
	}
	if _, ok := seen(t, s.b, s.second.id()); ok {
		t.Error("a forgotten edge is still there")
	}
	// It comes back all the same, and catches up.
	s.second.start()
	awaitLive(t, s.b, s.second)
	routertest.Eventually(t, "it serves the newest table", func() bool { return s.second.version().Seq == 3 })
}

// An edge that starts again at once takes its own place, without waiting for the session of the process before.
func TestEdgeStartsAgain(t *testing.T) {
	s := startTwo(t)
	listen := routertest.FreeListen(t)
	mustApply(t, s.b, quiet(t, 1, listen, 1))
	s.second.kill()
	began := time.Now()
	s.second.start()
	if err := applyWithin(s.b, quiet(t, 2, listen, 2), 5*time.Second); err != nil {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	awaitLive(t, s.b, s.second)
	o, err := s.b.Observe(t.Context())
	if err != nil || len(o.Edges) != 2 {
		t.Errorf("edges %+v (%v)", o.Edges, err)
	}
}

// An edge that is stopped in order takes leave.
func TestEdgeStops(t *testing.T) {
	s := startTwo(t)
	s.second.signal(syscall.SIGTERM)
	if o, err := s.b.Observe(t.Context()); err != nil || len(o.Edges) != 1 || o.Edges[0].ID != s.first.id() {
		t.Errorf("edges %+v (%v)", o.Edges, err)
	}
	mustApply(t, s.b, quiet(t, 1, routertest.FreeListen(t), 1))
}

// An upgrade is nobody's death: the successor goes on under the same name, and tables are confirmed all the time.
func TestEdgeIsUpgraded(t *testing.T) {
	s := startTwo(t)
	listen := routertest.FreeListen(t)
	mustApply(t, s.b, quiet(t, 1, listen, 1))
	before, _ := seen(t, s.b, s.first.id())
	status, err := s.first.local.Upgrade(t.Context(), s.first.exe())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(status.PID, syscall.SIGKILL) })
	mustApply(t, s.b, quiet(t, 2, listen, 2))
	routertest.Eventually(t, "the successor is registered", func() bool {
		after, ok := seen(t, s.b, s.first.id())
		return ok && after.PID == status.PID && after.Instance == before.Instance && after.Confirmed.Seq == 2 && after.Silent.IsZero()
	})
}

// A partitioned edge serves on, holds tables up until it is silent, and catches up.
func TestEdgeIsPartitioned(t *testing.T) {
	s := startTwo(t)
	node := routertest.StartNode(t, "a", nil)
	listen := routertest.FreeListen(t)
	table := func(seq uint64, weight int) router.Table {
		return routertest.TableOf(seq, routertest.RouteTo(listen, routertest.FleetOf(1, weight, node)))
	}
	mustApply(t, s.b, table(1, 1))
	s.ways[0].Cut(true)
	if got := awaitSilent(t, s.b, s.first); got.Confirmed.Seq != 1 {
		t.Errorf("silent: %+v", got)
	}
	mustApply(t, s.b, table(2, 2))
	if v := s.first.version(); v.Seq != 1 || get(t, listen) != "a" {
		t.Errorf("the partitioned edge serves %s", v)
	}
	// Without Consul it starts again from its disk.
	s.first.kill()
	s.first.start()
	if v := s.first.version(); v.Seq != 1 || get(t, listen) != "a" {
		t.Errorf("started without Consul it serves %s", v)
	}
	s.ways[0].Cut(false)
	awaitLive(t, s.b, s.first)
	routertest.Eventually(t, "it catches up", func() bool { return s.first.version().Seq == 2 })
}

// A process that hangs is like one that is gone, until it goes on.
func TestEdgeHangs(t *testing.T) {
	s := startTwo(t)
	listen := routertest.FreeListen(t)
	mustApply(t, s.b, quiet(t, 1, listen, 1))
	s.second.signal(syscall.SIGSTOP)
	awaitSilent(t, s.b, s.second)
	mustApply(t, s.b, quiet(t, 2, listen, 2))
	s.second.signal(syscall.SIGCONT)
	awaitLive(t, s.b, s.second)
	routertest.Eventually(t, "it catches up", func() bool { return s.second.version().Seq == 2 })
}

// One edge that cannot serve a table keeps it from all, and is named.
func TestOneEdgeCannotServe(t *testing.T) {
	s := startTwo(t)
	first := quiet(t, 1, routertest.FreeListen(t), 1)
	mustApply(t, s.b, first)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	err = applyWithin(s.b, quiet(t, 2, other.Addr().String(), 1), 5*time.Second)
	if !fault.Is(err, fault.Exists) || !strings.Contains(err.Error(), s.first.id()) || strings.Contains(err.Error(), s.second.id()) {
		t.Errorf("a port that is taken at one edge: %v", err)
	}
	if a, b := s.first.version(), s.second.version(); a.Seq != 1 || b.Seq != 1 {
		t.Errorf("they serve %s and %s", a, b)
	}
}

// A stale leader changes nothing, and what it writes past all checks is not applied.
func TestStaleLeader(t *testing.T) {
	s := startTwo(t)
	listen := routertest.FreeListen(t)
	newest := quiet(t, 1, listen, 1)
	newest.Version.Epoch = 5
	mustApply(t, s.b, newest)
	old := quiet(t, 9, listen, 2)
	old.Version.Epoch = 4
	if err := s.b.Apply(t.Context(), old); !errors.Is(err, router.ErrStale) {
		t.Errorf("a stale leader: %v", err)
	}
	value, err := encode(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.b.client.KV().Put(&api.KVPair{Key: s.b.tableKey(), Value: value}, nil); err != nil {
		t.Fatal(err)
	}
	routertest.Eventually(t, "the edges write the newest table back", func() bool {
		got, err := s.b.Applied(t.Context())
		return err == nil && got.Version == newest.Version
	})
	if a, b := s.first.version(), s.second.version(); a != newest.Version || b != newest.Version {
		t.Errorf("they serve %s and %s", a, b)
	}
	if _, err := s.b.client.KV().DeleteTree(s.b.space.opts.Prefix, nil); err != nil {
		t.Fatal(err)
	}
	routertest.Eventually(t, "the edges bring back what Consul lost", func() bool {
		got, err := s.b.Applied(t.Context())
		o, err2 := s.b.Observe(t.Context())
		return err == nil && got.Version == newest.Version && err2 == nil && len(o.Edges) == 2
	})
}

// Consul is away at the start of everything, and for a while in the middle.
func TestConsulIsAway(t *testing.T) {
	s := startTwo(t)
	node := routertest.StartNode(t, "a", nil)
	listen := routertest.FreeListen(t)
	table := func(seq uint64, weight int) router.Table {
		return routertest.TableOf(seq, routertest.RouteTo(listen, routertest.FleetOf(1, weight, node)))
	}
	mustApply(t, s.b, table(1, 1))
	server := s.cluster.Servers[0]
	server.Kill()
	if err := applyWithin(s.b, table(2, 2), 2*time.Second); !errors.Is(err, router.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("apply without Consul: %v", err)
	}
	if _, err := s.b.Applied(ended(t)); err == nil {
		t.Error("applied without Consul")
	}
	s.first.kill()
	s.first.start()
	if get(t, listen) != "a" {
		t.Error("not served without Consul")
	}
	server.Start()
	s.cluster.Await()
	awaitLive(t, s.b, s.first, s.second)
	mustApply(t, s.b, table(3, 3))
	if s.first.version().Seq != 3 || s.second.version().Seq != 3 {
		t.Error("the edges did not catch up")
	}
}

// ended is a context with little time.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
