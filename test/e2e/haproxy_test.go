package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/load"
)

// haproxyConfig is what stands for the user's own configuration.
const haproxyConfig = "global\n    maxconn 2000\n"

// withHAProxy makes the installation's agent use a HAProxy, and gives a function that starts it as a service manager would.
func withHAProxy(t *testing.T, in *harness.Installation) (start func() (stop func())) {
	t.Helper()
	dir := in.Dir
	settings := filepath.Join(dir, "c", "release", "agent.yaml")
	socket, own := filepath.Join(dir, "m.sock"), filepath.Join(dir, "haproxy.cfg")
	for path, text := range map[string]string{
		settings: fmt.Sprintf("router: {backend: haproxy, haproxy: {edges: [{socket: %s}]}}\n", socket),
		own:      haproxyConfig,
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	in.Env = append(in.Env, "XDG_CONFIG_HOME="+filepath.Join(dir, "c"))
	return func() func() {
		cmd := exec.Command("haproxy", "-W", "-S", socket, "-f", own, "-f", filepath.Join(dir, "s", "haproxy", "haproxy", "release.cfg"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatalf("start haproxy (Debian's package haproxy): %v", err)
		}
		stop := func() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
		}
		return stop
	}
}

// TestHAProxy: a whole life behind a HAProxy that runs already, and no request is lost.
func TestHAProxy(t *testing.T) {
	stop := func() {}
	t.Cleanup(func() { stop() }) // after the installation, whose end needs it
	in := suite.New(t, quick)
	start := withHAProxy(t, in)
	in.WriteProject(quick, 2, "cutover: {keep_previous: 10m, drain: {timeout: 2s}}\n")
	wants(t, in.Run("doctor"), 1, "haproxy")
	agent := begin(t, in, "agent", "run") // it makes the file that HAProxy reads
	config := filepath.Join(in.Dir, "s", "haproxy", "haproxy", "release.cfg")
	in.Until("the agent writes "+config, 10*time.Second, func() bool { _, err := os.Stat(config); return err == nil })
	stop = start()
	in.Until("doctor is content with haproxy", 10*time.Second, func() bool {
		return strings.Contains(in.Run("doctor").Stdout, "no table yet")
	})
	in.Bake("v1")
	in.Operate("up")
	workers := countWorkers(t, in)

	ctx, end := context.WithCancel(context.Background())
	defer end()
	report := make(chan load.Report, 1)
	go func() {
		r, err := load.Run(ctx, load.Options{URL: "http://" + in.Listen + "/", Rate: 200, Duration: 10 * time.Minute})
		if err != nil {
			t.Error(err)
		}
		report <- r
	}()
	in.Bake("v2")
	in.Operate("launch")
	preview := exec.Command("curl", "--fail", "--silent", "--include", "-H", "X-Release: r2", "http://"+in.Listen+"/")
	if out, err := preview.CombinedOutput(); err != nil || !strings.Contains(string(out), "v2") {
		t.Errorf("preview: %v\n%s", err, out)
	}
	if res := in.Operate("cutover", "--percent", "10"); res.Percent != 10 {
		t.Errorf("cutover to 10: %+v", res)
	}
	wantWeights(t, in, map[string]int{"r1": 90, "r2": 10})
	res := in.Operate("cutover")
	if res.Percent != 100 || res.Ledger.Failed != 0 || res.Ledger.Requests == 0 {
		t.Errorf("cutover to 100: %+v", res)
	}
	wantWeights(t, in, map[string]int{"r1": 0, "r2": 100})
	if res := in.Operate("rollback"); res.Release != "r1" || res.Percent != 100 {
		t.Errorf("rollback: %+v", res)
	}
	wantWeights(t, in, map[string]int{"r1": 100, "r2": 0})
	in.Must("agent", "stop") // traffic does not depend on it
	agent.end()
	in.Must("replace", firstNode(in))
	in.Operate("cutover", "r2")
	if now := countWorkers(t, in); now != workers {
		t.Errorf("haproxy was reloaded: worker %s became %s", workers, now)
	}
	end()
	r := <-report
	t.Logf("%s", r)
	if len(r.Failures) > 0 || r.ByRelease["v1"] == 0 || r.ByRelease["v2"] == 0 {
		t.Errorf("%d of %d requests failed, %v; the first: %+v", len(r.Failures), r.Sent, r.ByRelease, r.Failures[:min(1, len(r.Failures))])
	}

	// HAProxy dies, and comes back with what it served.
	stop()
	wants(t, in.Run("router", "status"), 0)
	stop = start()
	in.Until("users are served again", 10*time.Second, func() bool {
		return exec.Command("curl", "--fail", "--silent", "http://"+in.Listen+"/").Run() == nil
	})
	in.Operate("cutover", "r1")
	if out := in.Must("router", "status").Stdout; !strings.Contains(out, in.Listen) || !strings.Contains(out, "table ") {
		t.Errorf("router status says\n%s", out)
	}
}

// countWorkers tells HAProxy's workers apart by what router status says of them.
func countWorkers(t *testing.T, in *harness.Installation) string {
	t.Helper()
	var res struct {
		HAProxy []struct {
			PID    int `json:"pid"`
			Worker int `json:"worker"`
		} `json:"haproxy"`
	}
	if code := in.JSON(&res, "router", "status"); code != 0 || len(res.HAProxy) != 1 || res.HAProxy[0].Worker == 0 {
		t.Fatalf("router status: %d %+v", code, res)
	}
	return fmt.Sprint(res.HAProxy[0])
}

func wantWeights(t *testing.T, in *harness.Installation, want map[string]int) {
	t.Helper()
	got := map[string]int{}
	for _, w := range in.Status().Routes[0].Weights {
		got[w.Release] = w.Percent
	}
	for release, percent := range want {
		if got[release] != percent {
			t.Errorf("weights %v, want %v", got, want)
		}
	}
}

func firstNode(in *harness.Installation) string {
	for _, f := range in.Status().Fleets {
		if f.Release == "r1" {
			return f.Nodes[0].ID
		}
	}
	return ""
}
