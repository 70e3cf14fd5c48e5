package builder_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

func zipOf(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "/") {
			_, _ = f.Write([]byte(name))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func xzOf(t *testing.T, data []byte) []byte {
	t.Helper()
	cmd := exec.Command("xz", "-9")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("this test needs xz (apt-get install xz-utils): %v", err)
	}
	return out
}

func TestFetchUnpacksXz(t *testing.T) {
	p, s := newProject(t), newServer(t)
	packed := xzOf(t, tarOf(t, archived...))
	s.files["/x"] = packed
	recipe := fmt.Sprintf("base: scratch\nfetch: [{url: \"%s/x\", unpack: /opt/x}]\n", s.URL)
	if got := p.steps(p.bake(recipe)); !strings.Contains(got, "opt/x/a/deep/file = 12345") {
		t.Errorf("layer: %s", got)
	}
	p, s.files["/x"] = newProject(t), packed[:len(packed)/2]
	if _, err := p.try(recipe); !fault.Is(err, fault.Failed) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("half an archive: %v", err)
	}
}

func TestExtensions(t *testing.T) {
	p, s := newProject(t), newServer(t)
	dir, git := repo(t)
	commit := git("rev-parse", "HEAD")
	s.files["/seo.zip"] = zipOf(t, "seo/", "seo/main.php", "seo/lang/de.po")
	s.files["/theme.tar.gz"] = gzipped(t, tarOf(t, tar.Header{Name: "theme-2/", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "theme-2/style.css", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5},
		tar.Header{Name: "theme-2/hard", Typeflag: tar.TypeLink, Linkname: "theme-2/style.css"}))
	recipe := fmt.Sprintf(`
base: scratch
extensions:
  - {name: seo, version: "1.2", source: "%s/seo.zip", sha256: %s, path: /srv/plugins, owner: "33:33"}
  - {name: theme, version: "2", source: "%s/theme.tar.gz", path: /srv/theme, strip: 1}
  - {name: tool, version: v1, source: "file://%s", ref: v1, path: /srv/tool, owner: "5:6"}
`, s.URL, sumOf(s.files["/seo.zip"]), s.URL, dir)
	res := p.bake(recipe)
	want(t, "layers", p.steps(res), `
# extension seo 1.2
d 0755 0:0 srv/
d 0755 33:33 srv/plugins/
d 0755 33:33 srv/plugins/seo/
d 0755 33:33 srv/plugins/seo/lang/
f 0644 33:33 srv/plugins/seo/lang/de.po = seo/lang/de.po
f 0644 33:33 srv/plugins/seo/main.php = seo/main.php
# extension theme 2
d 0755 0:0 srv/
d 0755 0:0 srv/theme/
f 0644 0:0 srv/theme/hard = 12345
h 0644 0:0 srv/theme/style.css -> srv/theme/hard
# extension tool v1
d 0755 0:0 srv/
d 0755 5:6 srv/tool/
f 0644 5:6 srv/tool/.gitattributes = *.txt text eol=lf|run.sh export-ignore
d 0755 5:6 srv/tool/lib/
f 0644 5:6 srv/tool/lib/a.txt = a
l 0777 5:6 srv/tool/link -> lib/a.txt
f 0755 5:6 srv/tool/run.sh = #!/bin/sh
`)
	img, err := p.store.Get(res.Image)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "annotation", img.Annotations[images.AnnotationExtensions], fmt.Sprintf(
		`[{"name":"seo","version":"1.2","source":"%s/seo.zip","sha256":"%s","path":"/srv/plugins"},{"name":"theme","version":"2","source":"%s/theme.tar.gz","sha256":"%s","path":"/srv/theme"},`+
			`{"name":"tool","version":"v1","source":"file://%s","commit":"%s","path":"/srv/tool"}]`, s.URL, sumOf(s.files["/seo.zip"]), s.URL, sumOf(s.files["/theme.tar.gz"]), dir, commit))
	lock, err := recipes.LoadLock(filepath.Join(p.dir, "app.yaml.lock"))
	if err != nil || len(lock.Extensions) != 3 || lock.Extension("tool").Commit != commit || lock.Extension("theme").SHA256 != sumOf(s.files["/theme.tar.gz"]) || len(lock.Fetch)+len(lock.Git) > 0 {
		t.Errorf("lockfile: %+v %v", lock, err)
	}
	requests := s.requests.Load()
	for _, change := range []func(*builder.Options){func(o *builder.Options) { o.Locked = true }, func(o *builder.Options) { o.Offline, o.NoCache = true, true }, func(*builder.Options) {}} {
		if again := p.bake(recipe, change); again.Image != res.Image || again.LockChanged {
			t.Errorf("another image: %+v", again)
		}
	}
	if n := s.requests.Load(); n != requests {
		t.Errorf("%d requests for bakes that need none", n-requests)
	}
	p.extensionsChange(s, recipe)
}

