package alb

import (
	"fmt"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/router/routertest"
)

// TestPolicy compares the policy of docs/alb.md with the calls that are made from a first table to an empty balancer.
func TestPolicy(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	listen := routertest.FreeListen(t)
	c.listen(listen)
	began := len(c.server.Calls())
	b := c.backend()
	for _, table := range story(listen, routertest.DeadNode(t, "a"), routertest.DeadNode(t, "b"), routertest.DeadNode(t, "d")) {
		c.apply(b, table)
	}
	if s, err := b.Status(t.Context()); err != nil || s.Table == nil || s.Table.Seq != 5 || s.Rules == 0 || len(s.Groups) == 0 || len(s.Listeners) != 1 {
		t.Errorf("status %+v: %v", s, err)
	}
	c.server.Eventually(c.t, "fleets that are gone have no target group", func() error {
		_, err := b.Observe(t.Context())
		s, serr := b.Status(t.Context())
		if err == nil && serr == nil && len(s.Groups) != 1 {
			err = fmt.Errorf("%+v", s.Groups)
		}
		return err
	})
	awstest.Policies{Document: "../../docs/alb.md", Tags: "elasticloadbalancing:AddTags", Created: "elasticloadbalancing:CreateAction",
		Makes: []string{"elasticloadbalancing:CreateRule", "elasticloadbalancing:CreateTargetGroup"}}.Hold(t, c.server.Calls()[began:])
}
