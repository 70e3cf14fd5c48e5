package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
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

// gauge is a server that speaks Prometheus' API, and has one value for every query.
type gauge struct {
	*httptest.Server
	value atomic.Pointer[string]
	asked atomic.Pointer[string] // the newest query
}

func newGauge(t *testing.T, value string) *gauge {
	t.Helper()
	g := &gauge{}
	g.value.Store(&value)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.FormValue("query")
		g.asked.Store(&query)
		if r.URL.Path != "/api/v1/query" || r.Header.Get("Authorization") != "Bearer swordfish" {
			http.Error(w, "not for you", http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"code":"500"},"value":[1,%q]}]}}`, *g.value.Load())
	}))
	t.Cleanup(g.Close)
	return g
}

// What abort_on asks a Prometheus server and a command ends a cutover, and what does not answer holds it.
func TestAbortOnAsks(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	in.Env = append(in.Env, "PROMETHEUS_TOKEN=swordfish")
	g := newGauge(t, "0.5")
	in.Write("agent.yaml", "prometheus: {url: \""+g.URL+"\", token: env:PROMETHEUS_TOKEN}\n")
	agent := begin(t, in, "agent", "run", "--settings", "agent.yaml")
	in.Until("the agent to answer", 20*time.Second, func() bool { return in.Agent().Running })
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	project := func(asks string) {
		in.WriteProject(quick, 1, "cutover:\n  steps: [{percent: 50, hold: 3s}, {percent: 100}]\n  drain: {timeout: 2s}\n"+asks)
	}
	project("")
	in.Operate("up", v1)

	project("  verdict: off\n  abort_on: {prometheus: [{query: 'errors{release=\"$RELEASE\"}', above: 0.01, every: 1s}]}\n")
	if out := in.Must("plan", v2).Stdout; !strings.Contains(out, `abort_on.prometheus[0] every 1 s: errors{release="$RELEASE"}, bad above 0.01`) {
		t.Errorf("the plan does not say what is asked:\n%s", out)
	}
	wants(t, in.Run("up", v2), 3, "at 50 %: abort_on.prometheus[0]: 0.5, bad is above 0.01")
	weights(t, in, map[string]int{"r1": 100})
	if asked := *g.asked.Load(); asked != `errors{release="r2"}` {
		t.Errorf("asked was %s", asked)
	}
	op := operations(t, in, "r2")[0]
	if len(op.Verdicts) != 1 || op.Verdicts[0].Outcome != "worse" || len(op.Verdicts[0].Checks) != 1 || *op.Verdicts[0].Checks[0].Value != 0.5 {
		t.Errorf("verdicts: %+v", op.Verdicts)
	}
	if out := in.Must("history", "-v").Stdout; !strings.Contains(out, "abort_on.prometheus[0]: 0.5, bad is above 0.01") {
		t.Errorf("history:\n%s", out)
	}

	good := "0.001"
	g.value.Store(&good)
	project("  verdict: off\n  abort_on: {prometheus: [{query: up, above: 0.01, every: 1s}], command: [{cmd: \"echo it looks bad; exit 4\", every: 1s, allow_failure: true}]}\n")
	in.Operate("up", v2)
	if v := operations(t, in, "r3")[0].Verdicts; len(v) != 1 || v[0].Outcome != "good" || v[0].Checks[0].Outcome != "good" || v[0].Checks[1].Outcome != "bad" {
		t.Errorf("verdicts: %+v", v)
	}

	project("  verdict: off\n  abort_on: {command: [\"echo it looks bad to $RELEASE_HOOK_RELEASE; exit 4\"]}\n")
	wants(t, in.Run("up", v1), 3, "abort_on.command[0]: it ended with exit code 4: it looks bad to r4")
	weights(t, in, map[string]int{"r3": 100})

	g.Close()
	project("  verdict: {wait: 1s, enough: 1}\n  abort_on: {min_requests: 1, prometheus: [{query: up, above: 0.01, every: 1s}]}\n")
	stop := under(t, in, 50)
	out := in.Run("up", v1)
	stop()
	wants(t, out, 6, "r5 is held at 50 %: abort_on.prometheus[0] has no answer: ", "connection refused", "release resume")
	if out := in.Must("status").Stdout; !strings.Contains(out, "held: abort_on.prometheus[0] has no answer") || strings.Contains(out, "swordfish") {
		t.Errorf("status:\n%s", out)
	}
	in.Must("abort")
	in.Must("destroy", "-y")
	in.Must("agent", "stop")
	wants(t, agent.end(), 0)
}
