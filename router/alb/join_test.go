package alb

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// TestJoinInVain: a node that joins a fleet with weight may have requests before its table is written. When that is refused, or its
// agent is killed, the node drains and is observed until it has.
func TestJoinInVain(t *testing.T) {
	for name, ends := range map[string]func(c *cloud, b *Backend, table router.Table, late func()) *Backend{
		"refused": func(c *cloud, b *Backend, table router.Table, late func()) *Backend {
			late()
			if err := b.Apply(t.Context(), table); fault.CodeOf(err) != fault.Failed {
				t.Errorf("after too long: %v", err)
			}
			return b
		},
		"killed": func(c *cloud, _ *Backend, _ router.Table, _ func()) *Backend {
			next := c.backend()
			if got, err := next.Applied(t.Context()); err != nil || got.Version.Seq != 1 {
				t.Errorf("the table is %s: %v", got.Version, err)
			}
			return next
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := here(t, awstest.Options{Takes: time.Hour, IdleDrain: time.Hour}) // no node becomes healthy
			const drain = 2 * time.Second
			now, listen := time.Now(), routertest.FreeListen(t)
			c.apply(provided{c.backend(func(o *Options, _ *awsapi.Options) { o.HealthyWithin, o.Drain = -1, drain }), c}, joined(1, listen, nil))
			joins := routertest.DeadNode(t, "joins")
			table := joined(2, listen, joins)
			b := c.backend(func(o *Options, _ *awsapi.Options) { o.Now, o.Wait = func() time.Time { return now }, 0 })
			if err := b.Apply(t.Context(), table); !waits(err) {
				t.Fatalf("while it is waited for: %v", err)
			}
			b = ends(c, b, table, func() { now = now.Add(time.Hour) })
			if n := c.inFlight(b, joins); n != 1 {
				t.Errorf("it joined in vain, and is observed with %d requests", n)
			}
			v, err := b.look(t.Context())
			g := v.groups[b.groupName(table.Routes[0].Fleets[0].ID, "")]
			if err == nil {
				err = b.health(t.Context(), g)
			}
			if err != nil || g.targets[joins.Address].State != "draining" || len(g.targets) != 2 {
				t.Errorf("it does not drain: %+v %v", g.targets, err)
			}
			routertest.Eventually(t, "it has drained", func() bool { return c.inFlight(b, joins) == 0 })
		})
	}
}

// joined is a table with a fleet that has weight, and one node more if it is given.
func joined(seq uint64, listen string, more *routertest.TestNode) router.Table {
	nodes := []*routertest.TestNode{{Name: "stays", Address: "127.0.0.1:7"}}
	if more != nil {
		nodes = append([]*routertest.TestNode{more}, nodes...)
	}
	return routertest.TableOf(seq, routertest.RouteTo(listen, routertest.FleetOf(1, 100, nodes...)))
}

