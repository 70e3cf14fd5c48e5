package story

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/load"
)

const (
	rate      = 200              // requests a second
	shortest  = 8 * time.Second  // of load: a quick story is watched for a while after its end
	longest   = 10 * time.Minute // of load, should the story hang
	cutovers  = 10               // and as many rollbacks
	nodeKills = 10
	agentKill = 5
)

// TestNoRequestIsLost keeps users' requests coming while fleets change, nodes and agents are killed and the router is upgraded.
func TestNoRequestIsLost(t *testing.T) {
	for _, driver := range []string{"sandbox", "docker"} {
		t.Run(driver, func(t *testing.T) {
			in := suite.New(t, driver)
			in.WriteProject(driver, 3, "cutover: {keep_previous: 10m, drain: {timeout: 5s}}\n")
			v1, v2 := in.Bake("v1"), in.Bake("v2")
			in.Operate("up")
			report := underLoad(t, in, func() {
				shiftBackAndForth(in, v1)
				killNodes(in)
				killAgents(in, v1, v2)
				in.Must("router", "upgrade")
				in.Operate("launch", v1)
				in.Operate("cutover")
			})
			t.Logf("%s: %s", driver, report)
			if len(report.Failures) > 0 {
				t.Errorf("%d of %d requests failed, the first: %+v", len(report.Failures), report.Sent, report.Failures[0])
			}
			if report.Sent < 1000 {
				t.Errorf("only %d requests were sent", report.Sent)
			}
		})
	}
}

// underLoad sends requests to the route while story runs.
func underLoad(t *testing.T, in *harness.Installation, story func()) load.Report {
	t.Helper()
	report, err := load.During(context.Background(), load.Options{URL: "http://" + in.Listen + "/", Rate: rate, Duration: longest}, func() {
		enough := time.After(shortest)
		story()
		<-enough
	})
	if err != nil {
		t.Error(err)
	}
	return report
}

// shiftBackAndForth moves the traffic to a new fleet in two steps, and back.
func shiftBackAndForth(in *harness.Installation, image string) {
	for range cutovers {
		in.Operate("launch", image)
		in.Operate("cutover", "--percent", "30")
		in.Operate("cutover")
		in.Operate("rollback")
	}
}

// killNodes kills serving nodes one after the other, each when the one before is made up for.
func killNodes(in *harness.Installation) {
	for range nodeKills {
		victim := harness.Serving(in.Status())[0]
		_ = syscall.Kill(victim.PID, syscall.SIGKILL)
		in.Until(victim.ID+" to be replaced", 20*time.Second, func() bool {
			nodes := harness.Serving(in.Status())
			for _, n := range nodes {
				if n.ID == victim.ID {
					return false
				}
			}
			return len(nodes) == 3
		})
	}
}

// killAgents kills the agent in the middle of operations; the next command starts another, which finishes.
func killAgents(in *harness.Installation, v1, v2 string) {
	for i := range agentKill {
		image := v1
		if i%2 == 0 {
			image = v2
		}
		in.Run("up", image, "--detach")
		_ = syscall.Kill(in.Agent().PID, syscall.SIGKILL)
		in.Until(fmt.Sprintf("the operation to end after kill %d", i+1), time.Minute, func() bool {
			out := in.Run("status", "--json")
			return out.Code == 0 && in.Status().Operation == nil
		})
	}
}