// extensionsChange changes what the recipe says of its extensions.
func (p *project) extensionsChange(s *server, recipe string) {
	t := p.t
	_, err := p.try(strings.Replace(recipe, `"1.2"`, `"1.3"`, 1))
	e := fault.All(err)[0]
	if e.Code != fault.Invalid || e.Line != 4 || !strings.Contains(e.Message, "extension seo 1.3: its version is 1.3 now, but source still says what 1.2 was") || !strings.Contains(e.Hint, "lock --update seo") {
		t.Errorf("version alone: %+v", e)
	}
	_, err = p.try(strings.Replace(recipe, "version: v1", "version: v2", 1), func(o *builder.Options) { o.Locked = true })
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "the recipe says version v2, the lockfile v1") {
		t.Errorf("another version and --locked: %v", err)
	}
	was := s.files["/theme.tar.gz"]
	s.files["/theme.tar.gz"] = zipOf(t, "theme/evil.css")
	_, err = p.try(recipe, func(o *builder.Options) { o.Store = newStore(t, t.TempDir()) })
	if e := fault.All(err); len(e) != 1 || !strings.Contains(e[0].Message, "the lockfile says "+sumOf(was)) || !strings.Contains(e[0].Hint, "release lock --update theme") {
		t.Errorf("another archive at the same address: %v", err)
	}
	s.files["/theme.tar.gz"] = was
	s.files["/seo-1.3.zip"] = zipOf(t, "seo/main.php")
	_, err = p.try(strings.NewReplacer(`"1.2"`, `"1.3"`, "seo.zip", "seo-1.3.zip").Replace(recipe))
	if !fault.Is(err, fault.Failed) || !strings.Contains(err.Error(), "extension seo 1.3: download") || !strings.Contains(err.Error(), sumOf(s.files["/seo-1.3.zip"])) {
		t.Errorf("sha256 of another file: %v", err)
	}
	next := strings.NewReplacer(`"1.2"`, `"1.3"`, "seo.zip", "seo-1.3.zip", sumOf(s.files["/seo.zip"]), sumOf(s.files["/seo-1.3.zip"])).Replace(recipe)
	if res := p.bake(next); !res.LockChanged || cachedSteps(res) != "-cc" {
		t.Errorf("a newer version: %+v", res)
	}
}

func TestExtensionsOfTheBase(t *testing.T) {
	p, s := newProject(t), newServer(t)
	s.files["/a.zip"], s.files["/b.zip"] = zipOf(t, "a"), zipOf(t, "b")
	res := p.bake(fmt.Sprintf("base: scratch\nextensions: [{name: a, version: \"1\", source: \"%s/a.zip\", path: /a}, {name: b, version: \"1\", source: \"%s/b.zip\", path: /b}]\n", s.URL, s.URL))
	if err := p.store.ExportOCI(t.Context(), res.Image, filepath.Join(p.dir, "under")); err != nil {
		t.Fatal(err)
	}
	res = p.bake(fmt.Sprintf("base: {image: ./under}\nextensions: [{name: a, version: \"2\", source: \"%s/b.zip\", path: /a}]\n", s.URL))
	img, err := p.store.Get(res.Image)
	if got := img.Annotations[images.AnnotationExtensions]; err != nil || !strings.HasPrefix(got, `[{"name":"b","version":"1"`) || strings.Count(got, `"name":"a"`) != 1 || !strings.Contains(got, `"version":"2"`) {
		t.Errorf("annotation: %s %v", got, err)
	}
}

func TestExtensionRefusesHostileArchives(t *testing.T) {
	link := func(name, target string) []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		h := &zip.FileHeader{Name: name}
		h.SetMode(0o777 | 1<<27) // fs.ModeSymlink
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.Write([]byte(target))
		below, err := w.Create(name + "/passwd")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = below.Write([]byte("x"))
		_ = w.Close()
		return b.Bytes()
	}
	for problem, c := range map[string]struct {
		data  []byte
		strip int
	}{
		"leads upward":                   {zipOf(t, "../../etc/passwd"), 0},
		"which is no folder":             {link("etc", "/etc"), 0},
		"than":                           {bomb(t), 0},
		"damaged":                        {short(t), 0},
		"it is empty":                    {[]byte{}, 0},
		"out of proportion":              {zeros(t, 512<<20), 0},
		"nothing is left of the archive": {zipOf(t, "a/b"), 3},
		"two entries":                    {zipOf(t, "a/x", "b/x"), 1},
		"leaves out":                     {tarOf(t, tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: 5}, tar.Header{Name: "a/hard", Typeflag: tar.TypeLink, Linkname: "x"}), 1},
	} {
		t.Run(problem, func(t *testing.T) {
			p, s := newProject(t), newServer(t)
			s.files["/x"] = c.data
			_, err := p.try(fmt.Sprintf("base: scratch\nextensions: [{name: bad, version: \"1\", source: \"%s/x\", path: /x, strip: %d}]\n", s.URL, c.strip))
			code := fault.Failed // the archive's fault; strip is the recipe's
			if c.strip > 0 {
				code = fault.Invalid
			}
			if !fault.Is(err, code) || !strings.Contains(err.Error(), "extension bad 1: ") || !strings.Contains(err.Error(), problem) {
				t.Errorf("error is %s %v", fault.CodeOf(err), err)
			}
			p.nothingLeft()
		})
	}
}

// bomb is a zip whose only entry claims to be larger than what may be unpacked.
func bomb(t *testing.T) []byte {
	data := zipOf(t, "big")
	at := bytes.LastIndex(data, []byte("PK\x01\x02"))
	// The size of 4 bytes says to look at the extra field (APPNOTE.TXT, 4.5.3): name length 3, extra length 12.
	extra := binary.LittleEndian.AppendUint64([]byte{1, 0, 8, 0}, 40<<30)
	head := append([]byte{}, data[at:at+46+3]...)
	copy(head[24:], []byte{0xff, 0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint16(head[30:], uint16(len(extra)))
	end := append([]byte{}, data[bytes.LastIndex(data, []byte("PK\x05\x06")):]...)
	binary.LittleEndian.PutUint32(end[12:], uint32(len(head)+len(extra)))
	return append(append(append(append([]byte{}, data[:at]...), head...), extra...), end...)
}

// zeros is an archive that compresses a thousand times.
func zeros(t *testing.T, size int64) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: size}); err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 1<<20); size > 0; size -= int64(len(block)) {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// short is a zip whose entry is longer than it claims.
func short(t *testing.T) []byte {
	data := zipOf(t, "a-long-name")
	at := bytes.LastIndex(data, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(data[at+24:], 3)
	return data
}
