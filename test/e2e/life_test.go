package e2e

import (
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
)

// TestLife goes through all verbs on one app, with each driver.
func TestLife(t *testing.T) {
	for _, driver := range []string{"sandbox", "docker"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			in := suite.New(t, driver)
			in.WriteProject(driver, 2, "cutover: {drain: {timeout: 2s}}\n")
			releases(t, in)
			looking(t, in)
			changing(t, in)
			ending(t, in)
		})
	}
}

// releases launches, shifts and rolls back.
func releases(t *testing.T, in *harness.Installation) {
	t.Helper()
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	first := in.Operate("up", v1)
	if first.Release != "r1" || first.Percent != 100 || first.From != "" || first.Image != v1 {
		t.Errorf("up: %+v", first)
	}
	if again := in.Operate("up", v1); again.Operation != "" || again.Release != "r1" || again.Percent != 100 {
		t.Errorf("up with nothing changed: %+v", again)
	}
	launched := in.Operate("launch", v2[len("sha256:"):][:12])
	if launched.Release != "r2" || launched.Percent != 0 || launched.From != "r1" {
		t.Errorf("launch: %+v", launched)
	}
	if got := get(t, in, ""); got != "v1" {
		t.Errorf("users are on %s after the launch", got)
	}
	if got := get(t, in, "r2"); got != "v2" {
		t.Errorf("the preview of r2 answers %s", got)
	}
	if part := in.Operate("cutover", "--percent", "30"); part.Percent != 30 || part.Release != "r2" {
		t.Errorf("cutover to 30 %%: %+v", part)
	}
	weights(t, in, map[string]int{"r1": 70, "r2": 30})
	if whole := in.Operate("cutover"); whole.Percent != 100 || whole.Release != "r2" {
		t.Errorf("cutover: %+v", whole)
	}
	weights(t, in, map[string]int{"r2": 100})
	if back := in.Operate("rollback"); back.Release != "r1" || back.From != "r2" || back.Percent != 100 {
		t.Errorf("rollback: %+v", back)
	}
	if got := get(t, in, ""); got != "v1" {
		t.Errorf("users are on %s after the rollback", got)
	}
}

