package haproxy

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

func apply(t *testing.T, b router.Backend, table router.Table) {
	t.Helper()
	if err := b.Apply(t.Context(), table); err != nil {
		t.Fatalf("apply %s: %v", table.Version, err)
	}
}

func observed(t *testing.T, b router.Backend) router.Edge {
	t.Helper()
	o, err := b.Observe(t.Context())
	if err != nil {
		t.Fatalf("observe: %v", err)
	}
	return o.Edges[0]
}

// TestSocketGone: nothing answers, then something does again.
func TestSocketGone(t *testing.T) {
	p, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	a := routertest.StartNode(t, "a", nil)
	apply(t, b, table(1, listen, routertest.FleetOf(1, 100, a)))
	p.kill()
	if err := b.Apply(t.Context(), table(2, listen, routertest.FleetOf(1, 50, a))); !errors.Is(err, router.ErrUnavailable) || !fault.Is(err, fault.Unavailable) {
		t.Errorf("apply without haproxy: %v", err)
	}
	if _, err := b.Observe(t.Context()); !errors.Is(err, router.ErrUnavailable) {
		t.Errorf("observe without haproxy: %v", err)
	}
	if _, err := b.Applied(t.Context()); !errors.Is(err, router.ErrUnavailable) {
		t.Errorf("applied without haproxy: %v", err)
	}
	p.start(t)
	if got, err := b.Applied(t.Context()); err != nil || got.Version.Seq != 2 {
		t.Errorf("applied after a restart: %v %v, want the table that was on disk", got.Version, err)
	}
}

// TestRights: sockets with too few rights, and sockets that are not the master's.
func TestRights(t *testing.T) {
	for _, level := range []string{"user", "operator"} {
		t.Run(level, func(t *testing.T) {
			_, b := newProxy(t, ",level,"+level)
			err := b.Apply(t.Context(), table(1, routertest.FreeListen(t), routertest.FleetOf(1, 100, routertest.DeadNode(t, "a"))))
			if !fault.Is(err, fault.Denied) || !strings.Contains(fault.All(err)[0].Hint, "level,admin") {
				t.Errorf("apply with level %s: %v", level, err)
			}
			if _, err := b.Applied(t.Context()); !errors.Is(err, router.ErrNoTable) {
				t.Errorf("a table that was refused is applied: %v", err)
			}
		})
	}
}

