package consul

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"pgregory.net/rapid"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/test/tools/consultest"
)

func TestSharesSumToAHundred(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var fleets []router.Fleet
		total := 0
		for i, w := range rapid.SliceOfN(rapid.IntRange(0, 1<<20), 0, 8).Draw(t, "weights") {
			fleets = append(fleets, router.Fleet{ID: fmt.Sprintf("a/b/c/r%d/1", i), Weight: w})
			total += w
		}
		got := shares(fleets)
		sum := 0
		for _, s := range got {
			sum += s.share
			for _, f := range fleets {
				if exact := float64(f.Weight) * whole / float64(max(total, 1)); subsetName(f.ID) == s.subset && total > 0 && (float64(s.share) < exact-1 || float64(s.share) > exact+1) {
					t.Errorf("%s has %d of %.2f", s.subset, s.share, exact)
				}
			}
		}
		if len(fleets) > 0 && sum != whole || len(fleets) == 0 && got != nil {
			t.Errorf("%v sums to %d", got, sum)
		}
	})
}

func TestNamesAreLabels(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"release-shop-production-web", "release-Shop-production-web", "release-shop_production-web", "release-a.b",
		"release-" + strings.Repeat("x", 60), "release-" + strings.Repeat("x", 61), "release-a-", "release-ä"} {
		l := label(name)
		if len(l) > maxLabel || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.HasSuffix(l, "-") || seen[l] != "" {
			t.Errorf("%q is %q, as is %q", name, l, seen[l])
		}
		seen[l] = name
	}
	if got := subsetName("shop/production/web/r8/2") + " " + subsetName("shop/production/web/r8/1"); got != "r8-2 r8" {
		t.Error(got)
	}
}

// projection is a projector by hand, and Consul as meshes and DNS see it.
type projection struct {
	*Projector
	t    *testing.T
	b    *Backend
	host string
	now  time.Time
	seq  uint64
}

const webService = "release-shop-production-web"

func startProjection(t *testing.T, installation string) *projection {
	t.Helper()
	c := consultest.Start(t, consultest.Options{Config: "connect { enabled = true }\nports { dns = 8600 }\ndns_config { use_cache = false }"})
	p := &projection{t: t, b: newBackend(t, c.Servers[0].Address, ""), host: c.Servers[0].Host, now: time.Unix(1_700_000_000, 0)}
	var err error
	p.Projector, err = NewProjector(ProjectorOptions{
		Options:      Options{Settings: consulapi.Settings{Address: c.Servers[0].Address}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))},
		Installation: installation, Keep: time.Minute, now: func() time.Time { return p.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *projection) apply(routes ...router.Route) error {
	p.t.Helper()
	p.seq++
	mustApply(p.t, p.b, router.Table{Schema: router.Schema, Version: router.Version{Epoch: 1, Seq: p.seq}, Routes: routes})
	return p.project(p.t.Context())
}

func (p *projection) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// chain is the split of a service as Envoy is told: share by subset, and the subsets' filters.
func (p *projection) chain(service string) (shares map[string]float32, filters map[string]string, protocol string) {
	p.t.Helper()
	got, _, err := p.client.DiscoveryChain().Get(service, nil, nil)
	p.must(err)
	shares, filters = map[string]float32{}, map[string]string{}
	for _, n := range got.Chain.Nodes {
		for _, s := range n.Splits {
			name, _, _ := strings.Cut(strings.TrimPrefix(s.NextNode, "resolver:"), ".")
			shares[name] = s.Weight
		}
	}
	for _, target := range got.Chain.Targets {
		filters[target.ServiceSubset] = target.Subset.Filter
	}
	return shares, filters, got.Chain.Protocol
}

// srv is the weights of DNS answers by port.
func (p *projection) srv(service string) map[uint16]uint16 {
	p.t.Helper()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", p.host+":8600")
	}}
	_, all, err := r.LookupSRV(p.t.Context(), "", "", service+".service.consul.")
	p.must(err)
	out := map[uint16]uint16{}
	for _, a := range all {
		out[a.Port] = a.Weight
	}
	return out
}

func webRoute(fleets ...router.Fleet) router.Route {
	return router.Route{Name: "shop/production/web", Listen: "127.0.0.1:19999", Fleets: fleets}
}

// someFleet has nodes at ports of its release: 1000 × n and on.
func someFleet(n, weight, size int) router.Fleet {
	f := router.Fleet{ID: fmt.Sprintf("shop/production/web/r%d/1", n), Release: fmt.Sprintf("r%d", n), Weight: weight}
	for i := range size {
		f.Nodes = append(f.Nodes, router.Node{Name: fmt.Sprintf("web-r%d-%d", n, i), Address: fmt.Sprintf("10.0.%d.%d:%d", n, i+1, 1000*n+i)})
	}
	return f
}

