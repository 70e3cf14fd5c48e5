package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootandshoot/release/router/embedded"
	"github.com/bootandshoot/release/test/load"
)

// TestReplacedProgram: an agent that starts from another program file hands the router over to that, and users notice nothing.
func TestReplacedProgram(t *testing.T) {
	t.Parallel()
	in := suite.New(t, "sandbox")
	in.Operate("up", in.Bake("v1"))
	client := embedded.NewClient(filepath.Join(in.Dir, "s/router"))
	status := func() embedded.Status {
		t.Helper()
		s, err := client.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := status()
	in.Must("agent", "stop")
	in.Must("status") // starts one
	if same := status(); same.PID != before.PID {
		t.Errorf("the same program took over from itself: pid %d, then %d", before.PID, same.PID)
	}
	in.Must("agent", "stop")

	other := filepath.Join(in.Dir, "release-new")
	if out, err := exec.Command("cp", in.Binary, other).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	in.Binary = other
	report, err := load.During(t.Context(), load.Options{URL: "http://" + in.Listen + "/", Rate: 100, Duration: time.Minute}, func() { in.Must("status") })
	if err != nil || report.Failed > 0 || report.OK == 0 {
		t.Errorf("users: %+v, %v", report, err)
	}
	after := status()
	if after.PID == before.PID || after.Exe != other {
		t.Errorf("the router runs %s, pid %d; it was %s, pid %d", after.Exe, after.PID, before.Exe, before.PID)
	}
	if got := get(t, in, ""); got != "v1" {
		t.Errorf("users are on %s", got)
	}
}
