package debian

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/bootandshoot/release/recipes/library"
)

// TestLibrary begins with each ready project as a person does, and bakes it: its own tests run against the booted image.
func TestLibrary(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test bakes as two users: run it as root")
	}
	root, user := newBaker(t, ""), newBaker(t, ordinaryUser)
	for _, name := range library.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root.run(t, "init", "--from", name, name)
			first := root.bake(t, name+"/recipe.yaml")
			root.run(t, "validate", name+"/recipe.yaml")
			copyTree(t, root.path(name), user.path(name))
			user.must(t, "chown", "-R", ordinaryUser+":", user.path(name))
			if second := user.bake(t, name+"/recipe.yaml"); second != first {
				t.Errorf("root made %s, %s made %s\n%s", first, ordinaryUser, second, difference(t, root, user, first, second))
			}
		})
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}