// get is the version that answers, of the release asked for.
func get(t *testing.T, in *harness.Installation, release string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+in.Listen+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if release != "" {
		req.Header.Set("X-Release", release)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Header.Get("X-Hello-Version")
}

func weights(t *testing.T, in *harness.Installation, want map[string]int) {
	t.Helper()
	have := map[string]int{}
	for _, r := range in.Status().Routes {
		for _, w := range r.Weights {
			if w.Percent > 0 {
				have[w.Release] = w.Percent
			}
		}
	}
	for release, percent := range want {
		if have[release] != percent || len(have) != len(want) {
			t.Fatalf("the route's weights are %v, want %v", have, want)
		}
	}
}

// looking uses the verbs that change nothing.
func looking(t *testing.T, in *harness.Installation) {
	t.Helper()
	var all api.StatusesResult
	if code := in.JSON(&all, "status", "--all"); code != 0 || len(all.Apps) != 1 || all.Apps[0].App != "hello" || len(all.Apps[0].Fleets) == 0 {
		t.Errorf("status --all: exit code %d, %+v", code, all.Apps)
	}
	if out := in.Must("status").Stdout; !strings.Contains(out, "r1 100 %") || !strings.Contains(out, "2/2 healthy") || !strings.Contains(out, "next") {
		t.Errorf("status:\n%s", out)
	}
	var h api.HistoryResult
	in.JSON(&h, "history")
	if len(h.Releases) != 2 || len(h.Operations) < 4 || h.Operations[0].Kind != "rollback" {
		t.Errorf("history: %+v", h)
	}
	past(t, in)
	if out := in.Must("events", "--tail", "3").Stdout; strings.Count(out, "\n") != 3 {
		t.Errorf("the last three events:\n%s", out)
	}
	node := serving(t, in)[0]
	if out := in.Must("logs", node.ID).Stdout; out == "" {
		t.Error("the node printed nothing")
	}
	if out := in.Must("logs", "--tail", "1").Stdout; strings.Count(out, "\n") != 2 || !strings.Contains(out, node.ID) {
		t.Errorf("the last line of both nodes:\n%s", out)
	}
	second := in.Run("exec", node.ID, "--", "/hello") // its port is taken by the first
	if second.Code != 1 || !strings.Contains(second.Stdout, "address already in use") {
		t.Errorf("exec of a command that fails: %+v", second)
	}
	if out := in.Run("exec", node.ID, "--", "/no/such/file"); out.Code == 0 || !strings.Contains(out.Stdout+out.Stderr, "no such file") {
		t.Errorf("exec of a program that is not there: %+v", out)
	}
	x := in.Run("exec", "--json", node.ID, "--", "/hello")
	line, result, _ := strings.Cut(x.Stdout, "\n")
	if x.Code != 1 || !strings.HasPrefix(line, `{"type":"log","node":"`+node.ID+`"`) || !strings.Contains(line, "address already in use") ||
		!strings.HasPrefix(result, `{"type":"result","schema":"release/v1","node":"`+node.ID+`","exit_code":1,"seconds":`) {
		t.Errorf("exec --json: %+v", x)
	}
	wants(t, in.Run("logs", "--release", "r99"), 1, "no release r99", "there is output of r1, r2")
	wants(t, in.Run("replace", "hello"), 2, `"hello" may be any of 4 nodes of hello/production`, node.ID, "its last part")
}

// past looks at what was done.
func past(t *testing.T, in *harness.Installation) {
	t.Helper()
	var rec api.ShowResult
	in.JSON(&rec, "show", "r2")
	origin := rec.Operations[0].Origin
	if len(rec.Operations) < 4 || rec.State != "rolled_back" || rec.BakedAt.IsZero() || origin == nil || origin.PID == 0 || !strings.HasPrefix(origin.Via, "unix:") {
		t.Errorf("show: %+v, asked by %+v", rec, origin)
	}
	if out := in.Must("show", "r2", "-v").Stdout; !strings.Contains(out, "rollback r1 from r2") || !strings.Contains(out, "fleet:") || !strings.Contains(out, "r2 gets 30 %") {
		t.Errorf("show -v:\n%s", out)
	}
	if out := in.Run("show", "r9"); out.Code != 1 || !strings.Contains(out.Stderr, "r2 r1") {
		t.Errorf("a release that there never was: %+v", out)
	}
	if out := in.Must("diff", "r1", "r2").Stdout; !strings.Contains(out, "the configuration is the same") || !strings.Contains(out, "/hello") {
		t.Errorf("diff:\n%s", out)
	}
	var stats api.StatsResult
	in.JSON(&stats, "stats", "--since", "1h")
	if s := stats.Stats[0]; len(stats.Stats) != 1 || s.Deployments != 2 || s.Changes != 2 || s.Failed != 1 || s.LeadTime.Median <= 0 || s.Recovery.Median <= 0 {
		t.Errorf("stats: %+v", stats.Stats)
	}
	if out := in.Must("stats").Stdout; !strings.Contains(out, "1 of 2 (50 %)") {
		t.Errorf("stats:\n%s", out)
	}
	since := in.Must("events", "--since", "r2", "--type", "launch", "--type", "rollback").Stdout
	if strings.Contains(since, "up of r1") || !strings.Contains(since, "launch of r2") || !strings.Contains(since, "rollback from r2 to r1") || strings.Contains(since, "is healthy") {
		t.Errorf("events since r2:\n%s", since)
	}
	if out := in.Run("events", "--since", "yesterday"); out.Code != 2 {
		t.Errorf("a time that is none: %+v", out)
	}
}

func serving(t *testing.T, in *harness.Installation) []api.Node {
	t.Helper()
	for _, fl := range in.Status().Fleets {
		if fl.State == "serving" {
			return fl.Nodes
		}
	}
	t.Fatal("no fleet serves")
	return nil
}

// changing scales, and replaces by hand and by itself.
func changing(t *testing.T, in *harness.Installation) {
	t.Helper()
	in.Operate("scale", "3")
	if n := len(serving(t, in)); n != 3 {
		t.Errorf("%d nodes serve after scale 3", n)
	}
	in.Operate("scale", "2")
	victim := serving(t, in)[0]
	in.Operate("replace", victim.ID)
	for _, n := range serving(t, in) {
		if n.ID == victim.ID {
			t.Errorf("%s is still there after replace", victim.ID)
		}
	}
	victim = serving(t, in)[0]
	if out, err := exec.Command("kill", "-9", strconv.Itoa(victim.PID)).CombinedOutput(); err != nil {
		t.Fatalf("kill: %v\n%s", err, out)
	}
	in.Until("a killed node to be replaced", 30*time.Second, func() bool {
		healthy := 0
		for _, n := range serving(t, in) {
			if n.ID == victim.ID {
				return false
			}
			if n.State == "healthy" {
				healthy++
			}
		}
		return healthy == 2
	})
}

// ending shoots everything and ends the processes.
func ending(t *testing.T, in *harness.Installation) {
	t.Helper()
	wants(t, in.Run("destroy"), 2, "-y")
	in.Operate("destroy", "-y")
	if s := in.Status(); len(s.Fleets) != 0 || s.Operation != nil {
		t.Errorf("after destroy: %+v", s)
	}
	in.Must("router", "stop")
	doctor := in.Run("doctor")
	wants(t, doctor, 1, "router")
	if !strings.Contains(doctor.Stdout, "users get no answers") || !strings.Contains(doctor.Stdout, "release router run") {
		t.Errorf("doctor while the router is stopped:\n%s", doctor.Stdout)
	}
	in.Must("agent", "stop")
	if a := in.Agent(); a.Running {
		t.Error("the agent runs after agent stop")
	}
	if out := in.Must("router", "status").Stdout; !strings.Contains(out, "no router runs") {
		t.Errorf("after router stop: %s", out)
	}
}

// body is what the app answers at a path.
func body(t *testing.T, in *harness.Installation, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + in.Listen + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
