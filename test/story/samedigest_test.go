package story

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/usertest"
)

// TestSameDigestAsRootAndNot bakes examples/hello as root and as an ordinary user, in different folders.
func TestSameDigestAsRootAndNot(t *testing.T) {
	u := usertest.Need(t)
	in := suite.New(t, "sandbox")
	want := in.Bake("v1")
	dir := u.TempDir(t)
	u.Take(t, dir, in.Project, in.Binary)
	script := "umask 077; cd " + filepath.Join(dir, "hello") + " && RELEASE_IMAGES_DIR=" + dir + "/images ../release bake --json | tail -n 1"
	out, err := u.Login(script).Output()
	if err != nil {
		t.Fatalf("bake as %s: %v", usertest.Name, err)
	}
	var res api.BakeResult
	if err := json.Unmarshal(out, &res); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if res.Image != want {
		t.Errorf("root baked %s, %s baked %s", want, usertest.Name, res.Image)
	}
}
