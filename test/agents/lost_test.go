package agents

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
)

// TestLostHost: a machine is gone for good with its agent, its sandboxes and the router that users came to. The other agent says what
// to type, and once it was typed boots the fleet anew where it is, and serves it.
func TestLostHost(t *testing.T) {
	c := newCluster(t, 1)
	const more = "cutover: {drain: {timeout: 5s}}\n"
	second, first := c.agent("sandbox"), c.agent("sandbox")
	first.WriteProject("sandbox", 2, more)
	first.Bake("v1")
	first.Operate("up")
	second.Listen = first.Listen
	second.WriteProject("sandbox", 2, more)
	second.Run("status") // starts the agent
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if out := second.Run("host", "forget", "nobody"); out.Code != 1 || !strings.Contains(out.Stderr, host) {
		t.Errorf("a machine that there is none of: exit code %d\n%s", out.Code, out.Stderr)
	}
	lost := first.Status().Fleets
	kill(t, first.Agent().PID)
	kill(t, routerPID(t, first))
	for _, n := range lost[0].Nodes {
		kill(t, n.PID)
	}
	second.Until("the second agent to say what to type", 2*time.Minute, func() bool {
		return strings.Contains(second.Run("status").Stderr, "release host forget "+host)
	})
	if out := second.Run("host", "forget", host); out.Code != 1 || !strings.Contains(out.Stderr, "the image of r1 is not on this machine") {
		t.Errorf("without the image: exit code %d\n%s", out.Code, out.Stderr)
	}
	second.Bake("v1")
	out := second.Must("host", "forget", host)
	if !strings.Contains(out.Stdout, "1 fleet is booted anew here, nothing waits for 1 router of it") {
		t.Errorf("it says: %s", out.Stdout)
	}
	t.Logf("given up after %s: %s", out.Took.Round(time.Millisecond), strings.TrimSpace(out.Stdout))
	leads(t, second, time.Minute)
	second.Until("the fleet to be booted anew", 2*time.Minute, func() bool {
		s := second.Status()
		healthy := 0
		for _, fl := range s.Fleets {
			for _, n := range fl.Nodes {
				if n.State == "healthy" && n.ID != lost[0].Nodes[0].ID && n.ID != lost[0].Nodes[1].ID {
					healthy++
				}
			}
		}
		return healthy == 2
	})
	second.Until("users to be served", time.Minute, func() bool { return serves(first.Listen) == "v1" })
	if a := second.Agent(); a.Role != api.RoleLeader {
		t.Errorf("the second agent: %+v", a)
	}
	second.Must("destroy", "-y")
	second.Must("agent", "stop")
}
