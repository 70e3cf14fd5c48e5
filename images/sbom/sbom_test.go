package sbom

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // SPDX wants it
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bootandshoot/release/images"
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

type entry struct {
	path, content string
	mode          uint32
	link          string
}

// layer writes entries, given in any order, and the folders above them.
func layer(t testing.TB, s *images.Store, entries ...entry) images.Layer {
	t.Helper()
	all := map[string]entry{}
	for _, e := range entries {
		for dir := filepath.Dir(e.path); dir != "."; dir = filepath.Dir(dir) {
			if _, ok := all[dir]; !ok {
				all[dir] = entry{path: dir, mode: 0o40755}
			}
		}
		all[e.path] = e
	}
	w, err := s.NewLayer(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		e := all[name]
		r := images.Entry{Path: e.path, Mode: 0o644, Size: int64(len(e.content))}
		switch {
		case e.mode == 0o40755:
			r.Type, r.Mode, r.Size = images.Dir, 0o755, 0
		case e.link != "":
			r.Type, r.Link, r.Mode = images.Symlink, e.link, 0o777
		case e.mode != 0:
			r.Mode = e.mode
		}
		if err := w.Add(r, strings.NewReader(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := w.Commit("layer")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func image(t testing.TB, s *images.Store, layers ...images.Layer) images.Digest {
	t.Helper()
	created := time.Unix(1_700_000_000, 0)
	img := images.Image{Layers: layers, Config: ocispec.Image{Created: &created, Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}}}
	d, err := s.Put(t.Context(), img, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func read(t testing.TB, s *images.Store, d images.Digest, in Inputs) *Document {
	t.Helper()
	doc, err := Read(t.Context(), s, d, in)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

const status = `Package: libc6
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Source: glibc
Version: 2.36-9+deb12u10
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Homepage: https://www.gnu.org/software/libc/libc.html
Description: GNU C Library

Package: coreutils
Status: install ok installed
Architecture: amd64
Version: 1:9.1-1
Maintainer: Michael Stone <mstone@debian.org>

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1.0

Package: python3-yaml
Status: install ok installed
Architecture: all
Source: pyyaml (6.0-3)
Version: 6.0-3+b2
`

const dep5 = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-3+

Files: lib/*
License: Expat

License: GPL-3+
 text
`

// debianLike is a small system with all kinds of things in it.
func debianLike(t testing.TB, s *images.Store) images.Digest {
	base := layer(t, s,
		entry{path: "etc/os-release", link: "../usr/lib/os-release"},
		entry{path: "usr/lib/os-release", content: "ID=debian\nVERSION_ID=\"12\"\n"},
		entry{path: "bin", link: "usr/bin"},
		entry{path: "usr/bin/ls", content: "ls", mode: 0o755},
		entry{path: "usr/lib/libc.so.6", content: "libc", mode: 0o755},
		entry{path: "usr/share/doc/coreutils/copyright", content: dep5},
		entry{path: "usr/share/doc/libc6/copyright", content: "This is the GNU C library.\n"},
		entry{path: "usr/lib/python3/dist-packages/PyYAML-6.0.egg-info/PKG-INFO", content: "Metadata-Version: 2.1\nName: PyYAML\nVersion: 6.0\n"},
		entry{path: "var/lib/dpkg/status", content: status},
		entry{path: "var/lib/dpkg/info/coreutils.list", content: "/.\n/bin\n/bin/ls\n/usr/share/doc/coreutils/copyright\n"},
		entry{path: "var/lib/dpkg/info/libc6:amd64.list", content: "/.\n/usr/lib/libc.so.6\n/usr/share/doc/libc6/copyright\n/usr/lib/os-release\n"},
		entry{path: "var/lib/dpkg/info/python3-yaml.list", content: "/usr/lib/python3/dist-packages/PyYAML-6.0.egg-info/PKG-INFO\n"},
	)
	app := layer(t, s,
		entry{path: "etc/shop.conf", content: "port=80\n"},
		entry{path: "srv/app/node_modules/left-pad/package.json", content: `{"name":"left-pad","version":"1.3.0"}`},
		entry{path: "srv/app/node_modules/@scope/x/package.json", content: `{"name":"@scope/x","version":"2.0.0"}`},
		entry{path: "srv/app/package.json", content: `{"name":"app","version":"0.0.1"}`},
		entry{path: "srv/venv/lib/Flask_Thing-1.2.dist-info/METADATA", content: "Metadata-Version: 2.1\nName: Flask_Thing\nVersion: 1.2\n\nText: no\n"},
		entry{path: "usr/bin/odd", content: "\x7fELF but no more", mode: 0o755},
	)
	return image(t, s, base, app)
}

var inputs = Inputs{
	Name:       "shop",
	Fetches:    []Fetch{{URL: "https://ann:hunter2@example.org/x.tar.gz?token=hunter2", SHA256: strings.Repeat("ab", 32), To: "/opt/x"}},
	Git:        []Git{{URL: "https://example.org/app.git", Ref: "v1.2.3", Commit: strings.Repeat("12", 20), To: "/srv/app"}},
	Extensions: []Extension{{Name: "seo", Version: "3.1", Source: "https://example.org/seo.zip", SHA256: strings.Repeat("cd", 32), Path: "/srv/plugins/seo"}},
}

func TestDocumentListsWhatIsThere(t *testing.T) {
	s := newStore(t)
	doc := read(t, s, debianLike(t, s), inputs)
	var got []string
	for _, c := range doc.Components {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", c.Kind, c.Name, c.Version, c.PURL, c.License)))
	}
	for _, f := range doc.Files {
		got = append(got, "file "+f.Path)
	}
	want := []string{
		"deb coreutils 1:9.1-1 pkg:deb/debian/coreutils@1%3A9.1-1?arch=amd64&distro=debian-12 GPL-3.0-or-later AND MIT",
		"deb libc6 2.36-9+deb12u10 pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12",
		"deb python3-yaml 6.0-3+b2 pkg:deb/debian/python3-yaml@6.0-3%2Bb2?arch=all&distro=debian-12",
		"extension seo 3.1",
		"download x.tar.gz", "git app v1.2.3", "os debian 12",
		"npm @scope/x 2.0.0 pkg:npm/%40scope/x@2.0.0", "npm left-pad 1.3.0 pkg:npm/left-pad@1.3.0",
		"pypi Flask_Thing 1.2 pkg:pypi/flask-thing@1.2",
		"file /etc/shop.conf", "file /srv/app/node_modules/@scope/x/package.json", "file /srv/app/node_modules/left-pad/package.json",
		"file /srv/app/package.json", "file /srv/venv/lib/Flask_Thing-1.2.dist-info/METADATA", "file /usr/bin/odd",
	}
	slices.Sort(want)
	slices.Sort(got)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, c := range doc.Components {
		if c.Name == "libc6" && (c.Source != "glibc 2.36-9+deb12u10") || c.Name == "python3-yaml" && c.Source != "pyyaml 6.0-3" {
			t.Errorf("%s is built from %q", c.Name, c.Source)
		}
		if strings.Contains(fmt.Sprint(c), "hunter2") {
			t.Errorf("a password is in %+v", c)
		}
	}
	if f := doc.Files[0]; f.SHA256 != images.DigestOf([]byte("port=80\n")).Hex() || f.SHA1 != sha1Of("port=80\n") {
		t.Errorf("%+v", f)
	}
}

func sha1Of(text string) string {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // SPDX wants it
	return hex.EncodeToString(sum[:])
}

// schema compiles an official schema of testdata.
func schema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	for _, file := range []string{"spdx-2.3", "bom-1.6", "jsf-0.82", "spdx"} {
		f, err := os.Open(filepath.Join("testdata", "schema", file+".schema.json"))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(f)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+file+".schema.json", doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("http://cyclonedx.org/schema/" + name + ".schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, name string, data []byte) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema(t, name).Validate(doc); err != nil {
		t.Errorf("%s: %v\n%s", name, err, data)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(want, pretty.Bytes()) {
		t.Errorf("%s is not what is written now (%v); see with: go test ./images/sbom -update; git diff", path, err)
	}
}

func formats(t testing.TB, doc *Document) (spdx, cyclonedx []byte) {
	t.Helper()
	spdx, err := doc.SPDX()
	if err != nil {
		t.Fatal(err)
	}
	if cyclonedx, err = doc.CycloneDX(); err != nil {
		t.Fatal(err)
	}
	return spdx, cyclonedx
}

func TestFormatsFitTheOfficialSchemas(t *testing.T) {
	s := newStore(t)
	spdx, cyclonedx := formats(t, read(t, s, debianLike(t, s), inputs))
	valid(t, "spdx-2.3", spdx)
	valid(t, "bom-1.6", cyclonedx)
	golden(t, "debian.spdx.json", spdx)
	golden(t, "debian.cdx.json", cyclonedx)
	var doc spdxDocument
	if err := json.Unmarshal(spdx, &doc); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{spdxDocID: true}
	for _, p := range doc.Packages {
		ids[p.ID] = true
	}
	for _, f := range doc.Files {
		ids[f.ID] = true
	}
	if len(ids) != 1+len(doc.Packages)+len(doc.Files) {
		t.Error("two elements have the same SPDXID")
	}
	for _, r := range doc.Relationships {
		if !ids[r.From] || !ids[r.To] {
			t.Errorf("%+v names an element that is not there", r)
		}
	}
}

func TestSameImageSameBytes(t *testing.T) {
	a, b := newStore(t), newStore(t)
	spdxA, cdxA := formats(t, read(t, a, debianLike(t, a), inputs))
	other := inputs
	other.Fetches = slices.Clone(inputs.Fetches)
	d := debianLike(t, b)
	read(t, b, d, Inputs{}) // fills the cache
	spdxB, cdxB := formats(t, read(t, b, d, other))
	if !bytes.Equal(spdxA, spdxB) || !bytes.Equal(cdxA, cdxB) {
		t.Error("two stores gave different documents for one image")
	}
	spdxC, cdxC := formats(t, read(t, b, d, Inputs{}))
	var x, y spdxDocument
	if json.Unmarshal(spdxA, &x) != nil || json.Unmarshal(spdxC, &y) != nil || x.Namespace == y.Namespace || bytes.Equal(cdxA, cdxC) {
		t.Error("documents of different inputs share a name")
	}
}

func TestCacheThatIsDamagedIsMadeAgain(t *testing.T) {
	s := newStore(t)
	d := debianLike(t, s)
	want, _ := formats(t, read(t, s, d, inputs))
	caches, err := filepath.Glob(filepath.Join(s.Dir(), "cache", "sbom", "*", "*"))
	if err != nil || len(caches) != 2 {
		t.Fatalf("%v %v", caches, err)
	}
	for _, text := range []string{"", "{}\n", `{"schema":1,"lists":{"sha256:x":[5,900]}}` + "\nabc", "torn"} {
		for _, path := range caches {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, _ := formats(t, read(t, s, d, inputs)); !bytes.Equal(got, want) {
			t.Errorf("with the cache %q the document differs", text)
		}
	}
}

// What the Go tool says of a program is what is found in it.
func TestGoPrograms(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "./testdata/program").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	own, err := buildinfo.ReadFile(binary)
	if err != nil || len(own.Deps) == 0 {
		t.Fatalf("the program knows nothing of its modules: %v", err)
	}
	s := newStore(t)
	doc := read(t, s, image(t, s, layer(t, s, entry{path: "app", content: string(content), mode: 0o755})), Inputs{})
	found := map[string]string{}
	for _, c := range doc.Components {
		if c.Kind != Go || !slices.Equal(c.Paths, []string{"/app"}) {
			t.Errorf("found %+v", c)
		}
		found[c.Name] = c.PURL
	}
	for _, d := range own.Deps {
		if want := "@" + escape(d.Version); !strings.HasSuffix(found[d.Path], want) {
			t.Errorf("%s %s is %q", d.Path, d.Version, found[d.Path])
		}
	}
	if want := "pkg:golang/stdlib@" + strings.TrimPrefix(strings.Fields(own.GoVersion)[0], "go"); found["stdlib"] != want {
		t.Errorf("stdlib is %q, want %q", found["stdlib"], want)
	}
	spdx, cyclonedx := formats(t, doc)
	valid(t, "spdx-2.3", spdx)
	valid(t, "bom-1.6", cyclonedx)
}

// What this machine's own dpkg says is what is read out of its records.
func TestAgainstDpkg(t *testing.T) {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\n").Output()
	if err != nil {
		t.Fatalf("this test compares with a Debian system's dpkg (a Debian container will do): %v", err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 6 && f[0] == "installed" {
			want[f[1]+" "+f[2]+" "+f[3]] = f[4] + " " + f[5]
		}
	}
	var entries []entry
	for _, pattern := range []string{"/usr/lib/os-release", "/var/lib/dpkg/status", "/var/lib/dpkg/info/*.list", "/usr/share/doc/*/copyright"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if data, err := os.ReadFile(p); err == nil {
				entries = append(entries, entry{path: strings.TrimPrefix(p, "/"), content: string(data)})
			}
		}
	}
	s := newStore(t)
	doc := read(t, s, image(t, s, layer(t, s, entries...)), Inputs{})
	licensed, packages := 0, 0
	for _, c := range doc.Components {
		if c.Kind != Debian {
			continue
		}
		packages++
		arch := c.PURL[strings.Index(c.PURL, "?arch=")+6 : strings.Index(c.PURL, "&")]
		if key := c.Name + " " + c.Version + " " + arch; want[key] != c.Source {
			t.Errorf("%s is built from %q, dpkg says %q", key, c.Source, want[key])
		}
		if c.License != "" {
			licensed++
		}
	}
	if packages != len(want) {
		t.Errorf("found %d packages, dpkg has %d", packages, len(want))
	}
	if licensed == 0 {
		t.Error("no licence could be read")
	}
	t.Logf("%d packages, licence known of %d, %d files of nobody", packages, licensed, len(doc.Files))
	spdx, cyclonedx := formats(t, doc)
	valid(t, "spdx-2.3", spdx)
	valid(t, "bom-1.6", cyclonedx)
}

func TestLicenseLines(t *testing.T) {
	for line, want := range map[string]string{
		"GPL-2+": "GPL-2.0-or-later", "Expat or GPL-2+": "(MIT OR GPL-2.0-or-later)", "Expat, and BSD-3-clause": "MIT AND BSD-3-Clause",
		"Expat and ISC": "MIT AND ISC", "GPL-2+ with OpenSSL-exception": "", "custom": "", "and": "", "Expat or": "", "Expat ISC": "",
		"Expat and ISC or Zlib": "", "": "",
	} {
		if got := translate(licenses(), line); got != want {
			t.Errorf("%q is %q, want %q", line, got, want)
		}
	}
}

func TestPublicURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://ann:pw@example.org/x?token=1#y": "https://example.org/x", "git@example.org:a/b.git": "example.org:a/b.git",
		"ssh://git@example.org/a": "ssh://example.org/a", "./local": "./local", "https://example.org/a": "https://example.org/a",
	} {
		if got := PublicURL(in); got != want {
			t.Errorf("%s became %s", in, got)
		}
	}
}

