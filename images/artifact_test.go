package images

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

func note(subject Digest, kind, text string) Artifact {
	return Artifact{Subject: subject, Type: kind, Annotations: map[string]string{"k": "v"},
		Blobs: []ArtifactBlob{{MediaType: "text/plain", Annotations: map[string]string{"a": "b"}, Data: []byte(text)}}}
}

func TestArtifactsStayWithTheirSubject(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	d := putImage(t, s, "a", fileLayer(t, s, "a", "1"))
	other := putImage(t, s, "b", fileLayer(t, s, "b", "2"))
	a := must[Digest](t)(s.PutArtifact(ctx, note(d, ArtifactSPDX, "bill")))
	if again := must[Digest](t)(s.PutArtifact(ctx, note(d, ArtifactSPDX, "bill"))); again != a {
		t.Fatalf("the same artifact has digests %s and %s", a, again)
	}
	b := must[Digest](t)(s.PutArtifact(ctx, note(d, ArtifactSignature, "sig")))
	if list := must[[]Referrer](t)(s.Referrers(d, "")); len(list) != 2 || list[0].Digest != a || list[1].Digest != b {
		t.Fatalf("list %+v", list)
	}
	if list := must[[]Referrer](t)(s.Referrers(d, ArtifactSignature)); len(list) != 1 || list[0].Annotations["k"] != "v" {
		t.Fatalf("list %+v", list)
	}
	if list := must[[]Referrer](t)(s.Referrers(other, "")); len(list) != 0 {
		t.Fatalf("another image has %+v", list)
	}
	got := must[Artifact](t)(s.OpenArtifact(a))
	if got.Subject != d || got.Type != ArtifactSPDX || string(got.Blobs[0].Data) != "bill" || got.Blobs[0].Annotations["a"] != "b" {
		t.Fatalf("read back %+v", got)
	}
	sweep(t, s, -1)
	if !s.Has(a) || !s.Has(DigestOf([]byte("bill"))) {
		t.Fatal("a listed artifact was swept")
	}
	check(t, s.Remove(ctx, d, false))
	if s.Has(a) || s.Has(b) || s.Has(DigestOf([]byte("bill"))) || len(must[[]Referrer](t)(s.Referrers(d, ""))) > 0 {
		t.Fatal("artifacts outlived their subject")
	}
}

func TestArtifactReplaces(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	d := putImage(t, s, "a", fileLayer(t, s, "a", "1"))
	one := must[Digest](t)(s.PutArtifact(ctx, note(d, ArtifactSignature, "1")))
	two := must[Digest](t)(s.PutArtifact(ctx, note(d, ArtifactSignature, "1 2"), one))
	if _, err := s.PutArtifact(ctx, note(d, ArtifactSignature, "1 3"), one); !fault.Is(err, fault.Busy) {
		t.Fatalf("replaced what was gone: %v", err)
	}
	if list := must[[]Referrer](t)(s.Referrers(d, "")); len(list) != 1 || list[0].Digest != two {
		t.Fatalf("list %+v", list)
	}
	check(t, s.Detach(ctx, d, two))
	check(t, s.Detach(ctx, d, two))
	sweep(t, s, -1)
	if s.Has(two) || s.Has(one) {
		t.Fatal("detached artifacts stayed")
	}
}

