package routertest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// runTables tests what needs no traffic.
func runTables(t *testing.T, h Harness) {
	tests := []struct {
		name string
		test func(*testing.T, Instance)
	}{
		{"nothing applied yet", testNoTable},
		{"applied is read back", testReadBack},
		{"older tables are stale", testStale},
		{"same version", testSameVersion},
		{"meaningless tables are refused whole", testInvalid},
		{"an apply whose caller gave up changes nothing", testCancelled},
		{"observe lists the table", testObserveTable},
		{"restart keeps the table", testRestart},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, h.New(t)) })
	}
}

func quietTable(t *testing.T, seq uint64) router.Table {
	return TableOf(seq, RouteTo(FreeListen(t), FleetOf(1, 100, DeadNode(t, "a"))))
}

func wantApplied(t *testing.T, b router.Backend, want router.Table) {
	t.Helper()
	got, err := b.Applied(context.Background())
	if err != nil {
		t.Fatalf("applied: %v", err)
	}
	g, _ := got.Encode()
	w, _ := want.Encode()
	if string(g) != string(w) {
		t.Fatalf("applied is\n%s\nwant\n%s", g, w)
	}
}

func testNoTable(t *testing.T, in Instance) {
	if _, err := in.Backend.Applied(context.Background()); !errors.Is(err, router.ErrNoTable) {
		t.Fatalf("applied before any apply: %v, want ErrNoTable", err)
	}
	if e := edgeOf(t, in.Backend); e.Confirmed != (router.Version{}) || len(e.Nodes) != 0 {
		t.Fatalf("edge without a table: %+v", e)
	}
}

func testReadBack(t *testing.T, in Instance) {
	table := quietTable(t, 1)
	table.Routes[0].Fleets = append(table.Routes[0].Fleets, FleetOf(2, 0))
	mustApply(t, in.Backend, table)
	wantApplied(t, in.Backend, table)
	if got := edgeOf(t, in.Backend).Confirmed; got != table.Version {
		t.Fatalf("confirmed %s, want %s", got, table.Version)
	}
}

func testStale(t *testing.T, in Instance) {
	table := quietTable(t, 7)
	table.Version.Epoch = 3
	mustApply(t, in.Backend, table)
	for _, v := range []router.Version{{Epoch: 3, Seq: 6}, {Epoch: 2, Seq: 99}, {}} {
		old := table
		old.Version = v
		if err := in.Backend.Apply(context.Background(), old); !errors.Is(err, router.ErrStale) {
			t.Fatalf("apply %s over %s: %v, want ErrStale", v, table.Version, err)
		}
	}
	wantApplied(t, in.Backend, table)
	table.Version = router.Version{Epoch: 4, Seq: 0}
	mustApply(t, in.Backend, table)
	wantApplied(t, in.Backend, table)
}

func testSameVersion(t *testing.T, in Instance) {
	table := quietTable(t, 5)
	mustApply(t, in.Backend, table)
	mustApply(t, in.Backend, table)
	other := table.Canonical()
	other.Routes[0].Fleets[0].Weight++
	if err := in.Backend.Apply(context.Background(), other); !errors.Is(err, router.ErrStale) {
		t.Fatalf("same version with other content: %v, want ErrStale", err)
	}
	wantApplied(t, in.Backend, table)
}

func testInvalid(t *testing.T, in Instance) {
	good := quietTable(t, 1)
	mustApply(t, in.Backend, good)
	breaks := map[string]func(*router.Route){
		"listen":         func(r *router.Route) { r.Listen = "nowhere" },
		"port 0":         func(r *router.Route) { r.Listen = "127.0.0.1:0" },
		"weight":         func(r *router.Route) { r.Fleets[0].Weight = -1 },
		"node address":   func(r *router.Route) { r.Fleets[0].Nodes[0].Address = "localhost" },
		"two same nodes": func(r *router.Route) { r.Fleets[0].Nodes = append(r.Fleets[0].Nodes, r.Fleets[0].Nodes[0]) },
		"host":           func(r *router.Route) { r.Hosts = []string{"a*.example"} },
		"path":           func(r *router.Route) { r.Paths = []string{"api"} },
		"network":        func(r *router.Route) { r.Preview.From = []string{"127.0.0.1"} },
		"key":            func(r *router.Route) { r.Preview.KeySHA256 = "secret" },
		"two same paths": func(r *router.Route) { r.Paths = []string{"/a", "/a/"} },
		"no certificate": func(r *router.Route) { r.TLS = &router.TLS{Cert: "/nowhere/cert.pem", Key: "/nowhere/key.pem"} },
	}
	for name, breakIt := range breaks {
		bad := good.Canonical()
		bad.Version.Seq = 2
		breakIt(&bad.Routes[0])
		err := in.Backend.Apply(context.Background(), bad)
		if name == "no certificate" && !in.Serves {
			continue
		}
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), bad.Routes[0].Name) {
			t.Errorf("%s: %v, want an invalid fault that names the route", name, err)
		}
	}
	bad := good.Canonical()
	bad.Schema, bad.Version.Seq = router.Schema+1, 2
	if err := in.Backend.Apply(context.Background(), bad); err == nil {
		t.Error("a table of another schema was taken")
	}
	if in.Serves {
		wantApplied(t, in.Backend, good)
	}
}

func testCancelled(t *testing.T, in Instance) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := in.Backend.Apply(ctx, quietTable(t, 1)); !errors.Is(err, context.Canceled) {
		t.Fatalf("apply with an ended context: %v", err)
	}
	if _, err := in.Backend.Applied(context.Background()); !errors.Is(err, router.ErrNoTable) {
		t.Fatalf("applied: %v, want ErrNoTable", err)
	}
}

func testObserveTable(t *testing.T, in Instance) {
	a, b := DeadNode(t, "a"), DeadNode(t, "b")
	listen := FreeListen(t)
	mustApply(t, in.Backend, TableOf(1, RouteTo(listen, FleetOf(1, 100, a, b))))
	e := edgeOf(t, in.Backend)
	if e.ID == "" || e.Instance == "" || e.PID == 0 && !in.Remote {
		t.Errorf("edge has no identity: %+v", e)
	}
	if len(e.Nodes) != 2 || len(e.Routes) != 1 || e.Routes[0].Route != "shop/production/web" {
		t.Errorf("edge does not list the table's nodes and routes: %+v", e)
	}
	if len(e.Listeners) != 1 || e.Listeners[0] != (router.ListenerState{Listen: listen}) {
		t.Errorf("listeners %+v, want %s", e.Listeners, listen)
	}
	mustApply(t, in.Backend, TableOf(2, RouteTo(listen, FleetOf(1, 100, b))))
	if _, there := nodeOf(edgeOf(t, in.Backend), a); there {
		t.Error("an empty node that left the table is still observed")
	}
}

func testRestart(t *testing.T, in Instance) {
	if in.Restart == nil {
		return
	}
	table := quietTable(t, 9)
	mustApply(t, in.Backend, table)
	before := edgeOf(t, in.Backend)
	in.Restart(t)
	wantApplied(t, in.Backend, table)
	after := edgeOf(t, in.Backend)
	if after.ID != before.ID || after.Instance == before.Instance || after.Confirmed != table.Version {
		t.Fatalf("edge before %+v, after restart %+v: want the same id and version, another instance", before, after)
	}
	older := table
	older.Version.Seq--
	if err := in.Backend.Apply(context.Background(), older); !errors.Is(err, router.ErrStale) {
		t.Fatalf("older table after restart: %v, want ErrStale", err)
	}
}
