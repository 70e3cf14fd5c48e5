package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/fault"
)

const testArch = runtime.GOARCH

func TestOpenIsRepeatableAndALayout(t *testing.T) {
	s := newStore(t)
	again := must[*Store](t)(Open(s.Dir()))
	if again.Dir() != s.Dir() {
		t.Fatalf("other folder %s", again.Dir())
	}
	if got := readFile(t, filepath.Join(s.Dir(), "oci-layout")); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Fatalf("oci-layout: %s", got)
	}
}

func TestOpenNewerSchemaIsRefused(t *testing.T) {
	s := newStore(t)
	check(t, os.WriteFile(filepath.Join(s.Dir(), "index.json"), []byte(`{"schemaVersion":2,"annotations":{"release.schema":"2"}}`), 0o644))
	if _, err := s.List(); !fault.Is(err, fault.Unsupported) {
		t.Fatalf("want unsupported, got %v", err)
	}
}

func TestWriteBlobAs(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	want := Descriptor{Digest: DigestOf([]byte("hello")), Size: 5}
	for name, content := range map[string]string{"other": "hellO", "short": "hell", "long": "hello!"} {
		if err := s.WriteBlobAs(ctx, want, strings.NewReader(content)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.Has(want.Digest) {
		t.Fatal("a wrong blob was stored")
	}
	check(t, s.WriteBlobAs(ctx, want, strings.NewReader("hello")))
	check(t, s.WriteBlobAs(ctx, want, failingReader{}))
	f := must[*os.File](t)(s.OpenBlob(want.Digest))
	defer f.Close()
	if got := readAll(t, f); string(got) != "hello" {
		t.Fatalf("got %q", got)
	}
	entries := must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(s.Dir(), "blobs/sha256")))
	if len(entries) != 1 {
		t.Fatalf("leftovers: %v", entries)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("must not be read") }

func TestWriteBlobStopsWithContext(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.WriteBlob(ctx, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestPutIsCanonicalAndGetGivesItBack(t *testing.T) {
	var digests []Digest
	for range 2 {
		s := newStore(t)
		l := fileLayer(t, s, "app", "one")
		img := Image{Config: testConfig(), Layers: []Layer{l}, Annotations: map[string]string{AnnotationPorts: "9090,8080"}}
		d := must[Digest](t)(s.Put(context.Background(), img, "shop"))
		digests = append(digests, d)
		got := must[Image](t)(s.Get(d))
		if !reflect.DeepEqual(got.Layers, img.Layers) || !reflect.DeepEqual(got.Config.Config, img.Config.Config) {
			t.Fatalf("got %+v", got)
		}
		if p := got.Ports(); !reflect.DeepEqual(p, []int{9090, 8080}) {
			t.Fatalf("ports %v", p)
		}
		if c := got.Command(); !reflect.DeepEqual(c, []string{"/app", "-v"}) {
			t.Fatalf("command %v", c)
		}
	}
	if digests[0] != digests[1] {
		t.Fatalf("digests differ: %v", digests)
	}
}

func TestPutMissingLayer(t *testing.T) {
	s := newStore(t)
	l := Layer{Descriptor: Descriptor{Digest: DigestOf([]byte("gone")), Size: 4}}
	if _, err := s.Put(context.Background(), Image{Config: testConfig(), Layers: []Layer{l}}, "shop"); !fault.Is(err, fault.NotFound) {
		t.Fatalf("got %v", err)
	}
	if list := must[[]Info](t)(s.List()); len(list) != 0 {
		t.Fatalf("listed: %v", list)
	}
}

func TestResolveAndList(t *testing.T) {
	now := time.Unix(5000, 0)
	s := newStore(t, WithClock(func() time.Time { now = now.Add(time.Minute); return now }))
	a := putImage(t, s, "shop", fileLayer(t, s, "app", "one"))
	b := putImage(t, s, "shop", fileLayer(t, s, "app", "two"))
	if got := must[Digest](t)(s.Resolve("shop")); got != b {
		t.Fatalf("newest is %s", got)
	}
	putImage(t, s, "shop", fileLayer(t, s, "app", "one"))
	for _, ref := range []string{"shop", string(a), a.Hex()[:8], "sha256:" + a.Hex()[:8], strings.ToUpper(a.Hex()[:8])} {
		if got := must[Digest](t)(s.Resolve(ref)); got != a {
			t.Errorf("%s: %s", ref, got)
		}
	}
	list := must[[]Info](t)(s.List())
	if len(list) != 2 || list[0].Digest != a || !list[0].Newest || list[1].Newest || list[0].Layers != 1 || list[0].Arch != testArch {
		t.Fatalf("list: %+v", list)
	}
	c := putImage(t, s, "", fileLayer(t, s, "app", "three"))
	if err := errors.Join(s.Tag(t.Context(), c, "site"), s.Tag(t.Context(), c, "")); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, i := range must[[]Info](t)(s.List()) {
		if i.Digest == c {
			rows = append(rows, i.Name)
		}
	}
	if fmt.Sprint(rows) != "[site]" {
		t.Errorf("an image that has a name is listed as %q", rows)
	}
	for _, ref := range []string{"shp", "abc", "", "sha256:zzzz"} {
		_, err := s.Resolve(ref)
		if !fault.Is(err, fault.NotFound) || !strings.Contains(fault.All(err)[0].Hint, "shop") {
			t.Errorf("%q: %v, hint %v", ref, err, fault.All(err))
		}
	}
}

func TestPutOfTheNewestWritesNothing(t *testing.T) {
	s := newStore(t)
	l := fileLayer(t, s, "app", "one")
	putImage(t, s, "shop", l)
	index := filepath.Join(s.Dir(), "index.json")
	before := must[os.FileInfo](t)(os.Stat(index))
	putImage(t, s, "shop", l)
	if after := must[os.FileInfo](t)(os.Stat(index)); !os.SameFile(before, after) {
		t.Fatal("index.json was written again")
	}
}

func TestNewestNameIsAnnotatedForOtherTools(t *testing.T) {
	s := newStore(t)
	putImage(t, s, "shop", fileLayer(t, s, "app", "one"))
	b := putImage(t, s, "shop", fileLayer(t, s, "app", "two"))
	var index struct {
		Manifests []struct {
			Digest      Digest
			Annotations map[string]string
		}
	}
	check(t, json.Unmarshal([]byte(readFile(t, filepath.Join(s.Dir(), "index.json"))), &index))
	for _, m := range index.Manifests {
		if named := m.Annotations["org.opencontainers.image.ref.name"] == "shop"; named != (m.Digest == b) {
			t.Errorf("%s: %v", m.Digest, m.Annotations)
		}
	}
}

func TestBadNames(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"-x", "a b", "a/", "../x", "ü"} {
		if _, err := s.Put(context.Background(), Image{Config: testConfig()}, name); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestDamagedManifestIsNamed(t *testing.T) {
	s := newStore(t)
	d := putImage(t, s, "shop", fileLayer(t, s, "app", "one"))
	check(t, os.Chmod(s.blobPath(d), 0o644))
	check(t, os.WriteFile(s.blobPath(d), []byte(`{}`), 0o644))
	if _, err := s.Get(d); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("got %v", err)
	}
}

// Many puts at once, through stores opened apart as other processes would, lose no entry.
func TestConcurrentPuts(t *testing.T) {
	s := newStore(t)
	const n = 16
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			other, err := Open(s.Dir())
			if err != nil {
				errs[i] = err
				return
			}
			_, errs[i] = other.Put(context.Background(), Image{Config: testConfig()}, fmt.Sprintf("app%d", i))
		})
	}
	wg.Wait()
	check(t, errors.Join(errs...))
	if list := must[[]Info](t)(s.List()); len(list) != n {
		t.Fatalf("%d entries", len(list))
	}
}

