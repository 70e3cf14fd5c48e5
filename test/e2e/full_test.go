package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/test/harness"
)

// TestFullStateDisk is an agent whose disk has no byte left: users can be brought back, and everything can be ended.
func TestFullStateDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a small disk: run it as root")
	}
	in := suite.New(t, quick)
	state := filepath.Join(in.Dir, "s")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the folders are removed, and after all was ended: cleanups run last first
		if err := unix.Unmount(state, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { in.Run("destroy", "-y"); in.Run("agent", "stop"); in.Run("router", "stop") })
	v1, v2 := in.Bake("v1"), in.Bake("v2")
	in.Operate("up", v1)
	in.Operate("up", v2)
	harness.FillDisk(t, filepath.Join(in.Dir, "s"))
	if r := in.Operate("rollback"); r.Release != "r1" {
		t.Errorf("rolled back to %s", r.Release)
	}
	if got := get(t, in, ""); got != "v1" {
		t.Errorf("users get %s", got)
	}
	if err := os.Remove(filepath.Join(state, "fill")); err != nil {
		t.Fatal(err)
	}
	in.Must("agent", "stop")
	in.Must("status") // another agent, which makes the reserve anew
	if _, err := os.Stat(filepath.Join(state, "reserve")); err != nil {
		t.Fatal(err)
	}
	harness.FillDisk(t, filepath.Join(in.Dir, "s"))
	in.Must("agent", "stop")
	in.Must("destroy", "-y", "--timeout", "60s") // also by an agent that starts on the full disk
	if s := in.Status(); len(s.Fleets) != 0 {
		t.Errorf("left are %+v", s.Fleets)
	}
}