func FuzzBuildInfo(f *testing.F) {
	f.Add([]byte("\x7fELF but no more"))
	if self, err := os.Executable(); err == nil {
		if data, err := os.ReadFile(self); err == nil {
			f.Add(data[:min(len(data), 4096)])
		}
	}
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = readBuildInfo(bytes.NewReader(data)) })
}

func FuzzFacts(f *testing.F) {
	f.Add([]byte(`{"schema":1,"lists":{"sha256:x":[0,2]}}` + "\nabc"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if l, ok := decodeFacts(data); ok {
			for _, at := range l.Lists {
				_ = l.text[at[0]:at[1]]
			}
		}
	})
}

// The warm case is what a bake pays when one file of an app changed on top of a large base.
func BenchmarkOneFileChanged(b *testing.B) {
	s := newStore(b)
	var entries []entry
	var list strings.Builder
	for i := range 9000 {
		path := fmt.Sprintf("usr/share/d%d/f%d", i/50, i)
		entries = append(entries, entry{path: path, content: path})
		fmt.Fprintf(&list, "/%s\n", path)
	}
	entries = append(entries, entry{path: "var/lib/dpkg/status", content: status}, entry{path: "var/lib/dpkg/info/coreutils.list", content: list.String()})
	base := layer(b, s, entries...)
	i := 0
	for b.Loop() {
		b.StopTimer()
		i++
		d := image(b, s, base, layer(b, s, entry{path: "app", content: fmt.Sprint(i) + strings.Repeat("x", 6<<20), mode: 0o755}))
		b.StartTimer()
		formats(b, read(b, s, d, inputs))
	}
}

