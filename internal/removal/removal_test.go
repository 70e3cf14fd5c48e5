package removal_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bootandshoot/release/internal/removal"
	"github.com/bootandshoot/release/internal/usertest"
)

// child is the folder that a process of the ordinary user removes.
const child = "RELEASE_TEST_REMOVE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(child); dir != "" {
		if err := removal.Tree(dir); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestTreeOpensClosedFolders(t *testing.T) {
	base := t.TempDir()
	dir, outside := filepath.Join(base, "tree"), filepath.Join(base, "outside")
	makeAll(t, filepath.Join(dir, "closed", "inner"), outside)
	if err := os.WriteFile(filepath.Join(dir, "closed", "inner", "file"), nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "closed", "link")); err != nil {
		t.Fatal(err)
	}
	for _, closed := range []string{"closed/inner", "closed", "."} {
		if err := os.Chmod(filepath.Join(dir, closed), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(outside, 0o500); err != nil {
		t.Fatal(err)
	}
	remove(t, base, dir)
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("what a link led to is %v, %v: want it as it was", info, err)
	}
	if err := removal.Tree(dir); err != nil {
		t.Errorf("remove again: %v", err)
	}
}

func makeAll(t *testing.T, dirs ...string) {
	t.Helper()
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// remove removes as an ordinary user: no folder is closed to root.
func remove(t *testing.T, base, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		if err := removal.Tree(dir); err != nil {
			t.Fatal(err)
		}
		return
	}
	u := usertest.Need(t)
	open(t, base)
	u.Own(t, base)
	cmd := exec.Command(usertest.Self(t, base))
	cmd.Dir, cmd.Env = base, []string{child + "=" + dir}
	u.Become(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("remove: %v: %s", err, out)
	}
}

// open lets everybody through the folders above, which testing makes for root alone.
func open(t *testing.T, dir string) {
	t.Helper()
	for at := dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
