package agents

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/load"
)

// TestTakeOver: the agent that leads is killed, and one of Consul's three servers with it. Another agent takes over within a minute: it
// keeps the very nodes, and users notice nothing. It moves no traffic while the first one's router has the users, and takes the routes
// over when that machine is given up.
func TestTakeOver(t *testing.T) {
	c := newCluster(t, 3)
	second, first := c.agent("docker"), c.agent("docker") // the one that leads at the end is to be ended last
	const more = "cutover: {keep_previous: 10m, drain: {timeout: 5s}}\n"
	first.WriteProject("docker", 3, more)
	first.Bake("v1")
	first.Operate("up")
	alpha := first.Agent()
	if alpha.Role != api.RoleLeader || alpha.Leader != alpha.Name || alpha.Name == "" {
		t.Fatalf("the only agent: %+v", alpha)
	}
	second.Listen = first.Listen
	second.WriteProject("docker", 3, more)
	standBy(t, second, alpha.Name)
	installation := installationOf(t, first)
	before := nodes(t, first.Status())

	var took time.Duration
	report := underLoad(t, first, func() {
		c.consul.Leader().Kill()
		kill(t, alpha.PID)
		took = leads(t, second, 2*time.Minute)
		second.Until("the nodes to be seen", 20*time.Second, func() bool { return len(nodes(t, second.Status())) == 3 })
		time.Sleep(3 * time.Second) // whatever it would do wrong it does in the first rounds
	})
	t.Logf("taken over after %s; %s", took.Round(time.Millisecond), report)
	if took > time.Minute { // 40 s, and 20 s more as Consul's leader died with it
		t.Errorf("taken over after %s, want a minute at most", took)
	}
	if len(report.Failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %+v", len(report.Failures), report.Sent, report.Failures[0])
	}
	if after := nodes(t, second.Status()); !slices.Equal(before, after) {
		t.Errorf("the nodes were %v, now they are %v", before, after)
	}
	if running := containers(t, installation); !slices.Equal(before, running) {
		t.Errorf("the nodes are %v, at the engine are %v", before, running)
	}

	// A node that dies is made up for, though the image was never in this agent's own store: the engine has it.
	if out, err := exec.Command("docker", "kill", before[0]).CombinedOutput(); err != nil {
		t.Fatalf("kill a node: %v\n%s", err, out)
	}
	second.Until("a node to be replaced", 30*time.Second, func() bool {
		healthy := 0
		for _, n := range second.Status().Fleets[0].Nodes {
			if n.State == "healthy" && n.ID != before[0] {
				healthy++
			}
		}
		return healthy == 3
	})
	moveNothing(t, second, alpha.Name)
	kill(t, routerPID(t, first)) // its machine is gone
	second.Must("router", "forget", alpha.Name)
	second.Until("the second router to serve", 20*time.Second, func() bool { return serves(first.Listen) == "v1" })
	second.Until("the operation to be aborted", 20*time.Second, func() bool { return second.Status().Operation == nil })
	second.Bake("v2")
	second.Operate("up")
	if got := serves(first.Listen); got != "v2" {
		t.Errorf("users get %q, want v2", got)
	}
	if out := second.Run("router", "forget", second.Agent().Name); out.Code != 2 {
		t.Errorf("forgetting the router in use: exit code %d\n%s", out.Code, out.Stderr)
	}

	// The first machine is back: its agent stands by, and its router has nothing to say any more.
	first.Run("router", "stop")
	standBy(t, first, second.Agent().Name)
	first.Must("agent", "stop")
}

// moveNothing: an agent that cannot reach the router where the users are boots a new release, and waits with it.
func moveNothing(t *testing.T, in *harness.Installation, owner string) {
	t.Helper()
	in.Bake("v3")
	if out := in.Run("up", "--timeout", "15s"); out.Code != 7 {
		t.Errorf("up without the router: exit code %d, want 7\n%s", out.Code, out.Stderr)
	}
	s := in.Status()
	if len(s.Routes) == 0 || s.Operation == nil || !strings.Contains(s.Routes[0].Error, "router of agent "+owner) || !strings.Contains(s.Operation.Waits, owner) {
		t.Errorf("status does not say whose router it waits for: routes %+v, operation %+v", s.Routes, s.Operation)
	}
	if got := serves(in.Listen); got != "v1" {
		t.Errorf("users get %q while the traffic cannot be moved, want v1", got)
	}
	if out := in.Run("abort", "--timeout", "2s"); out.Code != 7 {
		t.Errorf("abort without the router: exit code %d, want 7\n%s", out.Code, out.Stderr)
	}
}

// TestInOrder: an agent that is stopped hands the lead over within 2 s, and gets it back when it returns, since users come to
// its router.
func TestInOrder(t *testing.T) {
	c := newCluster(t, 1)
	second, first := c.agent("docker"), c.agent("docker")
	first.WriteProject("docker", 2, "")
	first.Bake("v1")
	first.Operate("up")
	name := first.Agent().Name
	standBy(t, second, name)
	before := nodes(t, first.Status())
	report := underLoad(t, first, func() {
		began := time.Now()
		first.Must("agent", "stop")
		leads(t, second, 10*time.Second)
		took := time.Since(began)
		t.Logf("handed over after %s, the agent's end included", took.Round(time.Millisecond))
		if took > 2*time.Second {
			t.Errorf("handed over after %s, want 2 s at most", took)
		}
		first.Run("agent", "status")
		first.Run("status") // starts the agent
		t.Logf("handed back after %s", leads(t, first, 20*time.Second).Round(time.Millisecond))
		// An agent that crashes and is started again does not wait for its own lease.
		kill(t, first.Agent().PID)
		first.Run("status")
		if took := leads(t, first, 40*time.Second); took > 10*time.Second {
			t.Errorf("an agent that was started again leads after %s", took)
		}
	})
	if len(report.Failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %+v", len(report.Failures), report.Sent, report.Failures[0])
	}
	if after := nodes(t, first.Status()); !slices.Equal(before, after) {
		t.Errorf("the nodes were %v, now they are %v", before, after)
	}
	second.Must("agent", "stop")
}