func TestProjection(t *testing.T) {
	p := startProjection(t, "i-one")
	p.must(p.apply(webRoute(someFleet(1, 100, 2))))
	shares, filters, protocol := p.chain(webService)
	if !maps.Equal(shares, map[string]float32{"r1": 100}) || protocol != "http" || filters["r1"] != `Service.Meta.fleet == "shop/production/web/r1/1"` {
		t.Errorf("the first release: %v %v %s", shares, filters, protocol)
	}
	if got := p.srv(webService); !maps.Equal(got, map[uint16]uint16{1000: 5000, 1001: 5000}) {
		t.Errorf("dns: %v", got)
	}

	p.must(p.apply(webRoute(someFleet(1, 90, 2), someFleet(2, 10, 1))))
	if shares, _, _ := p.chain(webService); !maps.Equal(shares, map[string]float32{"r1": 90, "r2": 10}) {
		t.Errorf("ten per cent: %v", shares)
	}
	if got := p.srv(webService); !maps.Equal(got, map[uint16]uint16{1000: 4500, 1001: 4500, 2000: 1000}) {
		t.Errorf("dns at ten per cent: %v", got)
	}
	of2, _, err := p.client.Health().Service(webService, "", true, &api.QueryOptions{Filter: `Service.Meta.release == "r2"`})
	p.must(err)
	if len(of2) != 1 || of2[0].Service.Address != "10.0.2.1" || of2[0].Service.Meta["node"] != "web-r2-0" || of2[0].Service.Tags[0] != "r2" {
		t.Errorf("instances of r2: %+v", of2)
	}

	// The old fleet keeps its nodes at weight 0, then leaves the table: its nodes stay for their time.
	p.must(p.apply(webRoute(someFleet(1, 0, 2), someFleet(2, 100, 1))))
	if got := p.srv(webService); !maps.Equal(got, map[uint16]uint16{1000: 0, 1001: 0, 2000: 10000}) {
		t.Errorf("dns with a warm fleet: %v", got)
	}
	p.must(p.apply(webRoute(someFleet(2, 100, 1))))
	p.now = p.now.Add(59 * time.Second)
	p.must(p.project(t.Context()))
	if got := p.srv(webService); !maps.Equal(got, map[uint16]uint16{1000: 0, 1001: 0, 2000: 10000}) {
		t.Errorf("dns before the nodes' time is over: %v", got)
	}
	p.now = p.now.Add(2 * time.Second)
	p.must(p.project(t.Context()))
	if got := p.srv(webService); !maps.Equal(got, map[uint16]uint16{2000: 10000}) {
		t.Errorf("dns after: %v", got)
	}
	resolver, _, err := p.client.ConfigEntries().Get(api.ServiceResolver, webService, nil)
	p.must(err)
	if r := resolver.(*api.ServiceResolverConfigEntry); len(r.Subsets) != 1 || r.Subsets["r2"].Filter == "" {
		t.Errorf("subsets: %v", r.Subsets)
	}

	// Thirds, and what somebody broke.
	p.must(p.apply(webRoute(someFleet(2, 1, 1), someFleet(3, 1, 1), someFleet(4, 1, 1))))
	before, _, _ := p.chain(webService)
	if before["r2"]+before["r3"]+before["r4"] != 100 || len(before) != 3 {
		t.Errorf("thirds: %v", before)
	}
	_, _, err = p.client.ConfigEntries().Set(&api.ServiceSplitterConfigEntry{Kind: api.ServiceSplitter, Name: webService,
		Splits: []api.ServiceSplit{{ServiceSubset: "r2", Weight: 100}}, Meta: p.meta()}, nil)
	p.must(err)
	_, err = p.client.Catalog().Deregister(&api.CatalogDeregistration{Node: p.nodeName(), ServiceID: "web-r3-0"}, nil)
	p.must(err)
	p.must(p.project(t.Context()))
	if after, _, _ := p.chain(webService); !maps.Equal(before, after) || len(p.srv(webService)) != 3 {
		t.Errorf("not healed: %v, %v", after, p.srv(webService))
	}

	// Nothing is left of a route that is gone.
	p.must(p.apply())
	p.now = p.now.Add(2 * time.Minute)
	p.must(p.project(t.Context()))
	p.must(p.project(t.Context()))
	owned, err := p.owned(t.Context())
	p.must(err)
	if node, _, err := p.client.Catalog().Node(p.nodeName(), nil); err != nil || node != nil || len(owned) != 0 {
		t.Errorf("left: node %+v, config entries %v (%v)", node, owned, err)
	}
}

