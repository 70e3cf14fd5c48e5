package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/usertest"
)

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
release show r2 --json | grep -q '"user":"'"$(id -un)"'"'
release images ls | grep -q hello
release rollback
test "$(version)" = v1
test -S ../.local/state/release/agent.sock
`

// TestOrdinaryUser bakes, launches, cuts over and rolls back without root and without an engine.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	u := usertest.Need(t)
	in := suite.New(t, "sandbox")
	in.BuildHello("v2")
	if err := os.Rename(filepath.Join(in.Project, "bin/hello"), filepath.Join(in.Project, "bin/other")); err != nil {
		t.Fatal(err)
	}
	in.BuildHello("v1")
	home := u.TempDir(t)
	u.Take(t, home, in.Project, in.Binary)
	cmd := u.Login("bash -s")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(userStory, home, in.Listen))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as %s: %v\n%s", usertest.Name, err, out)
	}
}
