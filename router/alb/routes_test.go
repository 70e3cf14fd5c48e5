package alb

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// get asks with these headers and gives the status and the body.
func get(t *testing.T, listen, host, path string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+listen+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = cmp.Or(host, listen)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func (c *cloud) apply(b router.Backend, table router.Table) {
	c.t.Helper()
	if err := (b).Apply(c.t.Context(), table); err != nil {
		c.t.Fatalf("apply %s: %v", table.Version, err)
	}
}

// TestPreview: X-Release is obeyed from the networks that may, by the balancer's own rules; a release without a node is 503.
func TestPreview(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond, Users: "203.0.113.7"})
	b := provided{c.backend(), c}
	listen := routertest.FreeListen(t)
	r := routertest.RouteTo(listen, routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil)), routertest.FleetOf(2, 0, routertest.StartNode(t, "b", nil)), routertest.FleetOf(3, 0))
	r.Preview.From = []string{"127.0.0.0/8", "198.51.100.0/24", "192.0.2.0/24", "10.0.0.0/8", "203.0.113.0/24"}
	c.apply(b, routertest.TableOf(1, r))
	for release, want := range map[string]string{"r2": "b", "r1": "a", "": "a", "r3": "no node can take the request\n", "r9": "no node can take the request\n"} {
		if _, got := get(t, listen, "", "/", headerRelease, release); got != want && release != "" {
			t.Errorf("%s: %q, want %q", release, got, want)
		}
	}
	r.Preview.From = []string{"198.51.100.0/24"}
	c.apply(b, routertest.TableOf(2, r))
	if _, got := get(t, listen, "", "/", headerRelease, "r2"); got != "a" {
		t.Errorf("from elsewhere: %q", got)
	}
}

// TestRules: a route's rules by header, path and network, within the route's own paths.
func TestRules(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond, Users: "203.0.113.7"})
	b := provided{c.backend(), c}
	listen := routertest.FreeListen(t)
	one, two := routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil)), routertest.FleetOf(2, 0, routertest.StartNode(t, "b", nil))
	r := routertest.RouteTo(listen, one, two)
	r.Paths = []string{"/shop", "/other/"}
	r.Rules = []router.Rule{
		{Headers: map[string]string{"X-Team": "us"}, Fleet: "shop/production/web/r9/1"},
		{Headers: map[string]string{"X-Team": "us", "X-Any": ""}, Fleet: two.ID},
		{Paths: []string{"/shop/new"}, Fleet: two.ID},
		{Paths: []string{"/"}, From: []string{"198.51.100.0/24"}, Fleet: two.ID},
	}
	c.apply(b, routertest.TableOf(1, r))
	for _, tt := range []struct {
		path, want string
		headers    []string
	}{
		{"/shop", "a", nil}, {"/shop/x", "a", nil}, {"/shop/new", "b", nil}, {"/shop/new/x", "b", nil}, {"/shop/newer", "a", nil}, {"/other", "a", nil}, {"/", "", nil},
		{"/shopper", "", nil}, {"/shop", "a", []string{"X-Team", "us"}}, {"/other/x", "b", []string{"X-Team", "us", "X-Any", "x"}},
	} {
		if _, got := get(t, listen, "", tt.path, tt.headers...); got != tt.want {
			t.Errorf("%s %v: %q, want %q", tt.path, tt.headers, got, tt.want)
		}
	}
}

