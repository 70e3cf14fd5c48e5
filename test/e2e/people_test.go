package e2e

import (
	"cmp"
	"os"
	"os/user"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
)

// gatedSteps is a cutover that somebody has to approve at 50 %.
const gatedSteps = "cutover: {steps: [{percent: 50, hold: 200ms, approve: ops}, {percent: 100}], drain: {timeout: 2s}}\n"

func TestApproval(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	in.Write("agent.yaml", "approvers: {ops: [ann, "+me(t)+"]}\n")
	agent := begin(t, in, "agent", "run", "--settings", "agent.yaml")
	in.Until("the agent to answer", 20*time.Second, func() bool { return in.Agent().Running })
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	in.WriteProject(quick, 2, gatedSteps)

	out := in.Run("up", v2, "--json")
	wants(t, out, 6, "held at 50 %, waits for approval by ops: release approve")
	if r := result(t, out); r.Error == nil || r.Error.Code != "held" || r.Percent != 50 {
		t.Errorf("held: %+v", r)
	}
	if s := in.Status(); s.Operation == nil || s.Operation.Gate != "ops" || !strings.HasPrefix(s.Next, "release approve") {
		t.Errorf("status: %+v", s)
	}
	wants(t, in.Run("up", v2), 6, "waits for approval by ops") // it attaches
	wants(t, in.Run("approve", "--as", "eve"), 1, "approve", "eve")
	weights(t, in, map[string]int{"r1": 50, "r2": 50})
	done := in.Operate("approve")
	if done.Release != "r2" || done.Percent != 100 {
		t.Errorf("approve: %+v", done)
	}
	wants(t, in.Run("approve"), 1, "nothing is under way")
	if h := in.Must("history").Stdout; !strings.Contains(h, "50 % approved by "+me(t)) {
		t.Errorf("history:\n%s", h)
	}
	if e := in.Must("events").Stdout; !strings.Contains(e, "the step of 50 % is approved for ops by "+me(t)) {
		t.Errorf("events:\n%s", e)
	}
	in.Must("destroy", "-y")
	in.Must("agent", "stop")
	wants(t, agent.end(), 0)
}

// me is the name by which release knows who runs the tests.
func me(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return cmp.Or(os.Getenv("SUDO_USER"), u.Username)
}

func TestFreeze(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	wants(t, in.Run("freeze"), 2, "--reason is missing")
	wants(t, in.Run("freeze", "--reason", "sale", "--until", "yesterday"), 2, "neither a span such as 2h")
	if out := in.Must("freeze", "--reason", "big sale", "--until", "2h").Stdout; !strings.Contains(out, "hello/production: frozen by ") {
		t.Errorf("freeze: %s", out)
	}
	out := in.Run("up", v2, "--json")
	wants(t, out, 5, "frozen by ", "big sale", "release unfreeze")
	if r := result(t, out); r.Error == nil || r.Error.Code != "busy" {
		t.Errorf("refused: %+v", r)
	}
	early := in.Run("up")
	wants(t, early, 5, "frozen by ", "big sale")
	if strings.Contains(early.Stderr, "baked") || strings.Contains(early.Stderr, "nothing changed") {
		t.Errorf("it baked first:\n%s", early.Stderr)
	}
	wants(t, in.Run("destroy", "-y"), 5, "frozen by ")
	in.Operate("scale", "2")
	if s := in.Status(); s.Freeze == nil || s.Freeze.Reason != "big sale" || s.Freeze.Until.IsZero() || s.Next != "release unfreeze" {
		t.Errorf("status: %+v", s)
	}
	for _, verb := range [][]string{{"status"}, {"top", "--count", "1"}, {"events"}} {
		if out := in.Must(verb...).Stdout; !strings.Contains(out, "frozen") || !strings.Contains(out, "big sale") {
			t.Errorf("%s:\n%s", verb[0], out)
		}
	}
	in.Must("unfreeze")
	if out := in.Must("unfreeze").Stdout; !strings.Contains(out, "it is not frozen") {
		t.Errorf("unfreeze again: %s", out)
	}
	in.Operate("up", v2)
}

