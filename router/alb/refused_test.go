package alb

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// TestOutdatedIsNotRefused: a change that was decided on by an outdated list is made again, and takes nobody away.
func TestOutdatedIsNotRefused(t *testing.T) {
	for name, c := range map[string]struct{ action, after string }{
		"before the table is written": {"CreateRule", "RegisterTargets"}, // the anchor of r2
		"while the rules change":      {"ModifyRule", "AddTags"},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := here(t, awstest.Options{Takes: time.Millisecond})
			listen := routertest.FreeListen(t)
			b := provided{cloud.backend(), cloud}
			cloud.apply(b, joined(1, listen, nil))
			table := joined(2, listen, routertest.DeadNode(t, "joins"))
			first, n := table.Routes[0].Fleets[0], 2
			for b.groupName(routertest.FleetOf(n, 50).ID, "") < b.groupName(first.ID, "") {
				n++ // groups are taken by name: the joiner is to be registered first
			}
			table.Routes[0].Fleets = append(table.Routes[0].Fleets, routertest.FleetOf(n, 50, routertest.DeadNode(t, "new")))
			cloud.answerOnce("PriorityInUse", c.action, c.after)
			before := len(cloud.server.Calls())
			cloud.apply(b, table)
			calls := cloud.server.Calls()[before:]
			cloud.server.Intercept(nil)
			made := func(action string) int {
				return len(slices.DeleteFunc(slices.Clone(calls), func(call awstest.Call) bool { return call.Action != action }))
			}
			if made(c.action) < 2 || made("DeregisterTargets") > 0 {
				t.Errorf("%d times %s, %d times DeregisterTargets", made(c.action), c.action, made("DeregisterTargets"))
			}
			if got, err := b.Applied(t.Context()); err != nil || got.Version != table.Version {
				t.Errorf("the table is %s: %v", got.Version, err)
			}
		})
	}
}

// answerOnce answers one call of an action with an error, once another was called.
func (c *cloud) answerOnce(code, action, after string) {
	ready, done := false, false
	c.server.Intercept(func(call awstest.Call) *awstest.Fault {
		if ready = ready || call.Action == after; !ready || done || call.Action != action {
			return nil
		}
		done = true
		return &awstest.Fault{Status: http.StatusBadRequest, Code: code, Message: "no"}
	})
}

// TestRefusedHalfway: a fleet that only a refused table has may have had requests by the rules that were changed before one was
// refused: its nodes are observed until they have drained.
func TestRefusedHalfway(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond, IdleDrain: time.Hour})
	listen := routertest.FreeListen(t)
	b := provided{c.backend(func(o *Options, _ *awsapi.Options) { o.Drain = 2 * time.Second }), c}
	stays, fresh := routertest.DeadNode(t, "stays"), routertest.DeadNode(t, "fresh")
	shop := func(fleets ...router.Fleet) router.Route {
		r := routertest.RouteTo(listen, fleets...)
		r.Hosts = []string{"shop.example"}
		return r
	}
	good := routertest.TableOf(1, shop(routertest.FleetOf(1, 100, stays)))
	c.apply(b, good)
	wiki := routertest.RouteTo(listen)
	wiki.Name = "wiki/production/web"
	c.answerOnce("TooManyRules", "CreateRule", "ModifyRule")
	err := b.Apply(t.Context(), routertest.TableOf(2, shop(routertest.FleetOf(1, 50, stays), routertest.FleetOf(2, 50, fresh)), wiki))
	c.server.Intercept(nil)
	if err == nil {
		t.Fatal("no rule was refused")
	}
	if got, err := b.Applied(t.Context()); err != nil || got.Version != good.Version {
		t.Errorf("the table is %s: %v", got.Version, err)
	}
	if n := c.inFlight(c.backend(), fresh); n != 1 {
		t.Errorf("it may have had requests, and is observed with %d", n)
	}
	routertest.Eventually(t, "it has drained", func() bool { return c.inFlight(b.Backend, fresh) == 0 })
}
