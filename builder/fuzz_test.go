package builder

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

func fuzzBake(t testing.TB) *bake {
	t.Helper()
	s, err := images.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBake(Options{Recipe: &recipes.Recipe{Name: "x"}, Store: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

// FuzzUnpack feeds archives: an accepted one makes a layer, a refused one an error of its class.
func FuzzUnpack(f *testing.F) {
	var plain, packed, zipped bytes.Buffer
	tw := tar.NewWriter(&plain)
	for _, h := range []tar.Header{
		{Name: "a/b", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1}, {Name: "a/c", Typeflag: tar.TypeLink, Linkname: "a/b"},
		{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "a"}, {Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755},
	} {
		_ = tw.WriteHeader(&h)
		_, _ = tw.Write([]byte("x")[:h.Size])
	}
	_ = tw.Close()
	gw := gzip.NewWriter(&packed)
	_, _ = gw.Write(plain.Bytes())
	_ = gw.Close()
	zw := zip.NewWriter(&zipped)
	w, _ := zw.Create("a/b")
	_, _ = io.WriteString(w, "x")
	_ = zw.Close()
	for _, seed := range [][]byte{plain.Bytes(), packed.Bytes(), zipped.Bytes(), {}, {0x28, 0xb5, 0x2f, 0xfd}, []byte("BZh91")} {
		f.Add(seed)
	}
	b := fuzzBake(f) // one for all inputs: opening a store syncs its files
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "archive")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		archive, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer archive.Close()
		u := &unpacking{b: b, archive: archive}
		defer u.Close()
		files, err := u.list(context.Background())
		if err != nil {
			if known := new(fault.Error); !errors.As(err, &known) || known.Code != fault.Failed && known.Code != fault.Unsupported {
				t.Fatalf("error of no class or another: %v", err)
			}
			return
		}
		p, err := place(newTree(), "/x", owner{}, shapesOf(files))
		if err != nil {
			t.Fatalf("place: %v", err)
		}
		pieces, err := assemble([]placement{p}, [][]file{files})
		if err != nil {
			return
		}
		for _, e := range pieces {
			if e.Path != "x" && !strings.HasPrefix(e.Path, "x/") {
				t.Fatalf("entry %q is outside of the target", e.Path)
			}
		}
		if w, err := writePieces(context.Background(), b.store, 0, pieces); err == nil {
			w.Abort()
		}
	})
}

// FuzzTree feeds layers: every path that the tree resolves leads to a node or to nothing, never outside.
func FuzzTree(f *testing.F) {
	f.Add("a", "/a", "a/../b", "a/x")
	f.Add("a", "..", "a", "a/a/a")
	f.Add("a/b", "../../c", ".wh.a", "/a/b/c")
	f.Fuzz(func(t *testing.T, link, target, other, look string) {
		tr := newTree()
		fresh := map[*node]bool{}
		tr.entry(&tar.Header{Typeflag: tar.TypeSymlink, Name: link, Linkname: target}, nil, 0, fresh)
		tr.entry(&tar.Header{Typeflag: tar.TypeDir, Name: other}, nil, 0, fresh)
		tr.entry(&tar.Header{Typeflag: tar.TypeLink, Name: look, Linkname: link}, nil, 0, fresh)
		real, n, err := tr.resolve(look)
		if err == nil && n != nil && tr.lookup(real) != n {
			t.Fatalf("%q resolves to %q, which is something else", look, real)
		}
	})
}

// FuzzStatCache feeds cache files: anything that was not written as such counts as empty.
func FuzzStatCache(f *testing.F) {
	good := "1 2 3 4 5 abc \"name\"\n"
	f.Add(good + sumLine([]byte(good)))
	f.Add(good)
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "cache")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := loadStatCache(path); len(s.old) > 0 && !strings.HasSuffix(text, sumLine([]byte(text[:strings.LastIndex(text, "sum ")]))) {
			t.Fatalf("took %q", text)
		}
	})
}

// FuzzOwner feeds passwd and group files.
func FuzzOwner(f *testing.F) {
	f.Add("root:x:0:0:r:/:/bin/sh\n", "root", "root:x:0:\n", "root")
	f.Fuzz(func(t *testing.T, passwd, user, group, name string) {
		if o, err := findUser(passwd, user); err == nil && (o.UID < 0 || o.GID < 0) {
			t.Fatalf("owner %+v", o)
		}
		if gid, err := findGroup(group, name); err == nil && gid < 0 {
			t.Fatalf("group %d", gid)
		}
	})
}