// An agent's Apply returns when meshes have the new split, since old nodes may be shot next. Only what changed is looked at.
func TestApplyProjects(t *testing.T) {
	p := startProjection(t, "i-one")
	b := p.b.Projecting(p.Projector)
	table := func(seq uint64, weight int) router.Table {
		return router.Table{Schema: router.Schema, Version: router.Version{Epoch: 1, Seq: seq}, Routes: []router.Route{webRoute(someFleet(1, weight, 1), someFleet(2, 100-weight, 1))}}
	}
	for seq, weight := range []int{50, 0, 90} {
		mustApply(t, b, table(uint64(seq+1), weight))
		if shares, _, _ := p.chain(webService); shares["r1"] != float32(weight) || shares["r2"] != float32(100-weight) {
			t.Errorf("applied %d, the split is %v", weight, shares)
		}
	}
}

// A route that changes between what Consul splits and what it does not.
func TestProjectionOfTCPAndH2C(t *testing.T) {
	p := startProjection(t, "i-one")
	route := webRoute(someFleet(1, 30, 1), someFleet(2, 70, 1))
	for _, c := range []struct {
		change func(*router.Route)
		want   string
		splits int
	}{
		{func(r *router.Route) { r.Nodes = router.NodeH2C }, "http2", 2},
		{func(r *router.Route) { r.Nodes, r.Protocol = "", router.TCP }, "tcp", 0},
		{func(r *router.Route) { r.Protocol = router.HTTP }, "http", 2},
	} {
		c.change(&route)
		p.must(p.apply(route))
		shares, filters, protocol := p.chain(webService)
		if protocol != c.want || len(shares) != c.splits || c.splits == 0 && filters["r2"] == "" {
			t.Errorf("%s, %v, %v; want %s and %d", protocol, shares, filters, c.want, c.splits)
		}
	}
}

// What others have in Consul is left alone, whatever its name.
func TestProjectionTouchesOnlyItsOwn(t *testing.T) {
	p := startProjection(t, "i-one")
	theirs := &api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: webService, ConnectTimeout: 3 * time.Second}
	_, _, err := p.client.ConfigEntries().Set(theirs, nil)
	p.must(err)
	_, err = p.client.Catalog().Register(&api.CatalogRegistration{Node: "other", Address: "10.9.9.9", Service: &api.AgentService{ID: "x", Service: webService, Port: 7}}, nil)
	p.must(err)
	api2 := webRoute(someFleet(1, 1, 1))
	api2.Name, api2.Listen = "shop/production/api", "127.0.0.1:19998"
	api2.Fleets[0].Nodes[0].Name = "api-r1-0"
	if err := p.apply(webRoute(someFleet(1, 1, 1)), api2); !fault.Is(err, fault.Exists) || !strings.Contains(err.Error(), webService) {
		t.Errorf("a resolver of somebody else: %v", err)
	}
	if shares, _, _ := p.chain("release-shop-production-api"); shares["r1"] != 100 {
		t.Errorf("the other route is not projected: %v", shares)
	}
	if err := p.apply(); err != nil {
		t.Error(err)
	}
	p.now = p.now.Add(time.Hour)
	p.must(p.project(t.Context()))
	got, _, err := p.client.ConfigEntries().Get(api.ServiceResolver, webService, nil)
	if err != nil || got.(*api.ServiceResolverConfigEntry).ConnectTimeout != 3*time.Second || len(got.GetMeta()) != 0 {
		t.Errorf("their resolver: %+v (%v)", got, err)
	}
	if node, _, err := p.client.Catalog().Node("other", nil); err != nil || node == nil {
		t.Errorf("their node: %+v (%v)", node, err)
	}
}

// The table is projected once every live edge serves it, and by one projector at a time.
func TestProjectionWaitsForEdges(t *testing.T) {
	p := startProjection(t, "i-one")
	table := router.Table{Schema: router.Schema, Version: router.Version{Epoch: 1, Seq: 1}, Routes: []router.Route{webRoute(someFleet(1, 1, 1))}}
	if _, err := p.putTable(t.Context(), table, 0); err != nil {
		t.Fatal(err)
	}
	session, _, err := p.client.Session().CreateNoChecks(&api.SessionEntry{TTL: "10s"}, nil)
	p.must(err)
	value, err := encode(edgeRecord{Edge: router.Edge{ID: "slow"}})
	p.must(err)
	_, _, err = p.client.KV().Acquire(&api.KVPair{Key: p.edgeKey("slow"), Value: value, Session: session}, nil)
	p.must(err)
	if err := p.project(t.Context()); !errors.Is(err, errUnconfirmed) {
		t.Errorf("an edge has not confirmed: %v", err)
	}
	_, err = p.client.Session().Destroy(session, nil)
	p.must(err)
	p.must(p.project(t.Context()))
	other, err := NewProjector(p.Projector.opts)
	p.must(err)
	if held, err := p.hold(t.Context()); !held || err != nil {
		t.Fatalf("the first projector: %v, %v", held, err)
	}
	if held, err := other.hold(t.Context()); held || err != nil {
		t.Fatalf("the second one: %v, %v", held, err)
	}
	p.release()
	routertest.Eventually(t, "the second one works after the first", func() bool {
		held, err := other.hold(t.Context())
		return held && err == nil
	})
}
