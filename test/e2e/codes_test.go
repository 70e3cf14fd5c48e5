package e2e

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
)

func TestNeverHealthy(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	in.Write("release.yaml", `app: hello
recipe: recipe.yaml
fleet: {driver: `+quick+`, size: 2, env: {FAIL: "1"}}
health: {http: {path: /healthz, port: 8080}, start_within: 2s}
route: {listen: "`+in.Listen+`"}
`)
	out := in.Run("up", v2, "--json")
	wants(t, out, 3, "never became healthy", "last lines of hello-")
	r := result(t, out)
	if r.Error == nil || r.Error.Code != "rolled_back" || len(r.Error.Logs) == 0 || len(r.Error.Logs[0].Lines) == 0 {
		t.Errorf("result: %+v", r)
	}
	if got := get(t, in, ""); got != "v1" {
		t.Errorf("users are on %s", got)
	}
	in.Until("the failed fleet to be shot", 20*time.Second, func() bool { return len(in.Status().Fleets) == 1 })
	wants(t, in.Run("launch", v2, "--keep-failed"), 3)
	kept := in.Status().Fleets[1]
	if len(kept.Nodes) == 0 || kept.Percent != 0 {
		t.Errorf("the kept fleet: %+v", kept)
	}
}

func TestFirstLaunchFails(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	in.Bake("v1")
	in.Write("release.yaml", `app: hello
recipe: recipe.yaml
fleet: {driver: `+quick+`, env: {FAIL: "1"}}
health: {http: {path: /healthz, port: 8080}, start_within: 1s}
route: {listen: "`+in.Listen+`"}
`)
	wants(t, in.Run("up"), 3, "never became healthy")
}

func TestOneOperationAtATime(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	in.WriteProject(quick, 2, slow)
	under := begin(t, in, "up", v2, "--json")
	under.await("up.step")

	wants(t, in.Run("launch", v1), 5, "is under way since", "release abort")
	same := begin(t, in, "up", v2, "--json")
	wants(t, in.Run("cutover", "--timeout", "300ms"), 5)
	wants(t, in.Run("up", v2, "--timeout", "300ms"), 7, "goes on in the agent", "release events --follow")

	in.Must("pause")
	held := under.end()
	wants(t, held, 6, "held at 50 %", "release resume")
	if r := result(t, held); r.Error == nil || r.Error.Code != "held" || r.Percent != 50 {
		t.Errorf("held: %+v", r)
	}
	wants(t, same.end(), 6)
	in.Must("resume")
	in.Operate("abort")
	weights(t, in, map[string]int{"r1": 100})
	wants(t, in.Run("abort"), 1, "nothing is under way")
}

func TestRollbackAbortsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	in.WriteProject(quick, 2, slow)
	under := begin(t, in, "up", v2, "--json")
	under.await("up.step")
	in.Operate("rollback")
	wants(t, under.end(), 3, "aborted by")
	weights(t, in, map[string]int{"r1": 100})
}

func TestInterruptLeavesTheOperation(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	in.WriteProject(quick, 2, slow)
	under := begin(t, in, "up", v2, "--json")
	under.await("up.step")
	if err := under.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	out := under.end()
	wants(t, out, 130, "goes on in the agent", "release abort")
	if r := result(t, out); r.Error == nil || r.Error.Code != "interrupted" || r.Operation == "" {
		t.Errorf("interrupted: %+v", r)
	}
	if op := in.Status().Operation; op == nil || op.Kind != "up" {
		t.Errorf("the operation is gone: %+v", op)
	}
	in.Operate("destroy", "-y") // destroy aborts first
}

func TestAgentKilledWhileFollowing(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	in.WriteProject(quick, 2, "cutover: {steps: [{percent: 50, hold: 3s}, {percent: 100}], drain: {timeout: 2s}}\n")
	under := begin(t, in, "up", v2, "--json")
	under.await("up.step")
	before := in.Agent().PID
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := get(t, in, ""); got == "" {
		t.Error("nobody answers without the agent")
	}
	out := under.end()
	wants(t, out, 0, "the agent is gone")
	if r := result(t, out); r.Percent != 100 || r.Release != "r2" {
		t.Errorf("the operation: %+v", r)
	}
	seen := map[uint64]bool{}
	for line := range strings.SplitSeq(out.Stdout, "\n") {
		var e api.Event
		if json.Unmarshal([]byte(line), &e) == nil && e.Seq > 0 {
			if seen[e.Seq] {
				t.Errorf("event %d came twice", e.Seq)
			}
			seen[e.Seq] = true
		}
	}
	if after := in.Agent(); !after.Running || after.PID == before {
		t.Errorf("the agent after the kill: %+v", after)
	}
}

func TestDetach(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	in.Bake("v1")
	id := strings.TrimSpace(in.Must("up", "--detach").Stdout)
	if !strings.HasPrefix(id, "op-") {
		t.Errorf("up --detach printed %q", id)
	}
	in.Until("the operation to end", 30*time.Second, func() bool { return in.Status().Operation == nil })
	weights(t, in, map[string]int{"r1": 100})
}

func TestTwoAgents(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	first := begin(t, in, "agent", "run")
	in.Until("the agent to answer", 20*time.Second, func() bool { return in.Agent().Running })
	second := in.Run("agent", "run")
	if second.Code == 0 || !strings.Contains(second.Stderr, "another agent") {
		t.Errorf("the second agent: %+v", second)
	}
	in.Must("agent", "stop")
	wants(t, first.end(), 0)
	if err := os.WriteFile(filepath.Join(in.Dir, "s", api.SocketName), nil, 0o600); err != nil { // as a crash leaves it
		t.Fatal(err)
	}
	third := begin(t, in, "agent")
	in.Until("the agent to answer", 20*time.Second, func() bool { return in.Agent().Running })
	if err := third.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wants(t, third.end(), 0)
}

func TestAgentThatCannotStart(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	in.Bake("v1")
	state := filepath.Join(in.Dir, "s")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "store.db"), []byte("no store"), 0o600); err != nil {
		t.Fatal(err)
	}
	wants(t, in.Run("launch"), 1, "the agent ended while starting", "store.db", "agent.log")
}

// A route that cannot be served is refused before anything boots.
func TestRouteThatCannotBe(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	in.Bake("v1")
	in.Operate("up")
	hello, err := os.ReadFile(filepath.Join(in.Project, "release.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	in.Write("release.yaml", strings.Replace(string(hello), "app: hello", "app: other", 1))
	wants(t, in.Run("up", "hello"), 2, `is already that of route "hello/production/web"`, "another route.listen")

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	in.Write("release.yaml", strings.Replace(strings.Replace(string(hello), "app: hello", "app: other", 1), in.Listen, taken.Addr().String(), 1))
	wants(t, in.Run("up", "hello"), 1, "the port is taken by another program", "ss -ltnp")
	in.Write("release.yaml", string(hello))
	if out := in.Run("events", "--json"); strings.Contains(out.Stdout, "other") {
		t.Errorf("something of the other app began:\n%s", out.Stdout)
	}
}