func TestArtifactsPutAtOnce(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	d := putImage(t, s, "a", fileLayer(t, s, "a", "1"))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if _, err := s.PutArtifact(ctx, note(d, ArtifactSignature, strings.Repeat("x", i+1))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if list := must[[]Referrer](t)(s.Referrers(d, "")); len(list) != 8 {
		t.Fatalf("%d of 8 artifacts are listed", len(list))
	}
}

// A removed image whose content waits for a collection loses list and artifacts together.
func TestCollectTakesListAndArtifactsTogether(t *testing.T) {
	now := time.Now()
	s := newStore(t, WithClock(func() time.Time { return now }))
	ctx := context.Background()
	d := putImage(t, s, "a", fileLayer(t, s, "a", "1"))
	a := must[Digest](t)(s.PutArtifact(ctx, note(d, ArtifactSPDX, "bill")))
	release := must[func()](t)(s.Hold(ctx))
	check(t, s.Remove(ctx, d, false))
	release()
	old := time.Now().Add(-3 * time.Hour)
	check(t, os.Chtimes(s.blobPath(a), old, old))
	sweep(t, s, 0)
	if !s.Has(a) || len(must[[]Referrer](t)(s.Referrers(d, ""))) != 1 {
		t.Fatal("a young list lost its artifacts")
	}
	now = now.Add(2 * time.Hour)
	sweep(t, s, 0)
	if s.Has(a) || len(must[[]Referrer](t)(s.Referrers(d, ""))) != 0 {
		t.Fatal("an old list stayed")
	}
}

func TestArtifactsTravelInLayouts(t *testing.T) {
	ctx := context.Background()
	from := newStore(t)
	d := putImage(t, from, "shop", fileLayer(t, from, "a", "1"))
	a := must[Digest](t)(from.PutArtifact(ctx, note(d, ArtifactSPDX, "bill")))
	dir := filepath.Join(t.TempDir(), "layout")
	check(t, from.ExportOCI(ctx, d, dir))
	var archive bytes.Buffer
	check(t, from.ExportOCIArchive(ctx, d, &archive))
	tarPath := filepath.Join(t.TempDir(), "layout.tar")
	check(t, os.WriteFile(tarPath, archive.Bytes(), 0o644))
	for _, path := range []string{dir, tarPath} {
		to := newStore(t)
		if got := must[Digest](t)(to.Import(ctx, Source{Path: path, Name: "shop"})); got != d {
			t.Fatalf("imported as %s", got)
		}
		if list := must[[]Referrer](t)(to.Referrers(d, ArtifactSPDX)); len(list) != 1 || list[0].Digest != a {
			t.Fatalf("imported artifacts: %+v", list)
		}
		if got := must[Artifact](t)(to.OpenArtifact(a)); string(got.Blobs[0].Data) != "bill" {
			t.Fatalf("read back %+v", got)
		}
	}
	check(t, os.WriteFile(filepath.Join(dir, "blobs", "sha256", DigestOf([]byte("bill")).Hex()), []byte("BILL"), 0o644))
	if _, err := newStore(t).Import(ctx, Source{Path: dir}); !fault.Is(err, fault.Invalid) {
		t.Fatalf("imported a tampered artifact: %v", err)
	}
}

func TestArtifactErrors(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	l := fileLayer(t, s, "a", "1")
	d := putImage(t, s, "a", l)
	missing := DigestOf([]byte("missing"))
	if _, err := s.PutArtifact(ctx, note(missing, ArtifactSPDX, "x")); !fault.Is(err, fault.NotFound) {
		t.Errorf("unknown subject: %v", err)
	}
	if _, err := s.PutArtifact(ctx, Artifact{Subject: d}); !fault.Is(err, fault.Internal) {
		t.Errorf("no type: %v", err)
	}
	if err := s.AttachArtifact(ctx, d); !fault.Is(err, fault.Invalid) {
		t.Errorf("an image is no artifact: %v", err)
	}
	if _, err := s.Referrers("sha256:../../x", ""); !fault.Is(err, fault.Invalid) {
		t.Errorf("bad digest: %v", err)
	}
	a := must[Digest](t)(s.PutArtifact(ctx, note(d, ArtifactSPDX, "bill")))
	check(t, os.WriteFile(s.blobPath(DigestOf([]byte("bill"))), []byte("BILL"), 0o644))
	if _, err := s.OpenArtifact(a); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("read a damaged artifact: %v", err)
	}
	must[Digest](t)(s.PutArtifact(ctx, note(d, ArtifactSPDX, "bill")))
	check(t, must2(s.OpenArtifact(a)))
	check(t, os.WriteFile(s.referrersPath(d), []byte("torn"), 0o644))
	if _, err := s.GC(ctx, sweeping(-1)); err == nil || !s.Has(a) {
		t.Errorf("swept without knowing what is used: %v", err)
	}
}

func TestRegistryServesArtifacts(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	d := putImage(t, s, "shop", fileLayer(t, s, "a", "1"))
	a := must[Digest](t)(s.PutArtifact(ctx, note(d, ArtifactSignature, "sig")))
	must[Digest](t)(s.PutArtifact(ctx, note(d, ArtifactSPDX, "bill")))
	server := httptest.NewServer(s.Registry("t0k"))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	auth := remote.WithAuth(&authn.Basic{Username: "u", Password: "t0k"})
	subject := must[name.Digest](t)(name.NewDigest(host + "/shop@" + string(d)))
	index := must[v1.ImageIndex](t)(remote.Referrers(subject, auth))
	if m := must[*v1.IndexManifest](t)(index.IndexManifest()); len(m.Manifests) != 2 || m.Manifests[0].Digest.String() != string(a) {
		t.Fatalf("referrers %+v", m)
	}
	sig := must[v1.Image](t)(remote.Image(must[name.Tag](t)(name.NewTag(host+"/shop:"+ArtifactTag(d, ArtifactSignature))), auth))
	if got := must[v1.Hash](t)(sig.Digest()); got.String() != string(a) {
		t.Fatalf("the signature's tag gives %s", got)
	}
	for path, want := range map[string]int{
		"/v2/shop/referrers/" + string(d) + "?artifactType=" + url.QueryEscape(ArtifactSPDX):          1,
		"/v2/shop/referrers/" + string(d) + "?artifactType=none/x":                                    0,
		"/v2/shop/referrers/" + string(DigestOf([]byte("x"))):                                         0,
		"/v2/shop/referrers/sha256:12":                                                                -400,
		"/v2/shop/manifests/" + ArtifactTag(d, ArtifactAttestation):                                   -404,
		"/v2/shop/manifests/" + strings.Replace(ArtifactTag(d, ArtifactSignature), ".sig", ".xyz", 1): -404,
	} {
		r := httptest.NewRequest("GET", path, nil)
		r.SetBasicAuth("u", "t0k")
		w := httptest.NewRecorder()
		s.Registry("t0k").ServeHTTP(w, r)
		if want < 0 {
			if w.Code != -want {
				t.Errorf("%s: status %d", path, w.Code)
			}
			continue
		}
		var got ocispec.Index
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || len(got.Manifests) != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if strings.Contains(path, "?") && w.Header().Get("OCI-Filters-Applied") != "artifactType" {
			t.Errorf("%s: the filter is not announced", path)
		}
	}
}
