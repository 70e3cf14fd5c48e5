package alb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// story is a launch, a cutover, a node replaced, the end of a fleet and of the route, as the tables of one agent.
func story(listen string, a, b, d *routertest.TestNode) []router.Table {
	both := func(w1, w2 int) router.Route {
		r := routertest.RouteTo(listen, routertest.FleetOf(1, w1, a), routertest.FleetOf(2, w2, b))
		r.Preview.From = []string{"10.0.0.0/8"}
		return r
	}
	hosts := routertest.RouteTo(listen, routertest.FleetOf(2, 100, b, d))
	hosts.Hosts = []string{"shop.example"}
	other := routertest.RouteTo(listen, routertest.FleetOf(2, 100, d))
	return []router.Table{
		routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 100, a))),
		routertest.TableOf(2, both(100, 0)),
		routertest.TableOf(3, both(50, 50)),
		routertest.TableOf(4, hosts),
		routertest.TableOf(5, other),
	}
}

// TestKilledAtEveryCall kills the story after each request that changes anything was carried out, before anybody read the answer, which
// is also before the next one is sent. The next process goes on, users are served meanwhile, and nothing is left in the end.
func TestKilledAtEveryCall(t *testing.T) {
	a, b, d := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "b", nil), routertest.StartNode(t, "d", nil)
	for at := 1; ; at++ {
		died := false
		t.Run(fmt.Sprint("at ", at), func(t *testing.T) { died = killed(t, at, a, b, d) })
		if t.Failed() {
			return
		}
		if !died {
			if at < 25 {
				t.Errorf("only %d calls were killed", at)
			}
			return
		}
	}
}

// changes is a client that dies at a request that changes something: to die at one that reads is to die before the next.
type changes struct{ *awstest.Killer }

func (c changes) Do(r *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	if !c.Dead() && (strings.Contains(string(text), "Action=Describe") || strings.Contains(r.URL.Path, "/operation/Get")) {
		return http.DefaultClient.Do(r)
	}
	return c.Killer.Do(r)
}

// killed tells the story with an agent that dies at a request; false: it has fewer.
func killed(t *testing.T, at int, a, b, d *routertest.TestNode) bool {
	c := here(t, awstest.Options{Takes: time.Millisecond, Lag: 2 * time.Millisecond})
	listen := routertest.FreeListen(t)
	c.listen(listen)
	killer := &awstest.Killer{At: at, After: true}
	agent := c.backend(func(_ *Options, o *awsapi.Options) { o.Client, o.Tries = changes{killer}, 3 }) // what is sent to a dead client is not sent
	for _, table := range story(listen, a, b, d) {
		err := agent.Apply(t.Context(), table)
		if err != nil && killer.Dead() {
			agent = c.backend()
			c.serves(listen, table)
			err = c.resume(agent, table)
		}
		if err != nil {
			t.Fatalf("table %s: %v", table.Version, err)
		}
		if o, err := agent.Observe(t.Context()); err != nil && !killer.Dead() || err == nil && o.Edges[0].Confirmed != table.Version {
			t.Fatalf("table %s is observed as %+v: %v", table.Version, o, err)
		}
	}
	return killer.Dead()
}

// resume is what a starting agent does: it reads the table back, and applies the one that it wants.
func (c *cloud) resume(b *Backend, table router.Table) error {
	applied, err := b.Applied(c.t.Context())
	switch {
	case err != nil && !errors.Is(err, router.ErrNoTable):
		return err
	case err == nil && applied.Version.Compare(table.Version) > 0:
		return fmt.Errorf("it has table %s", applied.Version)
	}
	return b.Apply(c.t.Context(), table)
}

// serves makes sure that users are answered while no agent is there, but before the first table is in effect.
func (c *cloud) serves(listen string, table router.Table) {
	c.t.Helper()
	hosts := map[uint64]string{4: "shop.example", 5: "shop.example"} // which these tables have, and those before them
	status, body := get(c.t, listen, hosts[table.Version.Seq], "/")
	if status != http.StatusOK && !(table.Version.Seq == 1 && status == http.StatusNotFound) {
		c.t.Errorf("killed in table %s: %d %q", table.Version, status, body)
	}
}

// TestTwoAgents: an older leader's table is refused whoever wrote the newer one, and a table that another agent wrote between is seen.
func TestTwoAgents(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	listen := routertest.FreeListen(t)
	a, b := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "b", nil)
	first, second := provided{c.backend(), c}, provided{c.backend(), c}
	c.apply(first, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 100, a))))
	newer := routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(2, 100, b)))
	newer.Version.Epoch = 2
	c.apply(second, newer)
	if err := first.Apply(t.Context(), routertest.TableOf(2, routertest.RouteTo(listen, routertest.FleetOf(1, 100, a)))); !errors.Is(err, router.ErrStale) {
		t.Errorf("an older leader: %v", err)
	}
	if _, body := get(t, listen, "", "/"); body != "b" {
		t.Errorf("users are on %q", body)
	}
	if o, err := first.Observe(t.Context()); err != nil || o.Edges[0].Confirmed != newer.Version {
		t.Errorf("the older leader sees %+v %v", o, err)
	}
}

// TestQuota: a table that AWS refuses in the middle is taken back.
func TestQuota(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	listen := routertest.FreeListen(t)
	a, d := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "d", nil)
	b := provided{c.backend(), c}
	good := routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 100, a)))
	c.apply(b, good)
	many := routertest.RouteTo(listen, routertest.FleetOf(2, 100, d))
	for i := range 120 {
		many.Paths = append(many.Paths, fmt.Sprintf("/p%d", i))
	}
	err := b.Apply(t.Context(), routertest.TableOf(2, many))
	if fault.CodeOf(err) != fault.NoSpace {
		t.Errorf("120 rules: %v", err)
	}
	if got, err := b.Applied(t.Context()); err != nil || got.Version != good.Version {
		t.Errorf("the table is %s: %v", got.Version, err)
	}
	if _, body := get(t, listen, "", "/"); body != "a" {
		t.Errorf("users are on %q", body)
	}
}

// TestThrottled: AWS asks for patience, and gets it; when it does not stop, the backend is unavailable.
func TestThrottled(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	listen := routertest.FreeListen(t)
	c.listen(listen)
	table := routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil))))
	always := false
	c.server.Intercept(func(call awstest.Call) *awstest.Fault {
		if always || call.N%5 == 0 {
			return &awstest.Fault{Status: http.StatusBadRequest, Code: "Throttling", Message: "Rate exceeded"}
		}
		return nil
	})
	b := c.backend(func(_ *Options, o *awsapi.Options) { o.Backoff = time.Millisecond })
	c.apply(b, table)
	always = true
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	table.Version.Seq++
	if err := c.backend(func(_ *Options, o *awsapi.Options) { o.Tries, o.Backoff = 2, time.Millisecond }).Apply(ctx, table); !errors.Is(err, router.ErrUnavailable) {
		t.Errorf("always throttled: %v", err)
	}
	c.server.Intercept(nil)
}

// TestDenied names the permission that is missing.
func TestDenied(t *testing.T) {
	c := here(t, awstest.Options{})
	c.server.Intercept(func(call awstest.Call) *awstest.Fault {
		if call.Action == "DescribeListeners" {
			return &awstest.Fault{Status: http.StatusForbidden, Code: "AccessDenied", Message: "not authorized"}
		}
		return nil
	})
	_, err := c.backend().Observe(t.Context())
	if fault.CodeOf(err) != fault.Denied || fault.All(err)[0].Hint == "" {
		t.Errorf("%v", err)
	}
	c.server.Intercept(nil)
}