func TestWorkersSocket(t *testing.T) {
	p, _ := newProxy(t, "")
	stats := p.edge
	stats.Socket = p.edge.Socket + ".stats"
	p.kill()
	if err := os.WriteFile(p.global, []byte(ownConfig+"    stats socket "+stats.Socket+" level admin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start(t)
	b, err := New(Config{Edges: []Edge{stats}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Applied(t.Context()); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "worker's socket") {
		t.Errorf("applied by a worker's socket: %v", err)
	}
}

// TestWithoutOurFile: a HAProxy that was started without the second -f.
func TestWithoutOurFile(t *testing.T) {
	p, b := newProxy(t, "")
	p.kill()
	p.more = p.more[:len(p.more)-2]
	if err := os.WriteFile(p.global, []byte(ownConfig+"frontend own\n    mode tcp\n    timeout client 1s\n    bind "+routertest.FreeListen(t)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start(t)
	for what, err := range map[string]error{
		"apply":   b.Apply(t.Context(), table(1, routertest.FreeListen(t))),
		"applied": second(b.Applied(t.Context())), "observe": second(b.Observe(t.Context())),
	} {
		if err == nil || !strings.Contains(err.Error(), "does not read "+p.edge.ConfigFile()) || !strings.Contains(fault.All(err)[0].Hint, "-f "+p.edge.ConfigFile()) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestForeignHands: what others do to our servers does not last.
func TestForeignHands(t *testing.T) {
	p, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	a, c := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "c", nil)
	stranger := routertest.StartNode(t, "stranger", nil)
	r := routertest.RouteTo(listen, routertest.FleetOf(1, 100, a, c))
	tab := routertest.TableOf(1, r)
	apply(t, b, tab)
	slot := slotName(routeID(&r), 1)
	host, port, _ := strings.Cut(stranger.Address, ":")
	for _, command := range []string{
		"set server " + slot + "/s1 addr " + host + " port " + port,
		"set server " + slot + "/s1 state maint", "set server " + slot + "/s2 state drain",
		"add server " + slot + "/d1 " + stranger.Address, "set server " + slot + "/d1 state ready",
	} {
		p.ask(t, command)
	}
	routertest.Eventually(t, "the servers are in order again", func() bool {
		observed(t, b)
		rows, err := parseStat(p.ask(t, "show stat "+slot+" 4 -1"))
		if err != nil {
			t.Fatal(err)
		}
		return rows[0].address == a.Address && !rows[0].left() && !rows[1].left() && strings.HasPrefix(find(rows, "d1").status, "MAINT")
	})
	l := startLoad(t, listen, 1, 1)
	routertest.Eventually(t, "both nodes get requests", func() bool { return a.Seen.Load() > 0 && c.Seen.Load() > 0 })
	l.end(t)
	if stranger.Seen.Load() > 0 {
		t.Error("a stranger's server got requests")
	}
	// A name that is taken is not in the way of a node more.
	more := []*routertest.TestNode{a, c}
	for _, name := range []string{"e", "f", "g", "h"} {
		more = append(more, routertest.StartNode(t, name, nil))
	}
	apply(t, b, table(2, listen, routertest.FleetOf(1, 100, more...)))
	l = startLoad(t, listen, 1, 1)
	routertest.Eventually(t, "the new nodes get requests", func() bool {
		for _, n := range more {
			if n.Seen.Load() == 0 {
				return false
			}
		}
		return true
	})
	l.end(t)
}

func find(rows []row, server string) row {
	for _, r := range rows {
		if r.server == server {
			return r
		}
	}
	return row{}
}

// TestRefusedConfiguration: the user's own part is broken when a route needs a reload.
func TestRefusedConfiguration(t *testing.T) {
	p, b := newProxy(t, "")
	a := routertest.StartNode(t, "a", nil)
	first, second := routertest.FreeListen(t), routertest.FreeListen(t)
	good := table(1, first, routertest.FleetOf(1, 100, a))
	apply(t, b, good)
	before := p.processes(t).current
	if err := os.WriteFile(p.global, []byte(ownConfig+"    no such word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := startLoad(t, first, 2, 2)
	bad := table(2, first, routertest.FleetOf(1, 100, a))
	bad.Routes = append(bad.Routes, router.Route{Name: "other/production/web", Listen: second})
	err := b.Apply(t.Context(), bad)
	if !fault.Is(err, fault.Failed) || !strings.Contains(err.Error(), "other/production/web") {
		t.Errorf("apply over a broken configuration: %v", err)
	}
	l.end(t)
	if got, err := b.Applied(t.Context()); err != nil || got.Version != good.Version {
		t.Errorf("applied %s, %v, want the table before", got.Version, err)
	}
	if now := p.processes(t).current; now != before {
		t.Errorf("worker %d became %d", before, now)
	}
	if err := os.WriteFile(p.global, []byte(ownConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	apply(t, b, bad)
	p.kill()
	p.start(t)
	if e := observed(t, b); e.Confirmed != bad.Version || len(e.Listeners) != 2 {
		t.Errorf("after a restart: %+v", e)
	}
}

// TestCrashAfterCommit: the agent ended when the table was on disk and not yet in effect.
func TestCrashAfterCommit(t *testing.T) {
	p, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	a, c := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "c", nil)
	apply(t, b, table(1, listen, routertest.FleetOf(1, 100, a)))
	next := table(2, listen, routertest.FleetOf(1, 0, a), routertest.FleetOf(2, 100, c))
	packed, err := pack(next.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	u, err := b.edges[0].begin(t.Context(), packed)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.commit(); err != nil {
		t.Fatal(err)
	}
	u.end()
	again := p.backend(t)
	if got, err := again.Applied(t.Context()); err != nil || got.Version != next.Version {
		t.Fatalf("applied %s, %v", got.Version, err)
	}
	if e := observed(t, again); e.Confirmed != next.Version {
		t.Errorf("confirmed %s, want %s", e.Confirmed, next.Version)
	}
	l := startLoad(t, listen, 1, 1)
	routertest.Eventually(t, "requests", func() bool { return l.sent.Load() > 50 })
	l.end(t)
	if a.Seen.Load() > 0 {
		t.Error("the table on disk was said to be applied, and is not in effect")
	}
}

// TestFolderLost: what HAProxy has in memory is written to disk again.
func TestFolderLost(t *testing.T) {
	p, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	a := routertest.StartNode(t, "a", nil)
	want := table(7, listen, routertest.FleetOf(1, 100, a))
	apply(t, b, want)
	if err := os.RemoveAll(p.edge.Folder); err != nil {
		t.Fatal(err)
	}
	again := p.backend(t)
	if got, err := again.Applied(t.Context()); err != nil || got.Version != want.Version {
		t.Fatalf("applied %s, %v", got.Version, err)
	}
	p.kill()
	p.start(t)
	if e := observed(t, again); e.Confirmed != want.Version {
		t.Errorf("confirmed after a restart %s, want %s", e.Confirmed, want.Version)
	}
}

// TestStaleWriter: another agent on the same HAProxy, which does not know of the newer table.
func TestStaleWriter(t *testing.T) {
	p, b := newProxy(t, "")
	other := p.backend(t)
	listen := routertest.FreeListen(t)
	a := routertest.StartNode(t, "a", nil)
	newer := table(1, listen, routertest.FleetOf(1, 100, a))
	newer.Version.Epoch = 5
	apply(t, b, newer)
	if err := other.Apply(t.Context(), table(99, listen, routertest.FleetOf(1, 1, a))); !errors.Is(err, router.ErrStale) {
		t.Errorf("apply by a stale agent: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	unlock, err := b.edges[0].folder.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	newer.Version.Seq++
	if err := other.Apply(ctx, newer); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("apply while another one is at it: %v", err)
	}
}

// TestPrecheck: what stands in a route's way is found without a table.
func TestPrecheck(t *testing.T) {
	_, b := newProxy(t, "")
	listen := routertest.FreeListen(t)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	cert, key := certificate(t, "a.example")
	for name, c := range map[string]struct {
		change func(*router.Route)
		code   fault.Code
	}{
		"free":         {func(*router.Route) {}, ""},
		"taken":        {func(r *router.Route) { r.Listen = other.Addr().String() }, fault.Exists},
		"redirect":     {func(r *router.Route) { r.TLS = &router.TLS{Cert: cert, Key: key, Redirect: other.Addr().String()} }, fault.Exists},
		"certificate":  {func(r *router.Route) { r.TLS = &router.TLS{Cert: key, Key: key} }, fault.Invalid},
		"client ca":    {func(r *router.Route) { r.TLS = &router.TLS{Cert: cert, Key: key, ClientCA: key} }, fault.Invalid},
		"no client ca": {func(r *router.Route) { r.TLS = &router.TLS{Cert: cert, Key: key, ClientCA: key + "0"} }, fault.Invalid},
		"acme":         {func(r *router.Route) { r.Hosts, r.TLS = []string{"a.example"}, &router.TLS{ACME: &router.ACME{}} }, fault.Unsupported},
		"a name":       {func(r *router.Route) { r.Listen = "a.example:80" }, fault.Unsupported},
		"a blank":      {func(r *router.Route) { r.Paths = []string{"/a b"} }, fault.Unsupported},
		"hedging":      {func(r *router.Route) { r.Balance.HedgeAfter = time.Second }, fault.Unsupported},
		"control": {func(r *router.Route) {
			r.Rules = []router.Rule{{Headers: map[string]string{"X-A": "a\nb"}, Fleet: "f"}}
		}, fault.Unsupported},
	} {
		r := routertest.RouteTo(listen)
		c.change(&r)
		if err := b.Precheck(t.Context(), r); fault.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), r.Name) {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
		if c.code == fault.Unsupported {
			if err := b.Apply(t.Context(), routertest.TableOf(1, r)); !fault.Is(err, fault.Unsupported) {
				t.Errorf("%s: apply: %v", name, err)
			}
		}
	}
	apply(t, b, table(1, listen))
	if err := b.Precheck(t.Context(), routertest.RouteTo(listen)); err != nil {
		t.Errorf("an address that HAProxy has for us: %v", err)
	}
}