// fileNames lists the files that nobody owns.
func fileNames(doc *Document) string {
	var list []string
	for _, f := range doc.Files {
		list = append(list, f.Path)
	}
	return strings.Join(list, " ")
}

// A file in the place of a package's is nobody's.
func TestReplacedFilesOfPackages(t *testing.T) {
	s := newStore(t)
	by := func(l images.Layer, createdBy string) images.Layer {
		l.CreatedBy = createdBy
		return l
	}
	files := layer(t, s, entry{path: "bin", link: "usr/bin"}, entry{path: "usr/bin/ls", content: "ls", mode: 0o755},
		entry{path: "usr/bin/dir", content: "dir", mode: 0o755}, entry{path: "etc/ls.conf", content: "x"})
	records := []entry{{path: "var/lib/dpkg/status", content: status},
		{path: "var/lib/dpkg/info/coreutils.list", content: "/bin/ls\n/usr/bin/dir\n/etc/ls.conf\n/usr/lib/p/METADATA\n"}}
	configured := layer(t, s, append(records, entry{path: "etc/ls.conf", content: "changed"})...)
	both := layer(t, s, append(records, entry{path: "bin", link: "usr/bin"}, entry{path: "usr/bin/ls", content: "ls"},
		entry{path: "usr/bin/dir", content: "dir"}, entry{path: "etc/ls.conf", content: "x"})...)
	replaced := layer(t, s, entry{path: "usr/bin/ls", content: "another", mode: 0o755})
	folder := layer(t, s, entry{path: "srv/ls", content: "another"}, entry{path: "bin", link: "srv"})
	again := layer(t, s, append(records, entry{path: "usr/bin/dir", content: "newer"})...)
	const packages, scripts, step = "debian: coreutils", "debian: configure packages", "run: cp x /usr/bin/ls"
	for name, c := range map[string]struct {
		layers []images.Layer
		want   string
	}{
		"ours":                  {[]images.Layer{by(files, packages), by(configured, scripts)}, "/etc/ls.conf"},
		"ours, replaced":        {[]images.Layer{by(files, packages), by(configured, scripts), by(replaced, step)}, "/etc/ls.conf /usr/bin/ls"},
		"ours, another folder":  {[]images.Layer{by(files, packages), by(configured, scripts), by(folder, step)}, "/etc/ls.conf /srv/ls /usr/bin/ls"},
		"ours, installed later": {[]images.Layer{by(files, packages), by(configured, scripts), by(again, step)}, "/etc/ls.conf /usr/bin/ls"},
		"another's":             {[]images.Layer{by(both, "#(nop) ADD file")}, ""},
		"another's, replaced":   {[]images.Layer{by(both, "#(nop) ADD file"), by(replaced, step)}, "/usr/bin/ls"},
	} {
		if got := fileNames(read(t, s, image(t, s, c.layers...), Inputs{})); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