func TestPlan(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	in.WriteProject(quick, 2, "cutover: {steps: [{percent: 50, hold: 1s}, {percent: 100}], drain: {timeout: 2s}}\n")
	before := in.Status()
	out := in.Must("plan", v2, "--out", "next.plan").Stdout
	for _, says := range []string{"up r2", "from r1", "fleet.size", "r2 gets 50 %", "r2 has all the traffic", "5 at the peak", "the last 1 up took", "release up --plan next.plan"} {
		if !strings.Contains(out, says) {
			t.Errorf("the plan says nothing of %q:\n%s", says, out)
		}
	}
	var p struct {
		api.Head
		api.Plan
		ImageDiff *struct{ Files []struct{ Path string } } `json:"image_diff"`
	}
	if code := in.JSON(&p, "plan", v2); code != 0 || p.Type != "result" || p.Release != "r2" || p.Nodes.Peak != 5 || p.ImageDiff == nil {
		t.Errorf("plan --json: %d, %+v", code, p)
	}
	if len(before.Fleets) != len(in.Status().Fleets) {
		t.Errorf("plan launched something: %+v", in.Status().Fleets)
	}
	if r := in.Operate("up", "--plan", "next.plan"); r.Release != "r2" || r.Percent != 100 {
		t.Errorf("the plan was not run: %+v", r)
	}
	if got := get(t, in, ""); got != "v2" {
		t.Errorf("users are on %s", got)
	}
	in.Operate("rollback")
	conflict := in.Run("cutover", "--plan", "next.plan", "--json")
	wants(t, conflict, 1, "the world has moved", "r2 was launched already", "release plan")
	if r := result(t, conflict); r.Error == nil || r.Error.Code != "conflict" {
		t.Errorf("moved: %+v", r)
	}
	wants(t, in.Run("up", "--plan", "release.yaml"), 2, "is no plan")
	wants(t, in.Run("up", v2, "--plan", "next.plan"), 2, "in the plan")

	in.Must("plan", in.Bake("v3"), "--out", "cut.plan")
	in.Operate("launch")
	if done := in.Operate("cutover", "--plan", "cut.plan"); done.Release != "r3" || done.Percent != 100 {
		t.Errorf("cutover by the plan of an up: %+v", done)
	}
}

// Every changing verb says what it would do, is refused as it would be, and does nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	in.Operate("launch", v2)
	node := serving(t, in)[0].ID
	seq := in.Status().EventSeq
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"launch", v1}, 0, "nothing to do for launch r1"},
		{[]string{"up", v1}, 0, "nothing to do"},
		{[]string{"up"}, 0, "cutover r2"},
		{[]string{"cutover"}, 0, "r2 has all the traffic"},
		{[]string{"cutover", "--percent", "30"}, 0, "r2 has 30 %, held"},
		{[]string{"rollback"}, 1, "no earlier release"},
		{[]string{"scale", "5"}, 0, "10 in the end"},
		{[]string{"replace", node}, 0, "replaced 1 node"},
		{[]string{"destroy"}, 0, "all fleets are shot"},
		{[]string{"freeze", "--reason", "sale"}, 0, "frozen by"},
		{[]string{"unfreeze"}, 0, "nothing to do"},
		{[]string{"pause"}, 1, "nothing is under way"},
		{[]string{"abort"}, 1, "nothing is under way"},
		{[]string{"approve"}, 1, "nothing is under way"},
		{[]string{"agent", "stop"}, 0, "would end; router and nodes would go on"},
		{[]string{"router", "stop"}, 0, "would end, with "},
		{[]string{"router", "upgrade"}, 0, "would hand 1 listener"},
		{[]string{"router", "forget", "alpha"}, 1, "no other router than its own"},
		{[]string{"host", "forget", "alpha"}, 1, "no other machine than its own"},
		{[]string{"images", "rm", v1}, 5, "a fleet needs it"},
		{[]string{"images", "rm", "--force", v1}, 0, "would remove " + v1},
	} {
		out := in.Run(append(c.args, "--dry-run")...)
		if out.Code != c.code || !strings.Contains(out.Stdout+out.Stderr, c.says) {
			t.Errorf("%s --dry-run: exit code %d, want %d and %q\n%s%s", strings.Join(c.args, " "), out.Code, c.code, c.says, out.Stdout, out.Stderr)
		}
	}
	in.Must("images", "inspect", v1)
	if s := in.Status(); s.EventSeq != seq || s.Freeze != nil || s.Operation != nil {
		t.Errorf("something was done: %+v", s)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2, v3 := in.Bake("v1"), in.Bake("v2"), in.Bake("v3")
	in.Operate("up", v1)
	in.WriteProject(quick, 1, gatedSteps)
	wants(t, in.Run("up", v2), 6)
	wants(t, in.Run("launch", v3, "--wait", "--timeout", "2s"), 7, "waiting for up of r2 by ", "waits for approval by ops", "has left the queue, nothing was begun")
	in.WriteProject(quick, 1, "")
	next := begin(t, in, "up", v3, "--wait", "--json")
	in.Until("the queue to have it", 20*time.Second, func() bool { return len(in.Status().Queue) == 1 })
	if out := in.Must("status").Stdout; !strings.Contains(out, "queue 1") {
		t.Errorf("status:\n%s", out)
	}
	in.Operate("approve")
	done := next.end()
	wants(t, done, 0)
	if r := result(t, done); r.Release != "r3" || r.From != "r2" || r.Percent != 100 {
		t.Errorf("the one that waited: %+v", r)
	}
}