// inFlight is what a node is observed with.
func (c *cloud) inFlight(b *Backend, of *routertest.TestNode) int {
	c.t.Helper()
	o, err := b.Observe(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	i := slices.IndexFunc(o.Edges[0].Nodes, func(n router.NodeTraffic) bool { return n.Node == of.Name })
	if i < 0 {
		return 0
	}
	return o.Edges[0].Nodes[i].InFlight
}

// TestJoinBeside: who joins for a route that waits stays while tables of others are applied, in a fleet that has weight or in a new
// one, and drains when nobody asks any more.
func TestJoinBeside(t *testing.T) {
	for name, waits := range map[string]func(listen string, joins *routertest.TestNode) router.Table{
		"a fleet with weight": func(listen string, joins *routertest.TestNode) router.Table { return joined(2, listen, joins) },
		"a new fleet": func(listen string, joins *routertest.TestNode) router.Table {
			table := joined(2, listen, nil)
			table.Routes[0].Fleets = append(table.Routes[0].Fleets, routertest.FleetOf(2, 100, joins))
			return table
		},
	} {
		t.Run(name, func(t *testing.T) { joinBeside(t, waits) })
	}
}

func joinBeside(t *testing.T, waits func(listen string, joins *routertest.TestNode) router.Table) {
	c := here(t, awstest.Options{Takes: time.Hour, IdleDrain: time.Hour})
	listen, beside := routertest.FreeListen(t), routertest.FreeListen(t)
	c.apply(provided{c.backend(func(o *Options, _ *awsapi.Options) { o.HealthyWithin, o.Drain = -1, time.Second }), c}, joined(1, listen, nil))
	c.listen(beside)
	joins := routertest.DeadNode(t, "joins")
	b := c.backend(func(o *Options, _ *awsapi.Options) { o.Wait, o.Drain = 0, time.Second })
	waiting := waits(listen, joins)
	fleets := waiting.Routes[0].Fleets
	group, serves := b.groupName(fleets[len(fleets)-1].ID, ""), len(fleets) == 1
	err := b.Apply(t.Context(), waiting)
	if w := (*router.Waiting)(nil); !errors.As(err, &w) || !slices.Equal(w.Routes, []string{"shop/production/web"}) {
		t.Fatalf("it waits for %v", err)
	}
	since := b.since[group+" "+joins.Address]
	other := routertest.RouteTo(beside)
	other.Name = "wiki/production/web"
	table := joined(2, listen, nil)
	table.Routes = append(table.Routes, other)
	c.apply(b, table)
	drains := func() bool {
		v, err := b.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		g := v.groups[group]
		if g == nil {
			return true // it is deleted when it is empty
		}
		if err := b.health(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		return g.targets[joins.Address].State != "initial" // draining, then gone
	}
	if (c.inFlight(b, joins) == 1) != serves || drains() {
		t.Error("the table of another app made it drain")
	}
	if now := b.since[group+" "+joins.Address]; since.from.IsZero() || now.from != since.from {
		t.Errorf("it is waited for since %s, and was since %s", now.from, since.from)
	}
	b.mu.Lock()
	for l, j := range b.joins {
		b.joins[l] = joiner{time.Now().Add(-keepJoining), j.route}
	}
	b.mu.Unlock()
	routertest.Eventually(t, "it drains when nobody asks any more", func() bool { c.inFlight(b, joins); return drains() })
}

// TestLeavesAtOnce: who joined a moment ago, and is in a table that was written, leaves with the next one as any.
func TestLeavesAtOnce(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond, IdleDrain: time.Hour})
	listen := routertest.FreeListen(t)
	b := provided{c.backend(func(o *Options, _ *awsapi.Options) { o.Drain = 2 * time.Second }), c}
	joins := routertest.DeadNode(t, "joins")
	for seq, more := range []*routertest.TestNode{nil, joins, joins, nil} {
		c.apply(b, joined(uint64(seq+1), listen, more))
	}
	if states := c.states(b.Backend, joined(4, listen, nil)); states[joins.Address] == "healthy" {
		t.Errorf("it stays: %v", states)
	}
}

// TestDroppedAtOnce: who joined for a table of before that waited, and whose app has changed its mind, drains with the next one.
func TestDroppedAtOnce(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Hour, IdleDrain: time.Hour})
	listen := routertest.FreeListen(t)
	c.apply(provided{c.backend(func(o *Options, _ *awsapi.Options) { o.HealthyWithin, o.Drain = -1, time.Second }), c}, joined(1, listen, nil))
	joins := routertest.DeadNode(t, "joins")
	b := c.backend(func(o *Options, _ *awsapi.Options) { o.Wait = 0 })
	if err := b.Apply(t.Context(), joined(2, listen, joins)); !waits(err) {
		t.Fatal(err)
	}
	table := joined(3, listen, nil)
	table.Routes[0].Fleets[0].Weight = 50
	c.apply(b, table)
	if state := c.states(b, table)[joins.Address]; state == "initial" {
		t.Errorf("it is %s", state)
	}
}

