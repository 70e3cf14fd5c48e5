package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ordinaryUser is made by .ci/prepare.
const ordinaryUser = "releasetest"

// userStory is what an ordinary user types; every command must succeed. The folders are the user's own XDG ones.
const userStory = `set -e
cd %[1]s/hello
export HOME=%[1]s PATH=%[1]s:$PATH
unset XDG_STATE_HOME XDG_DATA_HOME
trap 'release destroy -y -q; release agent stop; release router stop' EXIT
version() { curl -fsS http://%[2]s/ | cut -d' ' -f2; }
release doctor
release up
test "$(version)" = v1
mv bin/other bin/hello
release up --json | tail -n 1 | grep -q '"release":"r2"'
test "$(version)" = v2
release images ls | grep -q hello
release rollback
test "$(version)" = v1
test -S ../.local/state/release/agent.sock
`

// TestOrdinaryUser bakes, launches, cuts over and rolls back without root and without an engine.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("this test changes its user: run it as root")
	}
	in := suite.New(t, "sandbox")
	in.BuildHello("v2")
	if err := os.Rename(filepath.Join(in.Project, "bin/hello"), filepath.Join(in.Project, "bin/other")); err != nil {
		t.Fatal(err)
	}
	in.BuildHello("v1")
	home, err := os.MkdirTemp("", "rel-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	for _, args := range [][]string{
		{"cp", "-r", in.Project, in.Binary, home},
		{"chown", "-R", ordinaryUser + ":", home},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s\nmake the user with: useradd -m %s", args, err, out, ordinaryUser)
		}
	}
	cmd := exec.Command("su", "-", ordinaryUser, "-c", "bash -s")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(userStory, home, in.Listen))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as %s: %v\n%s", ordinaryUser, err, out)
	}
}
