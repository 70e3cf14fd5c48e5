package alb

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/routertest"
)

// TestLateTags: tags are shown as they were for a while, and the table that was written is the one all the same.
func TestLateTags(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond, Lag: 40 * time.Millisecond})
	listen := routertest.FreeListen(t)
	b := provided{c.backend(func(o *Options, _ *awsapi.Options) { o.Poll = 10 * time.Millisecond }), c}
	for seq := range uint64(4) {
		table := routertest.TableOf(seq+1, routertest.RouteTo(listen, routertest.FleetOf(int(seq+1), 100, routertest.DeadNode(t, "a"))))
		c.apply(b, table)
		if o, err := b.Observe(t.Context()); err != nil || o.Edges[0].Confirmed != table.Version {
			t.Errorf("table %s is observed as %+v: %v", table.Version, o, err)
		}
		if got, err := b.Applied(t.Context()); err != nil || got.Version != table.Version {
			t.Errorf("table %s is read back as %s: %v", table.Version, got.Version, err)
		}
	}
}

// TestUnreadable: pieces that never fit together, and a table of a newer form, are errors that say what to do; then it works.
func TestUnreadable(t *testing.T) {
	for name, spoil := range map[string]func(c *cloud, b *Backend, v *view) error{
		"pieces": func(c *cloud, b *Backend, v *view) error {
			return b.tag(t.Context(), v.firstPage(), pieceKey("a", 0), "AAAA")
		},
		"head": func(c *cloud, b *Backend, v *view) error { return b.tag(t.Context(), v.firstPage(), tagTable, "1.1 c") },
		"form": func(c *cloud, b *Backend, v *view) error {
			return b.save(t.Context(), v, &record{Table: router.Table{Schema: router.Schema + 1, Version: router.Version{Epoch: 1, Seq: 2}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := here(t, awstest.Options{Takes: time.Millisecond})
			listen := routertest.FreeListen(t)
			b := provided{c.backend(), c}
			r := routertest.RouteTo(listen, routertest.FleetOf(1, 100, routertest.StartNode(t, "a", nil)))
			c.apply(b, routertest.TableOf(1, r))
			v, err := b.look(t.Context())
			if err == nil {
				err = spoil(c, b.Backend, v)
			}
			if err != nil {
				t.Fatal(err)
			}
			next := routertest.TableOf(3, r)
			_, oerr := b.Observe(t.Context())
			_, rerr := b.Applied(t.Context())
			for doing, err := range map[string]error{"apply": b.Apply(t.Context(), next), "observe": oerr, "read": rerr} {
				if fault.CodeOf(err) != fault.Failed || !strings.Contains(err.Error(), tagTable) || !strings.Contains(fault.All(err)[0].Hint, "remove-tags") {
					t.Errorf("%s: %v", doing, err)
				}
			}
			if _, body := get(t, listen, "", "/"); body != "a" {
				t.Errorf("users are on %q", body)
			}
			if _, err := c.elb.RemoveTags(t.Context(), &elb.RemoveTagsInput{ResourceArns: []string{v.firstPage().arn}, TagKeys: []string{tagTable}}); err != nil {
				t.Fatal(err)
			}
			c.apply(b, next)
		})
	}
}

// between has another agent do something before the first rule for users is made, which is refused then.
type between struct {
	do   func()
	done bool
	last string
}

func (w *between) Do(r *http.Request) (*http.Response, error) {
	action, err := actionOfRequest(r)
	if err != nil {
		return nil, err
	}
	if !w.done && action == "CreateRule" && w.last == "AddTags" {
		w.done = true
		w.do()
		return refusal(r), nil
	}
	if !strings.HasPrefix(action, "Describe") {
		w.last = action
	}
	return http.DefaultClient.Do(r)
}

// TestRefusedTooLate: when AWS refuses a table that another agent has replaced already, the other's stays.
func TestRefusedTooLate(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	listen := routertest.FreeListen(t)
	c.listen(listen)
	a, d := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "d", nil)
	c.apply(c.backend(), routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 100, a))))
	newer := routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(2, 100, d)))
	newer.Version.Epoch = 2
	client := &between{do: func() { c.apply(c.backend(), newer) }}
	older := routertest.RouteTo(listen, routertest.FleetOf(1, 100, a))
	older.Paths = []string{"/x"}
	err := c.backend(func(_ *Options, o *awsapi.Options) { o.Client = client }).Apply(t.Context(), routertest.TableOf(2, older))
	if !errors.Is(err, router.ErrStale) || !client.done {
		t.Errorf("%v; another agent wrote: %v", err, client.done)
	}
	if got, err := c.backend().Applied(t.Context()); err != nil || got.Version != newer.Version {
		t.Errorf("the table is %s: %v", got.Version, err)
	}
	if _, body := get(t, listen, "", "/"); body != "d" {
		t.Errorf("users are on %q", body)
	}
}
