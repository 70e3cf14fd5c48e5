package consul

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/test/tools/consultest"
)

// The policies that the documents and the hints name are enough, for an edge and for an agent, and less is told as what it is.
func TestPoliciesAreEnough(t *testing.T) {
	const root = "4f0d3f6a-8b86-4a40-9a0d-0f8a8a1f4c11"
	c := consultest.Start(t, consultest.Options{Token: root, Config: `connect { enabled = true }
acl { enabled = true  default_policy = "deny"  tokens { initial_management = "` + root + `" } }`})
	settings := func(token string) consulapi.Settings {
		return consulapi.Settings{Address: c.Servers[0].Address, Token: token}
	}
	admin, err := settings(root).Client()
	if err != nil {
		t.Fatal(err)
	}
	token := func(name, rules string) string {
		t.Helper()
		policy, _, err := admin.ACL().PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, nil)
		if err != nil {
			t.Fatal(err)
		}
		made, _, err := admin.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return made.SecretID
	}
	table := router.Table{Schema: router.Schema, Version: router.Version{Epoch: 1, Seq: 1}, Routes: []router.Route{webRoute(someFleet(1, 1, 2))}}

	for name, secret := range map[string]string{"none": "", "less": token("less", `key_prefix "other/" { policy = "write" }`)} {
		b, err := New(Options{Settings: settings(secret)})
		if err != nil {
			t.Fatal(err)
		}
		err = b.Apply(t.Context(), table)
		if !fault.Is(err, fault.Denied) || !strings.Contains(fault.All(err)[0].Hint, `service_prefix "release-"`) {
			t.Errorf("%s: %v, %+v", name, err, fault.All(err))
		}
	}

	ofEdge, ofAgent := token("edge", consulapi.Policy(DefaultPrefix)), token("agent", Policy(DefaultPrefix))
	agent, err := New(Options{Settings: settings(ofAgent)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewProjector(ProjectorOptions{Options: Options{Settings: settings(ofAgent)}, Installation: "i-one"})
	if err != nil {
		t.Fatal(err)
	}
	if held, err := p.hold(t.Context()); !held || err != nil {
		t.Errorf("hold: %v %v", held, err)
	}
	mustApply(t, agent, table)
	if err := p.project(t.Context()); err != nil {
		t.Errorf("project: %v", err)
	}
	split, _, err := admin.ConfigEntries().Get(api.ServiceSplitter, webService, nil)
	if err != nil || len(split.(*api.ServiceSplitterConfigEntry).Splits) != 1 {
		t.Errorf("the split: %+v (%v)", split, err)
	}
	edge, err := NewEdge(EdgeOptions{Options: Options{Settings: settings(ofEdge)}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := &publisher{Edge: edge, local: plane{}}
	if err := s.turn(t.Context(), true); err != nil {
		t.Errorf("an edge registers: %v", err)
	}
	if o, err := agent.Observe(t.Context()); err != nil || len(o.Edges) != 1 || !o.Edges[0].Silent.IsZero() {
		t.Errorf("the agent sees %+v (%v)", o, err)
	}
	edge.Leave(t.Context(), plane{})
	if o, err := agent.Observe(t.Context()); err != nil || len(o.Edges) != 0 {
		t.Errorf("after its leave the agent sees %+v (%v)", o, err)
	}
}

// plane is a data plane that serves nothing.
type plane struct{ router.Local }

func (plane) Edge() (id, instance string) { return "e1", "i1" }

func (plane) Observe(context.Context) (router.Observation, error) {
	return router.Observation{At: time.Now(), Edges: []router.Edge{{ID: "e1", Instance: "i1", PID: 1}}}, nil
}
