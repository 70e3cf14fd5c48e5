package main

import (
	"strings"
	"testing"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet/ec2"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/alb"
)

// The command that removes what no record knows works wherever the reader's AWS tools look by themselves.
func TestOrphansSayWhere(t *testing.T) {
	for _, kind := range []string{"instance", "launch template", "auto scaling group", "target group"} {
		checks := orphans("orphans", "ours", []ec2.Thing{{Kind: kind, ID: "x", Region: "eu-west-1", Installation: "ours", Fleet: "gone"}}, nil, map[string]bool{"there": true})
		if len(checks) != 1 || !strings.HasSuffix(checks[0].Hint, " x --region eu-west-1") {
			t.Errorf("%s: %+v", kind, checks)
		}
	}
}

// A target group of a load balancer that agent.yaml does not name any more is found; those of the one that it names are its backend's.
func TestOrphanedTargetGroups(t *testing.T) {
	s := awstest.Start(t, awstest.Options{})
	s.Use(t)
	cfg, err := awsapi.Load(t.Context(), awsapi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"old", "front"} {
		awstest.Balancer(t, cfg, name, 80)
		b, err := alb.New(cfg, alb.Options{Installation: "ours", Balancer: name, HealthyWithin: -1})
		if err == nil {
			err = b.Apply(t.Context(), router.Table{Schema: router.Schema, Version: router.Version{Epoch: 1}, Routes: []router.Route{{Name: "shop/production/web", Listen: ":80",
				Fleets: []router.Fleet{{ID: "shop/production/web/r1/1", Release: "r1", Weight: 1, Nodes: []router.Node{{Name: "n", Address: "172.31.0.9:80"}}}}}}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	groups, err := taggedGroups(t.Context(), account{installation: "ours"}, &config.ALB{Name: "front"})
	if err != nil || len(groups) != 2 { // a fleet's, and one that keeps the table
		t.Fatalf("%+v %v", groups, err)
	}
	checks := orphans("orphans", "ours", groups, nil, map[string]bool{})
	if len(checks) != 2 || !strings.Contains(checks[0].Message+checks[1].Message, "shop/production/web/r1/1") || !strings.Contains(checks[0].Message+checks[1].Message, "keeps a table") {
		t.Errorf("%+v", checks)
	}
	s.Intercept(func(call awstest.Call) *awstest.Fault {
		return &awstest.Fault{Status: 403, Code: "AccessDenied", Message: "no"}
	})
	if _, err := taggedGroups(t.Context(), account{installation: "ours"}, nil); err != nil {
		t.Errorf("without a load balancer the permission is needed: %v", err)
	}
}

// The load balancer is asked for where all of AWS is, when the settings name another endpoint.
func TestBalancerAtAnEndpoint(t *testing.T) {
	s := awstest.Start(t, awstest.Options{})
	for name, value := range awstest.Variables("") {
		t.Setenv(name, value)
	}
	cfg, err := awsapi.Load(t.Context(), awsapi.Options{Endpoint: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	awstest.Balancer(t, cfg, "front", 80)
	settings := &config.Agent{EC2: config.AgentEC2{Endpoint: s.URL}}
	settings.Router.ALB = &config.ALB{Name: "front"}
	b, err := openALB(t.Context(), "ours", settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := b.Status(t.Context()); err != nil || len(status.Listeners) != 1 {
		t.Errorf("%+v %v", status, err)
	}
}