// TestSessions: the balancer's cookie keeps a client on its fleet, also at weight 0 for as long as its sessions stay.
func TestSessions(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	b := provided{c.backend(), c}
	listen := routertest.FreeListen(t)
	one, two := routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil)), routertest.FleetOf(2, 0, routertest.StartNode(t, "b", nil))
	table := func(seq uint64, w1, w2 int, sessions bool) router.Table {
		one.Weight, two.Weight, one.Sessions = w1, w2, sessions
		r := routertest.RouteTo(listen, one, two)
		r.Sticky = &router.Sticky{By: router.StickyCookie, Cookie: "shop", Key: strings.Repeat("5a", 32), MaxAge: time.Hour}
		return routertest.TableOf(seq, r)
	}
	c.apply(b, table(1, 100, 0, false))
	res, err := http.Get("http://" + listen)
	if err != nil || len(res.Cookies()) != 1 || res.Cookies()[0].MaxAge != 3600 {
		t.Fatalf("%+v %v", res, err)
	}
	_ = res.Body.Close()
	cookie := res.Cookies()[0].Name + "=" + res.Cookies()[0].Value
	for seq, want := range map[uint64]string{2: "a", 3: "b"} {
		c.apply(b, table(2, 0, 100, true))
		if seq == 3 {
			c.apply(b, table(3, 0, 100, false))
		}
		if _, got := get(t, listen, "", "/", "Cookie", cookie); got != want {
			t.Errorf("with a cookie, table %d: %q, want %q", seq, got, want)
		}
		if _, got := get(t, listen, "", "/"); got != "b" {
			t.Errorf("without one: %q", got)
		}
		if seq == 3 {
			break
		}
	}
	applied, err := b.Applied(t.Context())
	if key := applied.Routes[0].Sticky.Key; err != nil || key == strings.Repeat("5a", 32) || len(key) != 2*32 {
		t.Errorf("the key that signs cookies is in tags: %q %v", key, err)
	}
	if _, err := hex.DecodeString(applied.Routes[0].Sticky.Key); err != nil {
		t.Error(err)
	}
}

// TestSick: weight moves only when the balancer itself finds the nodes healthy. One that it never does is refused with its reason, and
// users stay where they are.
func TestSick(t *testing.T) {
	c := here(t, awstest.Options{Takes: 20 * time.Millisecond})
	now := time.Now()
	b := provided{c.backend(func(o *Options, _ *awsapi.Options) { o.Now = func() time.Time { return now } }), c}
	listen := routertest.FreeListen(t)
	one, two := routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil)), routertest.FleetOf(2, 0, routertest.StartNode(t, "b", nil))
	c.apply(b, routertest.TableOf(1, routertest.RouteTo(listen, one, two)))
	c.server.Sicken(region, "127.0.0.1", "Target.Timeout")
	one.Weight, two.Weight = 50, 50
	moved := routertest.TableOf(2, routertest.RouteTo(listen, one, two))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := b.Apply(ctx, moved); !waits(err) || !strings.Contains(err.Error(), "Target.Timeout") {
		t.Errorf("while it is waited for: %v", err)
	}
	now = now.Add(2 * time.Minute)
	err := b.Apply(t.Context(), moved)
	if fault.CodeOf(err) != fault.Failed || !strings.Contains(err.Error(), "Target.Timeout") || !strings.Contains(fault.All(err)[0].Hint, "security group") {
		t.Errorf("after too long: %v", err)
	}
	if applied, err := b.Applied(t.Context()); err != nil || applied.Version.Seq != 1 {
		t.Errorf("the table is %s: %v", applied.Version, err)
	}
	for range 10 {
		if _, got := get(t, listen, "", "/"); got != "a" {
			t.Fatalf("users were moved to %q", got)
		}
	}
	c.server.Sicken(region, "127.0.0.1", "")
	c.apply(b, moved)
}

