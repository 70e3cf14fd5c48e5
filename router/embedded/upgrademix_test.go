package embedded

import (
	"context"
	"testing"

	"github.com/bootandshoot/release/router/routertest"
)

// Ten upgrades with every kind of client at work, and none of them loses anything: WebSockets go on over all ten.
func TestUpgradesUnderMixedLoad(t *testing.T) {
	c := startRouter(t, t.TempDir())
	a, b := routertest.MixNode(t, "a"), routertest.MixNode(t, "b")
	m := &routertest.Mix{Plain: routertest.FreeListen(t), TLS: routertest.FreeListen(t)}
	plain, secure := routertest.RouteTo(m.Plain, routertest.FleetOf(1, 1, a, b)), routertest.RouteTo(m.TLS, routertest.FleetOf(1, 1, a, b))
	files := writeCertificate(t, t.TempDir(), 1, "x")
	secure.Name, secure.TLS = "secure", &files
	mustApply(t, c, routertest.TableOf(1, plain, secure))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	pids := map[int]bool{mustStatus(t, c).PID: true}
	for i := range 10 {
		routertest.Eventually(t, "load runs", func() bool { return m.Sent.Load() > int64(300*(i+1)) })
		s := upgrade(t, c)
		pids[s.PID] = true
		mustApply(t, c, routertest.TableOf(uint64(i+2), plain, secure))
	}
	sent := m.Sent.Load()
	routertest.Eventually(t, "load goes on", func() bool { return m.Sent.Load() > sent+300 })
	stop()
	<-done
	for i, why := range m.Lost() {
		if i < 10 {
			t.Error("lost:", why)
		}
	}
	if len(pids) != 11 || m.Ended.Load() > 0 {
		t.Errorf("%d processes; %d streams ended", len(pids), m.Ended.Load())
	}
	o, err := c.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range o.Edges[0].Routes {
		if r.Failed+r.NoNode+r.Rejected > 0 {
			t.Errorf("%+v", r)
		}
	}
	t.Logf("%d requests over 10 upgrades, %d lost: %v", m.Sent.Load(), len(m.Lost()), m.Kinds())
	routertest.Eventually(t, "the predecessors ended", func() bool { return mustStatus(t, c).Predecessor == nil })
}