func TestPortsFromExposed(t *testing.T) {
	var img Image
	img.Config.Config.ExposedPorts = map[string]struct{}{"9090/tcp": {}, "53/udp": {}, "80": {}, "x": {}}
	if got := img.Ports(); !reflect.DeepEqual(got, []int{80, 9090}) {
		t.Fatalf("got %v", got)
	}
}

// Writing content again mends a blob that was damaged on the disk.
func TestWriteMendsADamagedBlob(t *testing.T) {
	s := newStore(t)
	d := must[Descriptor](t)(s.WriteBlob(t.Context(), strings.NewReader("content")))
	for _, damage := range []string{"cOntent", "con", ""} {
		check(t, os.WriteFile(s.blobPath(d.Digest), []byte(damage), 0o644))
		if again := must[Descriptor](t)(s.WriteBlob(t.Context(), strings.NewReader("content"))); again != d {
			t.Errorf("%q: written as %+v", damage, again)
		}
		if got := readFile(t, s.blobPath(d.Digest)); got != "content" {
			t.Errorf("%q is now %q", damage, got)
		}
	}
}

func TestDiskErrorsAreClassified(t *testing.T) {
	for err, want := range map[error]fault.Code{
		unix.ENOSPC: fault.NoSpace, unix.EDQUOT: fault.NoSpace, unix.EACCES: fault.Denied, unix.EROFS: fault.Denied,
	} {
		got := diskError(&fs.PathError{Op: "open", Path: "lock", Err: err}, "lock it")
		if fault.CodeOf(got) != want || fault.All(got)[0].Hint == "" {
			t.Errorf("%v became %+v", err, got)
		}
	}
}
