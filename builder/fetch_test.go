package builder_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// server serves files and counts requests.
type server struct {
	*httptest.Server
	files    map[string][]byte
	requests atomic.Int32
	ranges   atomic.Int32
	// handle, when set, answers instead; true means it did.
	handle func(w http.ResponseWriter, r *http.Request) bool
}

var modified = time.Date(2024, 3, 4, 5, 6, 7, 0, time.UTC)

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{files: map[string][]byte{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if r.Header.Get("Range") != "" {
			s.ranges.Add(1)
		}
		data, ok := s.files[r.URL.Path]
		switch {
		case s.handle != nil && s.handle(w, r):
		case !ok:
			http.NotFound(w, r)
		default:
			http.ServeContent(w, r, "", modified, bytes.NewReader(data))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestFetchPins(t *testing.T) {
	p, s := newProject(t), newServer(t)
	s.files["/tool"] = []byte("tool")
	recipe := fmt.Sprintf("base: scratch\nfetch: [{url: \"%s/tool\", to: /opt/tool, mode: \"0755\", owner: \"1:2\"}]\n", s.URL)
	res := p.bake(recipe)
	want(t, "layer", p.steps(res), fmt.Sprintf(`
# fetch %s/tool
d 0755 0:0 opt/
f 0755 1:2 opt/tool = tool
`, s.URL))
	if !res.LockChanged || res.Epoch != modified.Unix() {
		t.Errorf("lock changed %v, epoch %d", res.LockChanged, res.Epoch)
	}
	lock, err := recipes.LoadLock(filepath.Join(p.dir, "app.yaml.lock"))
	if err != nil || len(lock.Fetch) != 1 || lock.Fetch[0].SHA256 != sumOf([]byte("tool")) || lock.Fetch[0].Size != 4 {
		t.Fatalf("lockfile: %+v %v", lock, err)
	}
	if n := s.requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
	// The pin holds, and the verified download is enough.
	s.files["/tool"] = []byte("evil")
	for _, change := range []func(*builder.Options){
		func(o *builder.Options) {},
		func(o *builder.Options) { o.NoCache = true },
		func(o *builder.Options) { o.Offline, o.NoCache = true, true },
		func(o *builder.Options) { o.Locked = true },
	} {
		if again := p.bake(recipe, change); again.Image != res.Image {
			t.Errorf("another image: %+v", again)
		}
	}
	if n := s.requests.Load(); n != 1 {
		t.Errorf("%d requests after baking again", n)
	}
}

func TestFetchMismatch(t *testing.T) {
	p, s := newProject(t), newServer(t)
	s.files["/tool"] = []byte("evil")
	good := sumOf([]byte("tool"))
	_, err := p.try(fmt.Sprintf("base: scratch\nfetch: [{url: \"%s/tool\", to: /tool, sha256: %s}]\n", s.URL, good))
	if err == nil || !strings.Contains(err.Error(), good) || !strings.Contains(err.Error(), sumOf([]byte("evil"))) {
		t.Errorf("error lacks a hash: %v", err)
	}
	if e := fault.All(err)[0]; e.Line != 2 || e.Hint == "" {
		t.Errorf("error: %+v", e)
	}
}

func TestFetchRetriesAndContinues(t *testing.T) {
	p, s := newProject(t), newServer(t)
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	s.files["/big"] = data
	s.handle = func(w http.ResponseWriter, r *http.Request) bool {
		switch s.requests.Load() {
		case 1:
			http.Error(w, "later", http.StatusServiceUnavailable)
		case 2: // the connection breaks in the middle
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Header().Set("ETag", `"one"`)
			_, _ = w.Write(data[:500_000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		default:
			w.Header().Set("ETag", `"one"`)
			return false
		}
		return true
	}
	res := p.bake(fmt.Sprintf("base: scratch\nfetch: [{url: \"%s/big\", to: /big}]\n", s.URL))
	if s.ranges.Load() != 1 || s.requests.Load() != 3 {
		t.Errorf("%d requests, %d for a part", s.requests.Load(), s.ranges.Load())
	}
	if got := p.steps(res); !strings.Contains(got, "big [1000000]") {
		t.Errorf("layer: %s", got)
	}
}

func TestFetchOffline(t *testing.T) {
	p, s := newProject(t), newServer(t)
	_, err := p.try(fmt.Sprintf("base: scratch\nfetch: [{url: \"%s/x\", to: /x}]\n", s.URL), func(o *builder.Options) { o.Offline = true })
	if !fault.Is(err, fault.Unavailable) || s.requests.Load() > 0 {
		t.Errorf("error %v after %d requests", err, s.requests.Load())
	}
}

// entries of the archives in these tests.
var archived = []tar.Header{
	{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700},
	{Name: "./z-first", Typeflag: tar.TypeReg, Mode: 0o755, Size: 5, Uid: 1000},
	{Name: "a/deep/file", Typeflag: tar.TypeReg, Mode: 0o640, Size: 5},
	{Name: "a/hard", Typeflag: tar.TypeLink, Linkname: "./z-first"},
	{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "../../etc/passwd"},
	{Name: "a/deep/file", Typeflag: tar.TypeReg, Mode: 0o600, Size: 5},
}

func tarOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("12345")[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFetchUnpacks(t *testing.T) {
	plain := tarOf(t, archived...)
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"tar": plain, "gzip": gzipped(t, plain), "zstd": encoder.EncodeAll(plain, nil)} {
		t.Run(name, func(t *testing.T) {
			p, s := newProject(t), newServer(t)
			s.files["/x"] = data
			res := p.bake(fmt.Sprintf("base: scratch\nfetch: [{url: \"%s/x\", to: /opt/x.tar, unpack: /opt/x}]\n", s.URL))
			got := p.steps(res)
			got = strings.Replace(got, fmt.Sprintf(" [%d]", len(data)), "", 1)
			_, got, _ = strings.Cut(got, "\n")
			want(t, "layer", withoutContent(got, "opt/x.tar"), `
d 0755 0:0 opt/
d 0755 0:0 opt/x/
f 0644 0:0 opt/x.tar
d 0755 0:0 opt/x/a/
d 0755 0:0 opt/x/a/deep/
f 0600 0:0 opt/x/a/deep/file = 12345
f 0755 0:0 opt/x/a/hard = 12345
l 0777 0:0 opt/x/link -> ../../etc/passwd
h 0755 0:0 opt/x/z-first -> opt/x/a/hard
`)
		})
	}
}

func withoutContent(text, name string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if i := strings.Index(line, name); i >= 0 {
			line = line[:i+len(name)]
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestFetchUnpacksZip(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	add := func(name, content string, mode os.FileMode) {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.Write([]byte(content))
	}
	add("bin/tool", "tool", 0o755)
	add("bin/link", "tool", 0o777|os.ModeSymlink)
	add("readme", "text", 0o600)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p, s := newProject(t), newServer(t)
	s.files["/x.zip"] = b.Bytes()
	res := p.bake(fmt.Sprintf("base: scratch\nfetch: [{url: \"%s/x.zip\", unpack: /opt, owner: \"5:5\"}]\n", s.URL))
	_, got, _ := strings.Cut(p.steps(res), "\n")
	want(t, "layer", got, `
d 0755 5:5 opt/
d 0755 5:5 opt/bin/
l 0777 5:5 opt/bin/link -> tool
f 0755 5:5 opt/bin/tool = tool
f 0600 5:5 opt/readme = text
`)
}

func TestFetchRefusesHostileArchives(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"leads upward":            {{Name: "a/../../x", Typeflag: tar.TypeReg}},
		"which is no folder":      {{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "a/x", Typeflag: tar.TypeReg}},
		"is no file of the same":  {{Name: "a", Typeflag: tar.TypeLink, Linkname: "etc/passwd"}},
		"mean removal in a layer": {{Name: ".wh.a", Typeflag: tar.TypeReg}},
		"own folder is no folder": {{Name: "/", Typeflag: tar.TypeSymlink, Linkname: "/etc"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := newProject(t), newServer(t)
			s.files["/x"] = tarOf(t, headers...)
			_, err := p.try(fmt.Sprintf("base: scratch\nfetch: [{url: \"%s/x\", unpack: /x}]\n", s.URL))
			if !fault.Is(err, fault.Failed) || !strings.Contains(err.Error(), name) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestLockedListsEveryDifference(t *testing.T) {
	p, s := newProject(t), newServer(t)
	s.files["/a"], s.files["/b"] = []byte("a"), []byte("b")
	one := "base: scratch\nfetch:\n  - {url: \"%s/a\", to: /a}\n"
	p.bake(fmt.Sprintf(one, s.URL))
	_, err := p.try(fmt.Sprintf("base: scratch\nfetch:\n  - {url: \"%s/b\", to: /b}\n", s.URL), func(o *builder.Options) { o.Locked = true })
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "/b is not pinned") || !strings.Contains(err.Error(), "/a is pinned but") {
		t.Errorf("error is %v", err)
	}
	if s.requests.Load() != 1 {
		t.Errorf("%d requests", s.requests.Load())
	}
	// Without --locked the lockfile follows the recipe.
	p.bake(fmt.Sprintf("base: scratch\nfetch:\n  - {url: \"%s/b\", to: /b}\n", s.URL))
	lock, err := recipes.LoadLock(filepath.Join(p.dir, "app.yaml.lock"))
	if err != nil || len(lock.Fetch) != 1 || !strings.HasSuffix(lock.Fetch[0].URL, "/b") {
		t.Errorf("lockfile: %+v %v", lock, err)
	}
}
