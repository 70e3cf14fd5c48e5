package stress

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded"
	"github.com/bootandshoot/release/router/routertest"
)

// size is how much is done: cutovers, and requests at least.
func size() (cutovers int, requests int64) {
	if os.Getenv("RELEASE_STRESS") == "full" {
		return 100, 1_000_000
	}
	return 8, 8_000
}

// stage is a router with traffic, and the fleet that it serves now.
type stage struct {
	t    *testing.T
	c    *embedded.Client
	m    *routertest.Mix
	cert router.TLS
	seq  uint64
	n    int // fleets so far
	step int64
	now  fleet
}

type fleet struct {
	n     int
	nodes []*routertest.TestNode
}

// TestCutovers goes 10, 50, 100 % to a new fleet and shoots the old one when it is empty; every fourth time it goes back at 100 %
// and shoots the new one instead. In between nodes are replaced one by one, and the router is upgraded.
func TestCutovers(t *testing.T) {
	cutovers, requests := size()
	s := start(t)
	s.step = requests / int64(cutovers) / 5
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(done)
		s.m.Run(ctx)
	}()
	upgrades := 0
	for i := range cutovers {
		s.cutover(i%4 == 3)
		if i%3 == 1 {
			s.replace(i % len(s.now.nodes))
		}
		if i%10 == 5 {
			s.upgrade()
			upgrades++
		}
		if len(s.m.Lost()) > 20 {
			break
		}
	}
	s.wait(requests - s.m.Sent.Load())
	stop()
	<-done
	took := time.Since(began)
	for i, why := range s.m.Lost() {
		if i < 10 {
			t.Error("lost:", why)
		}
	}
	s.ledger()
	t.Logf("%d cutovers, %d upgrades, %d requests in %.0f s (%.0f a second), %d lost, %d streams ended in order: %v", cutovers, upgrades, s.m.Sent.Load(), took.Seconds(),
		float64(s.m.Sent.Load())/took.Seconds(), len(s.m.Lost()), s.m.Ended.Load(), s.m.Kinds())
}

func start(t *testing.T) *stage {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c, err := embedded.Ensure(context.Background(), dir, exe, []string{asRouter, dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := c.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(dir, "router.log"))
			t.Logf("router.log:\n%s", b)
		}
	})
	s := &stage{t: t, c: c, m: &routertest.Mix{Plain: routertest.FreeListen(t), TLS: routertest.FreeListen(t), Times: 2}, cert: routertest.Certificate(t, t.TempDir(), "x")}
	s.now = s.boot(2)
	s.apply(nil, s.now.of(100))
	return s
}

// boot starts a fleet of its own nodes.
func (s *stage) boot(nodes int) fleet {
	s.n++
	f := fleet{n: s.n}
	for i := range nodes {
		f.nodes = append(f.nodes, s.node(f.n, i))
	}
	return f
}

func (s *stage) node(fleet, i int) *routertest.TestNode {
	return routertest.MixNode(s.t, string(rune('a'+i))+"-"+routertest.FleetOf(fleet, 0).Release)
}

func (f fleet) of(weight int) router.Fleet { return routertest.FleetOf(f.n, weight, f.nodes...) }

// apply routes to the fleets; what leaves ends its long connections within a moment.
func (s *stage) apply(closing []router.Closing, fleets ...router.Fleet) {
	s.t.Helper()
	s.seq++
	plain, secure := routertest.RouteTo(s.m.Plain, fleets...), routertest.RouteTo(s.m.TLS, fleets...)
	secure.Name, secure.TLS = "shop/production/secure", &s.cert
	table := routertest.TableOf(s.seq, plain, secure)
	table.Closing = closing
	if err := s.c.Apply(context.Background(), table); err != nil {
		s.t.Fatal(err)
	}
}

// wait lets clients send some more.
func (s *stage) wait(requests int64) {
	s.t.Helper()
	until := s.m.Sent.Load() + requests
	for last, since := s.m.Sent.Load(), time.Now(); s.m.Sent.Load() < until && len(s.m.Lost()) <= 20; time.Sleep(time.Millisecond) {
		if n := s.m.Sent.Load(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > time.Minute {
			s.t.Fatal("the clients stand still")
		}
	}
}

// cutover moves all traffic to a fresh fleet, and back when it is to.
func (s *stage) cutover(back bool) {
	s.t.Helper()
	fresh := s.boot(2 + s.n%2)
	for _, percent := range []int{0, 10, 50, 100} {
		s.apply(nil, s.now.of(100-percent), fresh.of(percent))
		if percent > 0 {
			s.wait(s.step)
		}
	}
	if back {
		s.apply(nil, s.now.of(100), fresh.of(0))
		s.wait(s.step)
		fresh, s.now = s.now, fresh
	}
	gone := s.now
	s.now = fresh
	s.shoot(gone.n, gone.nodes)
}

// replace boots a node in place of one.
func (s *stage) replace(i int) {
	s.t.Helper()
	old := s.now.nodes[i]
	s.now.nodes = append(append([]*routertest.TestNode(nil), s.now.nodes[:i]...), s.now.nodes[i+1:]...)
	with := fleet{s.now.n, append([]*routertest.TestNode{old}, s.now.nodes...)}
	fresh := s.node(s.now.n, 10+int(s.seq%1000))
	with.nodes = append(with.nodes, fresh)
	s.now.nodes = append(s.now.nodes, fresh)
	s.apply(nil, with.of(100))
	s.wait(s.step / 4)
	s.shoot(s.now.n, []*routertest.TestNode{old})
}

// shoot takes nodes out of the table, waits until they are empty, and kills them.
func (s *stage) shoot(fleet int, nodes []*routertest.TestNode) {
	s.t.Helper()
	id := routertest.FleetOf(fleet, 0).ID
	var closing []router.Closing
	names := map[string]bool{}
	for _, n := range nodes {
		closing = append(closing, router.Closing{Fleet: id, Node: n.Name, Within: 200 * time.Millisecond})
		names[n.Name] = true
	}
	s.apply(closing, s.now.of(100))
	routertest.Eventually(s.t, "the old nodes are empty", func() bool {
		o, err := s.c.Observe(context.Background())
		if err != nil {
			s.t.Fatal(err)
		}
		for _, n := range o.Edges[0].Nodes {
			if n.Fleet == id && names[n.Node] && n.InFlight > 0 {
				return false
			}
		}
		return true
	})
	for _, n := range nodes {
		_ = n.Server.Listener.Close()
		n.Server.CloseClientConnections()
	}
}

func (s *stage) upgrade() {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.c.Upgrade(context.Background(), exe); err != nil {
		s.t.Fatal(err)
	}
}

// ledger holds that the router saw no failure either.
func (s *stage) ledger() {
	o, err := s.c.Observe(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range o.Edges[0].Routes {
		s.t.Logf("%+v", r)
		if r.Failed+r.NoNode+r.Rejected > 0 {
			s.t.Errorf("the router counts what it lost: %+v", r)
		}
	}
}
