package e2e

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/load"
)

// withALB makes the installation's agent use a load balancer of an AWS in this process, which forwards what comes to the project's
// address.
func withALB(t *testing.T, in *harness.Installation) *awstest.Server {
	t.Helper()
	s := awstest.Start(t, awstest.Options{Takes: 50 * time.Millisecond, Listen: func(int) string { return in.Listen }})
	s.Use(t)
	for name, value := range awstest.Variables(s.URL) {
		in.Env = append(in.Env, name+"="+value)
	}
	settings := filepath.Join(in.Dir, "c", "release", "agent.yaml")
	if err := os.MkdirAll(filepath.Dir(settings), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(settings, []byte("router: {backend: alb, alb: {name: front, drain: 1s}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	in.Env = append(in.Env, "XDG_CONFIG_HOME="+filepath.Join(in.Dir, "c"))
	return s
}

// makeALB is what whoever sets the account up does once.
func makeALB(t *testing.T, listen string) {
	t.Helper()
	cfg, err := awsapi.Load(t.Context(), awsapi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	awstest.Balancer(t, cfg, "front", int(netip.MustParseAddrPort(listen).Port()))
}

// TestALB: a whole life behind a load balancer, and no request is lost.
func TestALB(t *testing.T) {
	in := suite.New(t, quick)
	withALB(t, in)
	in.WriteProject(quick, 2, "cutover: {keep_previous: 10m, drain: {timeout: 2s}}\n")
	wants(t, in.Run("doctor"), 1, "load balancer")
	makeALB(t, in.Listen)
	in.Bake("v1")
	in.Operate("up")

	ctx, end := context.WithCancel(context.Background())
	defer end()
	report := make(chan load.Report, 1)
	go func() {
		r, err := load.Run(ctx, load.Options{URL: "http://" + in.Listen + "/", Rate: 100, Duration: 10 * time.Minute})
		if err != nil {
			t.Error(err)
		}
		report <- r
	}()
	in.Bake("v2")
	in.Operate("launch")
	if res := in.Operate("cutover", "--percent", "10"); res.Percent != 10 {
		t.Errorf("cutover to 10: %+v", res)
	}
	wantWeights(t, in, map[string]int{"r1": 90, "r2": 10})
	if res := in.Operate("cutover"); res.Percent != 100 {
		t.Errorf("cutover to 100: %+v", res)
	}
	if res := in.Operate("rollback"); res.Release != "r1" || res.Percent != 100 {
		t.Errorf("rollback: %+v", res)
	}
	in.Must("agent", "stop") // traffic does not depend on it
	in.Must("replace", firstNode(in))
	in.Operate("cutover", "r2")
	end()
	r := <-report
	t.Logf("%s", r)
	if len(r.Failures) > 0 || r.ByRelease["v1"] == 0 || r.ByRelease["v2"] == 0 {
		t.Errorf("%d of %d requests failed, %v; the first: %+v", len(r.Failures), r.Sent, r.ByRelease, r.Failures[:min(1, len(r.Failures))])
	}
	if out := in.Must("router", "status").Stdout; !strings.Contains(out, "front") || !strings.Contains(out, "table ") || !strings.Contains(out, "2 healthy of 2") {
		t.Errorf("router status says\n%s", out)
	}
	in.Must("destroy", "-y")
	in.Until("nothing but the table is left", 30*time.Second, func() bool {
		return strings.Contains(in.Must("router", "status").Stdout, "0 rules and 0 target groups")
	})
}
