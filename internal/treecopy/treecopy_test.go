package treecopy

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// TestTree reads a folder; what lies outside the root is not reached.
func TestTree(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "root/a/b"), 0o755),
		os.WriteFile(filepath.Join(dir, "secret"), []byte("outside"), 0o644),
		os.WriteFile(filepath.Join(dir, "root/secret"), []byte("inside"), 0o644),
		os.WriteFile(filepath.Join(dir, "root/a/b/f"), []byte("text"), 0o640),
		os.Symlink("../../secret", filepath.Join(dir, "root/a/out")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(filepath.Join(dir, "root"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, want := range map[string]map[string]string{
		"/a":     {"a/": "", "a/b/": "", "a/b/f": "text", "a/out": "../../secret"},
		"/a/b/f": {"f": "text"},
		"/a/out": {"out": "inside"},
	} {
		if got := tree(t, root, name); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"/none", "/secret/none"} {
		if _, err := Open(root, name); !IsAbsent(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func tree(t *testing.T, root *os.File, name string) map[string]string {
	t.Helper()
	f, err := Open(root, name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var buf bytes.Buffer
	if err := Write(&buf, f); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for in := tar.NewReader(&buf); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = string(content) + h.Linkname
	}
}
