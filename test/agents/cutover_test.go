package agents

import (
	"slices"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
)

// TestCutoverGoesOn: the agent that leads and Consul's leader are killed in the middle of a cutover; the next agent ends it,
// through the edge that both of them reach, and no request is lost.
func TestCutoverGoesOn(t *testing.T) {
	c := newCluster(t, 3)
	const routed, steps = "router: {backend: consul}\n", "cutover: {steps: [{percent: 50, hold: 10s}, {percent: 100}], keep_previous: 10m, drain: {timeout: 5s}}\n"
	second, first := c.agent("docker", routed), c.agent("docker", routed)
	c.edge(second)
	first.WriteProject("docker", 3, steps)
	second.Listen = first.Listen
	second.WriteProject("docker", 3, steps)
	first.Bake("v1")
	first.Operate("up")
	standBy(t, second, first.Agent().Name)
	installation := installationOf(t, first)
	first.Bake("v2")
	report := underLoad(t, first, func() {
		first.Must("up", "--detach")
		first.Until("half of the traffic on r2", time.Minute, func() bool { return weight(first.Status(), "r2") == 50 })
		c.consul.Leader().Kill()
		kill(t, first.Agent().PID)
		t.Logf("taken over after %s", leads(t, second, 2*time.Minute).Round(time.Millisecond))
		second.Until("all of it on r2", time.Minute, func() bool {
			s := second.Status()
			return weight(s, "r2") == 100 && s.Operation == nil
		})
	})
	t.Logf("%s", report)
	if len(report.Failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %+v", len(report.Failures), report.Sent, report.Failures[0])
	}
	if got := serves(first.Listen); got != "v2" {
		t.Errorf("users get %q, want v2", got)
	}
	s := second.Status()
	if named, running := nodes(t, s), containers(t, installation); !slices.Equal(named, running) || len(named) != 6 {
		t.Errorf("the nodes are %v, at the engine are %v", named, running)
	}
	second.Must("destroy", "-y") // while the edge lives: without it nothing could be shot
	second.Must("agent", "stop")
}

// weight is a release's share of the traffic in percent.
func weight(s api.StatusResult, release string) int {
	for _, route := range s.Routes {
		for _, w := range route.Weights {
			if w.Release == release {
				return w.Percent
			}
		}
	}
	return 0
}
