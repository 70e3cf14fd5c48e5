package embedded

import (
	"context"
	"testing"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// Ten upgrades with every kind of client at work, and none of them loses anything: WebSockets and gRPC streams go on over all ten.
func TestUpgradesUnderMixedLoad(t *testing.T) {
	const upgrades = 10
	c := startRouter(t, t.TempDir())
	nodes := []*routertest.TestNode{routertest.MixNode(t, "a"), routertest.MixNode(t, "b")}
	m := &routertest.Mix{Plain: routertest.FreeListen(t), TLS: routertest.FreeListen(t), GRPC: routertest.FreeListen(t)}
	files := routertest.Certificate(t, t.TempDir(), 1, "x")
	table := func(seq int) router.Table {
		fleet := routertest.FleetOf(1, 1, nodes...)
		plain, secure, calls := routertest.RouteTo(m.Plain, fleet), routertest.RouteTo(m.TLS, fleet), h2cRoute(m.GRPC, fleet)
		secure.Name, secure.TLS, calls.Name = "secure", &files, "calls"
		return routertest.TableOf(uint64(seq), plain, secure, calls)
	}
	mustApply(t, c, table(1))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	pids := map[int]bool{mustStatus(t, c).PID: true}
	for i := range upgrades {
		sent := m.Sent.Load()
		routertest.Eventually(t, "load runs", func() bool { return m.Sent.Load() > sent+300 })
		pids[upgrade(t, c).PID] = true
		mustApply(t, c, table(i+2))
	}
	sent := m.Sent.Load()
	routertest.Eventually(t, "load goes on", func() bool { return m.Sent.Load() > sent+300 })
	stop()
	<-done
	lost := m.Lost()
	for _, loss := range lost[:min(10, len(lost))] {
		t.Error("lost:", loss)
	}
	if len(pids) != upgrades+1 || m.Ended.Load() > 0 {
		t.Errorf("%d processes; %d streams ended", len(pids), m.Ended.Load())
	}
	counted := routertest.Counted(t, c)
	if counted.Failed+counted.NoNode+counted.Rejected > 0 || counted.Requests != uint64(m.Requests.Load()) {
		t.Errorf("the router counts %+v, and %d were sent", counted, m.Requests.Load())
	}
	for kind, n := range m.Kinds() {
		if n == 0 {
			t.Errorf("nothing was sent by %s", kind)
		}
	}
	t.Logf("%d requests and %d messages in them over %d upgrades, lost: %s; %v", m.Requests.Load(), m.Sent.Load()-m.Requests.Load(), upgrades,
		routertest.Tell(lost), m.Kinds())
	routertest.Eventually(t, "the predecessors ended", func() bool { return mustStatus(t, c).Predecessor == nil })
	if after := routertest.Counted(t, c); after != counted {
		t.Errorf("when the predecessors had ended the router counts %+v, before %+v", after, counted)
	}
}
