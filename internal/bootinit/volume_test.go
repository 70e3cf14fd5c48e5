package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A volume is filled once: a filling that was cut off begins anew, and what somebody has there without a mark is theirs.
func TestSeed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("attributes of volumes are root's: run it as root")
	}
	root := t.TempDir()
	write(t, filepath.Join(root, "srv/data/file"), "of the image")
	for name, c := range map[string]struct {
		has   map[string]string
		marks []string
		want  string // what the file has afterwards; "": it is not there
		other bool   // and whether another one is there
	}{
		"new":               {map[string]string{"lost+found/x": "x"}, nil, "of the image", false},
		"cut off":           {map[string]string{"file": "of", "other": "half"}, []string{seeding}, "of the image", false},
		"filled, then used": {map[string]string{"other": "of a node"}, []string{seeding, seeded}, "", true},
		"put back":          {map[string]string{"other": "of a backup"}, nil, "", true},
	} {
		at := t.TempDir()
		for file, text := range c.has {
			write(t, filepath.Join(at, file), text)
		}
		for _, m := range c.marks {
			if err := unix.Setxattr(at, m, []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second time as the first
			if err := seed(root, "/srv/data", at); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			got, err := os.ReadFile(filepath.Join(at, "file"))
			if string(got) != c.want || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
			}
			if _, err := os.Stat(filepath.Join(at, "other")); (err == nil) != c.other {
				t.Errorf("%s: the other file: %v", name, err)
			}
		}
		if done, err := marked(at, seeded); !done {
			t.Errorf("%s: it is not marked: %v", name, err)
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}
