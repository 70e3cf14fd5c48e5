package story

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bootandshoot/release/api"
)

// ordinaryUser is made by .ci/prepare.
const ordinaryUser = "releasetest"

// TestSameDigestAsRootAndNot bakes examples/hello as root and as an ordinary user, in different folders.
func TestSameDigestAsRootAndNot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test changes its user: run it as root")
	}
	in := suite.New(t, "sandbox")
	want := in.Bake("v1")
	dir, err := os.MkdirTemp("", "rel-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, args := range [][]string{
		{"cp", "-r", in.Project, in.Binary, dir},
		{"chown", "-R", ordinaryUser + ":", dir},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s\nmake the user with: useradd -m %s", args, err, out, ordinaryUser)
		}
	}
	script := "umask 077; cd " + filepath.Join(dir, "hello") + " && RELEASE_IMAGES_DIR=" + dir + "/images ../release bake --json | tail -n 1"
	out, err := exec.Command("su", "-", ordinaryUser, "-c", script).Output()
	if err != nil {
		t.Fatalf("bake as %s: %v", ordinaryUser, err)
	}
	var res api.BakeResult
	if err := json.Unmarshal(out, &res); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if res.Image != want {
		t.Errorf("root baked %s, %s baked %s", want, ordinaryUser, res.Image)
	}
}
