package alb

import (
	"fmt"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/router/routertest"
)

// TestPriority: an agent that has another priority moves the rules of before.
func TestPriority(t *testing.T) {
	shop, other := routertest.StartNode(t, "shop", nil), routertest.StartNode(t, "wiki", nil)
	c := here(t, awstest.Options{Takes: time.Millisecond})
	listen := routertest.FreeListen(t)
	c.listen(listen)
	c.apply(c.backend(), beside(1, listen, shop, other, "a.example"))
	for i, priority := range []int{5000, 200, 600} {
		b := c.backend(func(o *Options, _ *awsapi.Options) { o.Priority = priority })
		c.apply(b, beside(uint64(2+i), listen, other, shop, fmt.Sprintf("host%d.example", i)))
		for host, want := range map[string]string{fmt.Sprintf("host%d.example", i): "wiki", "a.example": "shop"} {
			if _, body := get(t, listen, host, "/"); body != want {
				t.Errorf("from %d on, users of %s are on %q", priority, host, body)
			}
		}
		v, err := b.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var at []int
		anchors := v.anchors(v.rules[0].listener)
		for _, r := range v.rules {
			if r.ours && !anchors[r.match] {
				at = append(at, r.priority)
			}
		}
		if len(at) != 2 || at[0] != priority || at[1] != priority+1 {
			t.Errorf("the rules have priorities %v, from %d on", at, priority)
		}
	}
}
