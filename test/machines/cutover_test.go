package machines

import (
	"syscall"
	"testing"

	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/load"
)

// TestCutoverOfMachines moves traffic between two fleets of machines, kills one, and rolls back, and loses no request.
func TestCutoverOfMachines(t *testing.T) {
	in := suite.New(t, "qemu")
	in.WriteProject("qemu", 2, "cutover: {keep_previous: 30m, drain: {timeout: 10s}}\n")
	var images []string
	for _, version := range []string{"v1", "v2"} {
		images = append(images, in.Bake(version)) // as machines, since that is what the fleet boots
	}
	in.Operate("launch", images[0], "--timeout", "10m")
	in.Operate("cutover")
	report, err := load.During(t.Context(), load.Options{URL: "http://" + in.Listen + "/", Rate: 20, Duration: 3 * patience}, func() {
		in.Operate("launch", images[1], "--timeout", "10m")
		in.Operate("cutover", "--percent", "50")
		in.Operate("cutover")
		victim := harness.Serving(in.Status())[0]
		if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		in.Until(victim.ID+" to be replaced", patience, func() bool {
			nodes := harness.Serving(in.Status())
			return len(nodes) == 2 && nodes[0].ID != victim.ID && nodes[1].ID != victim.ID
		})
		in.Operate("rollback")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(report)
	if len(report.Failures) > 0 || report.Sent < 20 {
		t.Errorf("%d of %d requests failed, the first: %+v", len(report.Failures), report.Sent, report.Failures)
	}
	for _, version := range []string{"v1", "v2"} {
		if report.ByRelease[version] == 0 {
			t.Errorf("%s answered no request", version)
		}
	}
	if out := in.Must("exec", harness.Serving(in.Status())[0].ID, "--", "/hello", "-version"); out.Stdout != "hello v1\n" {
		t.Errorf("a command in a machine says %q", out.Stdout)
	}
}
