package alb

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
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
	c.eventually("fleets that are gone have no target group", func() error {
		_, err := b.Observe(t.Context())
		s, serr := b.Status(t.Context())
		if err == nil && serr == nil && len(s.Groups) != 1 {
			err = fmt.Errorf("%+v", s.Groups)
		}
		return err
	})
	made := map[string]bool{}
	for _, call := range c.server.Calls()[began:] {
		made[call.Name()] = true
	}
	allowed := policy(t)
	for name := range made {
		if !slices.Contains(allowed, name) {
			t.Errorf("%s is called, and the policy does not allow it", name)
		}
	}
	for _, name := range allowed {
		if !made[name] {
			t.Errorf("%s is allowed, and never called", name)
		}
	}
}

// policy is what the document allows.
func policy(t *testing.T) (allowed []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/alb.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```json\n")
	block, _, ended := strings.Cut(rest, "```")
	var p struct{ Statement []struct{ Action []string } }
	if err := json.Unmarshal([]byte(block), &p); err != nil || !found || !ended {
		t.Fatalf("docs/alb.md has no policy: %v", err)
	}
	for _, s := range p.Statement {
		if !slices.IsSorted(s.Action) {
			t.Errorf("not in order: %v", s.Action)
		}
		allowed = append(allowed, s.Action...)
	}
	return allowed
}
