package diff_test

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/diff"
	"github.com/bootandshoot/release/internal/fault"
)

var update = flag.Bool("update", false, "write the golden files anew")

func newStore(t testing.TB) *images.Store {
	t.Helper()
	s, err := images.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// entry is a file, folder or link of a layer; a folder has a path that ends in a slash.
type entry struct {
	path, content, link string
	mode                uint32
	uid                 int
}

func layer(t testing.TB, s *images.Store, by string, entries ...entry) images.Layer {
	t.Helper()
	w, err := s.NewLayer(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for _, e := range entries {
		r := images.Entry{Path: strings.TrimSuffix(e.path, "/"), Mode: e.mode, UID: e.uid, Size: int64(len(e.content))}
		switch {
		case strings.HasSuffix(e.path, "/"):
			r.Type, r.Mode = images.Dir, r.Mode|0o755
		case e.link != "":
			r.Type, r.Link, r.Mode = images.Symlink, e.link, 0o777
		case e.mode == 0:
			r.Mode = 0o644
		}
		if err := w.Add(r, strings.NewReader(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := w.Commit(by)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func put(t testing.TB, s *images.Store, config ocispec.ImageConfig, annotations map[string]string, layers ...images.Layer) images.Digest {
	t.Helper()
	c := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, Config: config}
	d, err := s.Put(context.Background(), images.Image{Config: c, Layers: layers, Annotations: annotations}, "")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func compare(t testing.TB, s *images.Store, a, b images.Digest) diff.Result {
	t.Helper()
	r, err := diff.Compare(context.Background(), s, a, b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const statusA = `Package: hello
Status: install ok installed
Architecture: amd64
Version: 2.9-1

Package: libold1
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 1:1.0

Package: purged
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: same
Status: install ok installed
Architecture: all
Version: 3
`

const statusB = `Package: hello
Status: install ok installed
Architecture: amd64
Version: 2.10-1

Package: newer
Status: install ok installed
Architecture: all
Version: 0.1

Package: same
Status: install ok installed
Architecture: all
Version: 3
`

// TestCompare holds everything that a comparison says against a golden file.
func TestCompare(t *testing.T) {
	s := newStore(t)
	base := layer(t, s, "base", entry{path: "bin", link: "usr/bin"}, entry{path: "etc/", uid: 0}, entry{path: "etc/shadow", content: "x", mode: 0o640},
		entry{path: "usr/"}, entry{path: "usr/bin/"}, entry{path: "usr/bin/same", content: "same"})
	a := put(t, s, ocispec.ImageConfig{Env: []string{"A=1", "B=2"}, User: "www", Labels: map[string]string{"v": "1"}, Cmd: []string{"/a", "b c"}},
		map[string]string{images.AnnotationServices: `{"web":{"cmd":["/web"]}}`, images.AnnotationExtensions: `[{"name":"seo","version":"1.0"},{"name":"old","version":"3"}]`},
		base, layer(t, s, "packages", entry{path: "usr/bin/hello", content: "hello 2.9", mode: 0o755}, entry{path: "usr/lib/"}, entry{path: "usr/lib/libold.so.1", content: "old"},
			entry{path: "var/lib/dpkg/info/hello.list", content: "/.\n/bin\n/bin/hello\n"},
			entry{path: "var/lib/dpkg/info/libold1:amd64.list", content: "/.\n/usr/lib/libold.so.1\n"},
			entry{path: "var/lib/dpkg/status", content: statusA}))
	b := put(t, s, ocispec.ImageConfig{Env: []string{"A=1", "B=3", "C="}, Labels: map[string]string{"v": "1"}, Cmd: []string{"/a"}, WorkingDir: "/srv"},
		map[string]string{images.AnnotationServices: `{"web":{"cmd":["/web","-v"]},"worker":{"cmd":["/w"]}}`, images.AnnotationExtensions: `[{"name":"seo","version":"1.1"}]`, images.AnnotationPorts: "80"},
		base, layer(t, s, "packages", entry{path: "usr/bin/hello", content: "hello 2.10!", mode: 0o755}, entry{path: "usr/share/newer/", mode: 0o700}, entry{path: "usr/share/newer/data", content: "data"},
			entry{path: "var/lib/dpkg/info/hello.list", content: "/.\n/bin\n/bin/hello\n"},
			entry{path: "var/lib/dpkg/info/newer.list", content: "/.\n/usr/share/newer\n/usr/share/newer/data\n"},
			entry{path: "var/lib/dpkg/status", content: statusB}),
		layer(t, s, "copy", entry{path: "etc/", uid: 5}, entry{path: "etc/shadow", content: "x", mode: 0o644}, entry{path: "usr/bin/same", link: "hello"}))
	got, err := json.MarshalIndent(compare(t, s, a, b), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "compare.json")
	if *update {
		if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)+"\n"); d != "" {
		t.Errorf("the comparison (-want +got, go test ./images/diff -update):\n%s", d)
	}
}

// TestPackagesByName has a package before those whose names only begin like it.
func TestPackagesByName(t *testing.T) {
	s := newStore(t)
	with := func(status string) images.Digest {
		return put(t, s, ocispec.ImageConfig{}, nil, layer(t, s, "x", entry{path: "var/lib/dpkg/status", content: status}))
	}
	var all string
	for _, name := range []string{"apache2-bin", "apache2.1", "apache2", "zlib1g"} {
		all += "Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
	}
	var names []string
	for _, p := range compare(t, s, with(""), with(all)).Packages {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "apache2 apache2-bin apache2.1 zlib1g" {
		t.Errorf("packages in the order %s", got)
	}
}

// TestTurned compares both ways: what one way adds, the other removes.
func TestTurned(t *testing.T) {
	s := newStore(t)
	a := put(t, s, ocispec.ImageConfig{User: "a"}, nil, layer(t, s, "", entry{path: "both", content: "1"}, entry{path: "gone/"}, entry{path: "gone/in", content: "22"},
		entry{path: "var/lib/dpkg/status.d/p", content: "Package: p\nArchitecture: all\nVersion: 2\n"}))
	b := put(t, s, ocispec.ImageConfig{}, nil, layer(t, s, "", entry{path: "both", content: "2"},
		entry{path: "var/lib/dpkg/status.d/p", content: "Package: p\nArchitecture: all\nVersion: 1\n"}))
	there, back := compare(t, s, a, b), compare(t, s, b, a)
	if there.Summary.Files.Removed != 2 || back.Summary.Files.Added != 2 || there.Summary.FileBytes != -back.Summary.FileBytes {
		t.Errorf("there %+v, back %+v", there.Summary, back.Summary)
	}
	if len(there.Packages) != 1 || there.Packages[0].Change != diff.Downgraded || back.Packages[0].Change != diff.Upgraded {
		t.Errorf("packages: %+v and %+v", there.Packages, back.Packages)
	}
	same := compare(t, s, a, a)
	if !same.Same || same.Summary.OwnBytesB != 0 || same.Files == nil || there.Same {
		t.Errorf("an image and itself: %+v", same)
	}
}

func TestBadRecords(t *testing.T) {
	s := newStore(t)
	good := put(t, s, ocispec.ImageConfig{}, nil, layer(t, s, "", entry{path: "a", content: "1"}))
	for name, bad := range map[string]images.Digest{
		"annotation": put(t, s, ocispec.ImageConfig{}, map[string]string{images.AnnotationExtensions: "[{"}),
		"status":     put(t, s, ocispec.ImageConfig{}, nil, layer(t, s, "", entry{path: "var/lib/dpkg/status", content: "no paragraph"})),
	} {
		if _, err := diff.Compare(context.Background(), s, good, bad); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), bad.Short()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := diff.Compare(context.Background(), s, good, images.DigestOf([]byte("nothing"))); !fault.Is(err, fault.NotFound) {
		t.Errorf("no such image: %v", err)
	}
}
