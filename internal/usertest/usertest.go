// Package usertest gives tests the ordinary user that they need beside root. It is for tests alone.
package usertest

import (
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Name is the user's: .ci/prepare makes it, with a range of ids.
const Name = "releasetest"

// User is an ordinary user of this machine.
type User struct {
	UID, GID int
	Home     string
}

// Need finds the user. A test that needs it fails where it is not, and where it could not be changed to.
func Need(t testing.TB) User {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test changes its user: run it as root")
	}
	u, err := user.Lookup(Name)
	if err != nil {
		t.Fatalf("this test needs an ordinary user with a range of ids: .ci/prepare makes it, or apt-get install uidmap && useradd -m %s", Name)
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	if errUID != nil || errGID != nil {
		t.Fatalf("ids of user %s: %q, %q", Name, u.Uid, u.Gid)
	}
	return User{UID: uid, GID: gid, Home: u.HomeDir}
}

// Dir makes a folder of the user's, in its home, that goes with the test.
func (u User) Dir(t testing.TB) string {
	t.Helper()
	return u.dirIn(t, u.Home)
}

// TempDir is Dir in the machine's folder for temporary files.
func (u User) TempDir(t testing.TB) string {
	t.Helper()
	return u.dirIn(t, "")
}

func (u User) dirIn(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "rel-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	u.Own(t, dir)
	return dir
}

// Own gives the user whole trees.
func (u User) Own(t testing.TB, trees ...string) {
	t.Helper()
	for _, tree := range trees {
		err := filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, u.UID, u.GID)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Take copies files and folders, with all that is in them, into a folder of the user's.
func (u User) Take(t testing.TB, dir string, from ...string) {
	t.Helper()
	if out, err := exec.Command("cp", append(append([]string{"-r"}, from...), dir)...).CombinedOutput(); err != nil {
		t.Fatalf("copy %v: %v\n%s", from, err, out)
	}
	u.Own(t, dir)
}

// Self copies the program of this test into a folder of the user's and gives its path.
func Self(t testing.TB, dir string) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "test")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// Become makes a command run as the user.
func (u User) Become(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = u.Credential()
}

// Credential is the user's, without further groups.
func (u User) Credential() *syscall.Credential {
	return &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
}

// Login is a command that runs a script as if the user had logged in and typed it.
func (u User) Login(script string) *exec.Cmd {
	return exec.Command("su", "-", Name, "-c", script)
}
