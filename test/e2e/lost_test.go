package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLostStore is an agent whose store is gone: it stays the installation it was, says loudly what runs without a record, leaves
// users where they are, and goes on with the next release.
func TestLostStore(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	id := in.Agent()
	lose := func() {
		t.Helper()
		in.Must("agent", "stop")
		if err := os.Remove(filepath.Join(in.Dir, "s/store.db")); err != nil {
			t.Fatal(err)
		}
	}
	lose()
	out := in.Must("status")
	for _, want := range []string{"no record of hello/production/web/r1/1", "3 nodes, 100 % of " + in.Listen, "store.db", "release up takes the app over"} {
		if !strings.Contains(out.Stderr, want) {
			t.Errorf("status says nothing of %q:\n%s", want, out.Stderr)
		}
	}
	if strings.Contains(out.Stdout, "nothing runs") || !strings.Contains(out.Stdout, "r1 100 %") || !strings.Contains(out.Stdout, "without a record") {
		t.Errorf("status:\n%s", out.Stdout)
	}
	if s := in.Status(); len(s.Found) != 1 || s.Found[0].Nodes != 3 {
		t.Errorf("status: %+v", s)
	}
	if a := in.Agent(); len(a.Found) != 1 || a.PID == id.PID {
		t.Errorf("agent status: %+v", a)
	}
	if got := get(t, in, ""); got != "v1" {
		t.Errorf("users get %s", got)
	}
	if r := in.Operate("up", v2); r.Release != "r2" || r.Ledger.Failed != 0 {
		t.Errorf("up: %+v", r)
	}
	if got := get(t, in, ""); got != "v2" {
		t.Errorf("users get %s", got)
	}
	in.Until("what was found to be shot", time.Minute, func() bool { return len(in.Agent().Found) == 0 })
	if out := in.Must("status"); strings.Contains(out.Stderr, "no record") {
		t.Errorf("status still says:\n%s", out.Stderr)
	}
	lose()
	in.Must("destroy", "-y")
	if a := in.Agent(); len(a.Found) != 0 {
		t.Errorf("destroy left %+v", a.Found)
	}
	if left, _ := filepath.Glob(filepath.Join(in.Dir, "s/sandbox/nodes/*")); len(left) != 0 {
		t.Errorf("destroy left %v", left)
	}
}