// TestConsulAway: Consul goes away in the middle of a cutover. Users are served, by both versions still; an agent that starts meanwhile says what it waits
// for; afterwards the cutover goes on by itself.
func TestConsulAway(t *testing.T) {
	c := newCluster(t, 1)
	in := c.agent("docker")
	in.WriteProject("docker", 2, "cutover: {steps: [{percent: 50, hold: 30s}, {percent: 100}], keep_previous: 30m, drain: {timeout: 5s}}\n")
	in.Bake("v1")
	in.Operate("up")
	in.Bake("v2")
	report := underLoad(t, in, func() {
		in.Must("up", "--detach")
		in.Until("half of the traffic on r2", 2*time.Minute, func() bool { return weight(in.Status(), "r2") == 50 })
		before := nodes(t, in.Status())
		c.consul.Servers[0].Kill()
		in.Until("the agent to notice", 40*time.Second, func() bool { return in.Agent().Role == api.RoleStandby })
		inTheMiddle(t, in.Listen)
		kill(t, in.Agent().PID)
		in.Run("status") // starts the agent
		a := in.Agent()
		if !a.Running || a.Role != api.RoleStandby || !strings.Contains(a.Why, c.client.Address) {
			t.Errorf("an agent without Consul: %+v", a)
		}
		out := in.Run("up")
		if out.Code != 1 || !strings.Contains(out.Stderr, "Consul at "+c.client.Address) {
			t.Errorf("up without Consul: exit code %d\n%s", out.Code, out.Stderr)
		}
		inTheMiddle(t, in.Listen)
		c.consul.Servers[0].Start()
		leads(t, in, 60*time.Second)
		if after := nodes(t, in.Status()); !slices.Equal(before, after) {
			t.Errorf("the nodes were %v, now they are %v", before, after)
		}
		in.Until("all of it on r2", 2*time.Minute, func() bool {
			s := in.Status()
			return weight(s, "r2") == 100 && s.Operation == nil
		})
	})
	if len(report.Failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %+v", len(report.Failures), report.Sent, report.Failures[0])
	}
	if got := serves(in.Listen); got != "v2" {
		t.Errorf("users get %q, want v2", got)
	}
}

// TestOtherMachinesSandboxes: sandboxes are seen by their own agent only, so another one does not take over, and says why.
func TestOtherMachinesSandboxes(t *testing.T) {
	c := newCluster(t, 1)
	second, first := c.agent("sandbox"), c.agent("sandbox")
	first.WriteProject("sandbox", 2, "")
	first.Bake("v1")
	first.Operate("up")
	name := first.Agent().Name
	if out := second.Run("status"); out.Code != 1 || !strings.Contains(out.Stderr, "cannot be kept from here") || !strings.Contains(out.Stderr, name+" leads") {
		t.Errorf("status of an agent that cannot take over: exit code %d\n%s", out.Code, out.Stderr)
	}
	first.Must("agent", "stop")
	second.Until("the second to say why", 20*time.Second, func() bool { return strings.Contains(second.Agent().Why, "cannot be kept from here") })
	if a := second.Agent(); a.Role != api.RoleStandby || !strings.Contains(a.Why, "sandboxes of") {
		t.Errorf("the second agent: %+v", a)
	}
	second.Must("agent", "stop")
	if s := first.Status(); len(nodes(t, s)) != 2 || len(s.Routes) != 1 || s.Routes[0].Error != "" {
		t.Errorf("the first agent again: %+v", s)
	}
}

func installationOf(t *testing.T, in *harness.Installation) string {
	t.Helper()
	a, err := api.NewClient(in.Agent().Socket).Agent(t.Context())
	if err != nil || a.Installation == "" {
		t.Fatalf("installation of %s: %v", a.Name, err)
	}
	return a.Installation
}

func routerPID(t *testing.T, in *harness.Installation) int {
	t.Helper()
	var res struct{ PID int }
	in.JSON(&res, "router", "status")
	return res.PID
}

// serves is the version that users get, "" for none.
func serves(listen string) string {
	var got string
	_, err := load.Run(context.Background(), load.Options{URL: "http://" + listen + "/", Rate: 1, Duration: time.Second, Connections: 1,
		Classify: func(a load.Answer) load.Class {
			got = a.Header.Get("X-Hello-Version")
			return load.ByVersion(a)
		}})
	if err != nil {
		return fmt.Sprint(err)
	}
	return got
}

// inTheMiddle: users get both versions, each about half of the time.
func inTheMiddle(t *testing.T, listen string) {
	t.Helper()
	report, err := load.Run(t.Context(), load.Options{URL: "http://" + listen + "/", Rate: 50, Duration: 2 * time.Second})
	if err != nil {
		t.Error(err)
	}
	for _, version := range []string{"v1", "v2"} {
		if got := report.Percent(version); got < 40 || got > 60 {
			t.Errorf("%.0f %% of the answers are of %s in the middle of the cutover, want 50 %%", got, version)
		}
	}
}

// underLoad sends requests to the route while something happens.
func underLoad(t *testing.T, in *harness.Installation, happens func()) load.Report {
	t.Helper()
	report, err := load.During(context.Background(), load.Options{URL: "http://" + in.Listen + "/", Rate: 50}, happens)
	if err != nil {
		t.Error(err)
	}
	return report
}
