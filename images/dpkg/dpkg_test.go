package dpkg

import (
	"bytes"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// filesOf is an image with these files.
func filesOf(t *testing.T, names ...string) *images.Files {
	t.Helper()
	s, err := images.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.NewLayer(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.Add(images.Entry{Path: name, Size: 1, Mode: 0o644}, bytes.NewReader([]byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	l, err := w.Commit("")
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Put(t.Context(), images.Image{Config: ocispec.Image{}, Layers: []images.Layer{l}}, "")
	if err != nil {
		t.Fatal(err)
	}
	files, err := s.Files(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestRecords(t *testing.T) {
	for _, c := range []struct{ files, want []string }{
		{[]string{"etc/x"}, nil},
		{[]string{"var/lib/dpkg/status", "var/lib/dpkg/status-old"}, []string{"var/lib/dpkg/status"}},
		{[]string{"var/lib/dpkg/status.d/base", "var/lib/dpkg/status.d/base.md5sums", "var/lib/dpkg/status.d/deep/er"}, []string{"var/lib/dpkg/status.d/base"}},
		{[]string{"var/lib/dpkg/status", "var/lib/dpkg/status.d/a"}, []string{"var/lib/dpkg/status", "var/lib/dpkg/status.d/a"}},
		{[]string{"var/lib/dpkg/status.d"}, nil}, // a file in the place of the folder
	} {
		list, err := Records(filesOf(t, c.files...))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range list {
			got = append(got, r.Name)
			if !IsRecord(r.Name) || r.File.Path != r.Name {
				t.Errorf("%s is no record", r.Name)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("of %v: %v", c.files, got)
		}
	}
}

func TestInstalled(t *testing.T) {
	const text = `Package: here
Status: install ok installed

Package: half
Status: install ok half-configured

Package: gone
Status: deinstall ok config-files

Package: never
Status: unknown ok not-installed

Package: none
`
	for name, want := range map[string][]string{
		"var/lib/dpkg/status":      {"here", "half"},
		"var/lib/dpkg/status.d/xy": {"here", "half", "gone", "never", "none"},
	} {
		list, err := Installed(name, text)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range list {
			got = append(got, p.Get("Package"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if _, err := Installed("var/lib/dpkg/status", "no field\n"); !fault.Is(err, fault.Invalid) {
		t.Errorf("nonsense: %v", err)
	}
}
