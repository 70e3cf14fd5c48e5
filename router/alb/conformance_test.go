package alb

import (
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/router/routertest"
)

// cannot is what an Application Load Balancer cannot do of what the suite asks for, as docs/alb.md says.
func cannot() map[string]string {
	const cookie = "its cookie is its own: AWSALBTG"
	return map[string]string{
		"a dot at the end of a host": "shop.example. is not shop.example to it",
		"preview":                    "it can neither compare a key's digest nor take X-Release out of a request",
		"spill over dead nodes":      "it does not go on to another target group",
		"no node":                    "a fixed response has no Retry-After, and is not counted for a route",
		"dead node":                  "a request goes to a dead node until its health check fails, and is not repeated",
		"counters":                   "CloudWatch counts by the minute, and by target groups",
		"a taken port is refused and the old table goes on": "its listeners are made by others",
		"listeners come and go":                             "its listeners are made by others",
		"sticky by cookie":                                  cookie,
		"sessions":                                          cookie,
		"sticky by header":                                  "it has cookies only",
		"sticky by address":                                 "it has cookies only",
		"rules":                                             "it has no conditions by one cookie, and none of * and ? in values",
		"trusted proxies":                                   "the connection's address is the client's to it",
		"proxy protocol":                                    "it does not speak it",
		"tcp":                                               "that is a Network Load Balancer's",
		"tcp sticky":                                        "that is a Network Load Balancer's",
		"long connections":                                  "it does not end them in order",
		"nodes that failed":                                 "it takes no request back from a node",
		"limits of nodes":                                   "it has no limit of requests of a node",
	}
}

// TestElsewhere: the suite finds or makes at a foreign endpoint what it needs.
func TestElsewhere(t *testing.T) {
	awstest.Elsewhere(t, awstest.Options{Takes: time.Millisecond, IdleDrain: time.Microsecond}, "^TestConformance$", "elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeleteLoadBalancer")
}

func TestConformance(t *testing.T) {
	foreign := awstest.Foreign(t) // before a server of ours is named there
	routertest.Run(t, routertest.Harness{New: func(t *testing.T) routertest.Instance {
		c := anywhere(t, foreign)
		return routertest.Instance{Backend: provided{c.backend(), c}, Remote: true, Serves: c.server != nil, Lacks: cannot()}
	}})
}
