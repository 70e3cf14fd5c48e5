package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/load"
)

// watched is a cutover whose first step is compared for as long as a test may need.
const watched = `cutover:
  steps: [{percent: 25, hold: 2m}, {percent: 100}]
  verdict: {wait: 1s}
  drain: {timeout: 2s}
`

// under sends requests until the function that it returns is called, which tells what came of them.
func under(t *testing.T, in *harness.Installation, rate float64) (stop func() load.Report) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var report load.Report
	var err error
	var group sync.WaitGroup
	group.Go(func() {
		report, err = load.Run(ctx, load.Options{URL: "http://" + in.Listen + "/", Rate: rate, Duration: 5 * time.Minute})
	})
	stop = sync.OnceValue(func() load.Report {
		cancel()
		group.Wait()
		if err != nil {
			t.Error(err)
		}
		return report
	})
	t.Cleanup(func() { stop() })
	return stop
}

// operations are those of a release, as show tells them.
func operations(t *testing.T, in *harness.Installation, release string) []api.Operation {
	t.Helper()
	var shown api.ShowResult
	if code := in.JSON(&shown, "show", release); code != 0 || len(shown.Operations) == 0 {
		t.Fatalf("show %s: exit code %d, %+v", release, code, shown.Error)
	}
	return shown.Operations
}

// A release that fails at one request in fifty is found out under load, and its users get the old one back; the numbers are kept.
// Nothing else fails for anybody.
func TestVerdict(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.WriteProject(quick, 1, watched)
	in.Operate("up", v1)
	in.Write("release.yaml", strings.Replace(in.Read("release.yaml"), "fleet: {", `fleet: {env: {FAIL_EVERY: "50"}, `, 1))
	stop := under(t, in, 200)
	out := in.Run("up", v2, "--json")
	got := stop()
	wants(t, out, 3, "worse than r1, beyond chance: ")
	if r := result(t, out); r.Error == nil || r.Error.Code != "rolled_back" {
		t.Errorf("result: %+v", r)
	}
	weights(t, in, map[string]int{"r1": 100})
	op := operations(t, in, "r2")[0]
	if len(op.Verdicts) != 1 {
		t.Fatalf("verdicts: %+v", op.Verdicts)
	}
	v := op.Verdicts[0]
	if v.Outcome != "worse" || v.Percent != 25 || v.PWorse <= 0 || v.PWorse > 0.01 || v.New.Requests == 0 || v.Old.Requests < v.New.Requests {
		t.Errorf("verdict: %+v", v)
	}
	if v.Aspect == "errors" && (v.New.Errors < 3 || v.Old.Errors > 0 || v.New.Errors*40 > v.New.Requests) {
		t.Errorf("2 %% fail, and nothing of the old release: %+v", v)
	}
	for _, f := range got.Failures {
		if f.Status != 500 || f.Release != "v2" {
			t.Errorf("a request failed otherwise: %+v", f)
		}
	}
	for _, verb := range [][]string{{"history", "-v"}, {"events"}, {"show", "r2"}} {
		if out := in.Must(verb...).Stdout; !strings.Contains(out, v.Reason) || !strings.Contains(out, fmt.Sprint(v.New.Requests)) {
			t.Errorf("%s says nothing of %q:\n%s", verb[0], v.Reason, out)
		}
	}
}

// Twelve requests prove nothing: the step is held and says so, and a person takes it on.
func TestVerdictOfTooFewRequests(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.WriteProject(quick, 1, strings.Replace(watched, "2m", "1s", 1))
	in.Operate("up", v1)
	stop := under(t, in, 20)
	out := in.Run("up", v2, "--json")
	stop()
	wants(t, out, 6, "r2 is held at 25 %: ", "release resume")
	if r := result(t, out); r.Error == nil || r.Error.Code != "held" || r.Percent != 25 {
		t.Errorf("result: %+v", r)
	}
	s := in.Status()
	if s.Operation == nil || !strings.Contains(s.Operation.Held, "requests") || len(s.Operation.Verdicts) != 1 || s.Operation.Verdicts[0].Outcome != "open" {
		t.Errorf("status: %+v", s.Operation)
	}
	if out := in.Must("status").Stdout; !strings.Contains(out, s.Operation.Held) {
		t.Errorf("status does not say %q:\n%s", s.Operation.Held, out)
	}
	weights(t, in, map[string]int{"r1": 75, "r2": 25})
	if v := s.Operation.Verdicts[0]; v.New.Requests == 0 || v.New.Requests > 299 {
		t.Errorf("the verdict counts %d requests", v.New.Requests)
	}
	in.Must("resume")
	in.Until("the cutover to end", 30*time.Second, func() bool { return in.Status().Operation == nil })
	weights(t, in, map[string]int{"r2": 100})
}