// TestForeign: rules and target groups of others are as they were, and their priorities are not ours.
func TestForeign(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	listen := routertest.FreeListen(t)
	c.listen(listen)
	port := routertest.PortOf(t, listen)
	theirs, err := c.elb.CreateRule(t.Context(), &elb.CreateRuleInput{ListenerArn: aws.String(c.listeners[port]), Priority: aws.Int32(1001),
		Conditions: conditionsOf([]condition{{field: fieldPath, values: []string{"/theirs"}}}), Actions: action{}.actions()})
	if err != nil {
		t.Fatal(err)
	}
	b := provided{c.backend(), c}
	n := routertest.StartNode(t, "a", nil)
	// The name that the fleet's group would have is somebody else's.
	name := b.groupName("shop/production/web/r2/1", "")
	if _, err := c.elb.CreateTargetGroup(t.Context(), &elb.CreateTargetGroupInput{Name: &name, Protocol: types.ProtocolEnumHttp, Port: aws.Int32(1), VpcId: aws.String("vpc-0"), TargetType: types.TargetTypeEnumIp}); err != nil {
		t.Fatal(err)
	}
	r := routertest.RouteTo(listen, routertest.FleetOf(1, 100, n))
	r.Hosts = []string{"a.example", "*.b.example", "c.example", "d.example", "e.example"}
	c.apply(b, routertest.TableOf(1, r))
	for host, want := range map[string]string{"a.example": "a", "e.example": "a", "x.b.example": "a", "z.example": ""} {
		if _, got := get(t, listen, host, "/"); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	r.Fleets = append(r.Fleets, routertest.FleetOf(2, 0, n))
	if err := b.Apply(ctx, routertest.TableOf(2, r)); err == nil {
		t.Error("somebody else's target group was taken")
	}
	out, err := c.elb.DescribeRules(t.Context(), &elb.DescribeRulesInput{RuleArns: []string{*theirs.Rules[0].RuleArn}})
	if err != nil || *out.Rules[0].Priority != "1001" || matchOf(out.Rules[0].Conditions) != matchText([]condition{{field: fieldPath, values: []string{"/theirs"}}}) {
		t.Errorf("their rule is %+v, %v", out, err)
	}
}

// TestUnsupported: what a balancer cannot do is said before anything is done.
func TestUnsupported(t *testing.T) {
	c := here(t, awstest.Options{})
	b := c.backend()
	before := len(c.server.Calls())
	for want, change := range map[string]func(*router.Route){
		"tcp":           func(r *router.Route) { r.Protocol = router.TCP },
		"a key":         func(r *router.Route) { r.Preview.KeySHA256 = strings.Repeat("00", 32) },
		"trusted":       func(r *router.Route) { r.Trusted = []string{"10.0.0.0/8"} },
		"sticky by":     func(r *router.Route) { r.Sticky = &router.Sticky{By: router.StickyAddress} },
		"max_in_flight": func(r *router.Route) { r.Balance.MaxInFlight = 1 },
		"hedge_after":   func(r *router.Route) { r.Balance.HedgeAfter = time.Second },
		"slow_start":    func(r *router.Route) { r.Balance.SlowStart = time.Second },
		"host":          func(r *router.Route) { r.Hosts = []string{"localhost"} },
		"path":          func(r *router.Route) { r.Paths = []string{"/a*"} },
		"cookie":        func(r *router.Route) { r.Rules = []router.Rule{{Cookies: map[string]string{"a": "b"}, Fleet: "x"}} },
		"over 6 fleets": func(r *router.Route) {
			r.Fleets = nil
			for i := range 6 {
				r.Fleets = append(r.Fleets, routertest.FleetOf(i+1, 1, &routertest.TestNode{Name: "n", Address: fmt.Sprintf("10.0.0.%d:80", i+1)}))
			}
		},
	} {
		r := routertest.RouteTo(":80", routertest.FleetOf(1, 1))
		change(&r)
		err := b.Apply(t.Context(), routertest.TableOf(1, r))
		if fault.CodeOf(err) != fault.Unsupported || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), r.Name) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if n := len(c.server.Calls()); n != before {
		t.Errorf("%d calls were made for what is refused", n-before)
	}
	r := routertest.RouteTo(":81", routertest.FleetOf(1, 1))
	if err := b.Apply(t.Context(), routertest.TableOf(1, r)); fault.CodeOf(err) != fault.NotFound || !strings.Contains(err.Error(), "port 81") {
		t.Errorf("no listener: %v", err)
	}
	if err := b.Precheck(t.Context(), r); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("precheck without a listener: %v", err)
	}
	none := c.backend(func(o *Options, _ *awsapi.Options) { o.Balancer = "none" })
	if _, err := none.Observe(t.Context()); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("no balancer: %v", err)
	}
}

// TestLargeTable: a table of many pages is whole or not there.
func TestLargeTable(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	b := provided{c.backend(), c}
	listen := routertest.FreeListen(t)
	var table router.Table
	for seq := range uint64(3) {
		r := routertest.RouteTo(listen)
		for i := range 3 {
			f := routertest.FleetOf(i+1, i)
			for n := range 400 {
				f.Nodes = append(f.Nodes, router.Node{Name: "n" + digest(24, fmt.Sprint(seq, i, n)), Address: fmt.Sprintf("10.%d.%d.%d:8080", i, n/200, n%200+1)})
			}
			slices.SortFunc(f.Nodes, func(x, y router.Node) int { return strings.Compare(x.Name, y.Name) })
			r.Fleets = append(r.Fleets, f)
		}
		table = routertest.TableOf(seq+1, r)
		c.apply(b, table)
	}
	got, err := c.backend().Applied(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g, _ := got.Encode()
	w, _ := table.Encode()
	if string(g) != string(w) {
		t.Error("it is read back as another one")
	}
	v, err := b.look(t.Context())
	if err != nil || len(v.pages) < 4 {
		t.Errorf("%d pages, %v", len(v.pages), err)
	}
}