// TestAbandoned: who joined for a route drains as soon as it is said that nobody wants its table any more; those of others do not.
func TestAbandoned(t *testing.T) {
	for name, more := range map[string]bool{"a fleet with weight": true, "a new fleet": false} {
		t.Run(name, func(t *testing.T) {
			c := here(t, awstest.Options{Takes: time.Hour, IdleDrain: time.Hour})
			listen := routertest.FreeListen(t)
			c.apply(provided{c.backend(func(o *Options, _ *awsapi.Options) { o.HealthyWithin, o.Drain = -1, time.Second }), c}, joined(1, listen, nil))
			joins := routertest.DeadNode(t, "joins")
			table := joined(2, listen, nil)
			if more {
				table = joined(2, listen, joins)
			} else {
				table.Routes[0].Fleets = append([]router.Fleet{routertest.FleetOf(2, 100, joins)}, table.Routes[0].Fleets...)
			}
			b := c.backend(func(o *Options, _ *awsapi.Options) { o.Wait, o.Drain = 0, time.Second })
			if err := b.Apply(t.Context(), table); !waits(err) {
				t.Fatal(err)
			}
			if err := b.Abandon(t.Context(), []string{"wiki/production/web"}); err != nil || c.states(b, table)[joins.Address] != "initial" {
				t.Errorf("another route is given up: %v, it is %q", err, c.states(b, table)[joins.Address])
			}
			for range 2 {
				if err := b.Abandon(t.Context(), []string{table.Routes[0].Name}); err != nil {
					t.Fatal(err)
				}
				if states := c.states(b, table); states[joins.Address] == "initial" || more && states["127.0.0.1:7"] != "initial" {
					t.Errorf("they are %v", states)
				}
			}
		})
	}
}

// TestAbandonedWhileAWSIsAway: the next look makes up for it.
func TestAbandonedWhileAWSIsAway(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Hour, IdleDrain: time.Hour})
	listen := routertest.FreeListen(t)
	c.apply(provided{c.backend(func(o *Options, _ *awsapi.Options) { o.HealthyWithin, o.Drain = -1, time.Second }), c}, joined(1, listen, nil))
	joins := routertest.DeadNode(t, "joins")
	b := c.backend(func(o *Options, a *awsapi.Options) { o.Wait, a.Tries = 0, 1 })
	table := joined(2, listen, joins)
	if err := b.Apply(t.Context(), table); !waits(err) {
		t.Fatal(err)
	}
	c.server.Intercept(func(call awstest.Call) *awstest.Fault {
		if call.Action != "DeregisterTargets" {
			return nil
		}
		return &awstest.Fault{Status: 503, Code: "ServiceUnavailable", Message: "later"}
	})
	if err := b.Abandon(t.Context(), []string{table.Routes[0].Name}); !errors.Is(err, router.ErrUnavailable) {
		t.Errorf("while AWS is away: %v", err)
	}
	c.server.Intercept(nil)
	routertest.Eventually(t, "it drains", func() bool { c.inFlight(b, joins); return c.states(b, table)[joins.Address] != "initial" })
}

// states are those of the targets of a table's first fleet.
func (c *cloud) states(b *Backend, table router.Table) map[string]string {
	c.t.Helper()
	v, err := b.look(c.t.Context())
	g := v.groups[b.groupName(table.Routes[0].Fleets[0].ID, "")]
	if err == nil {
		err = b.health(c.t.Context(), g)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	all := map[string]string{}
	for address, h := range g.targets {
		all[address] = string(h.State)
	}
	return all
}

// TestAnotherName: a node that joins in vain with the address of one that serves takes that one not along.
func TestAnotherName(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Hour, IdleDrain: time.Hour})
	listen := routertest.FreeListen(t)
	first := joined(1, listen, nil)
	c.apply(provided{c.backend(func(o *Options, _ *awsapi.Options) { o.HealthyWithin, o.Drain = -1, time.Second }), c}, first)
	joins := routertest.DeadNode(t, "joins")
	table := joined(2, listen, joins)
	nodes := table.Routes[0].Fleets[0].Nodes
	nodes[1].Name = "stays under another name"
	if err := c.backend(func(o *Options, _ *awsapi.Options) { o.Wait = 0 }).Apply(t.Context(), table); !waits(err) {
		t.Fatal(err)
	}
	next := c.backend()
	if _, err := next.Applied(t.Context()); err != nil {
		t.Fatal(err)
	}
	states := c.states(next, first)
	if states[nodes[1].Address] != "initial" || states[joins.Address] == "initial" {
		t.Errorf("%s serves, %s joined in vain: %v", nodes[1].Address, joins.Address, states)
	}
}
