package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/provenance"
	"github.com/bootandshoot/release/images/signature"
	"github.com/bootandshoot/release/internal/fault"
)

func newKey(t *testing.T, name string) *signature.PrivateKey {
	t.Helper()
	private, _, err := signature.Generate()
	if err != nil {
		t.Fatal(err)
	}
	k, err := signature.ParsePrivate(name, private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signedImage is an image with everything that a signed bake attaches.
func signedImage(t *testing.T, key *signature.PrivateKey) (*images.Store, images.Digest, images.Layer) {
	t.Helper()
	s, err := images.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.NewLayer(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err := w.Add(images.Entry{Path: "a", Mode: 0o644, Size: 5}, strings.NewReader("hello")); err != nil {
		t.Fatal(err)
	}
	l, err := w.Commit("a")
	if err != nil {
		t.Fatal(err)
	}
	img := images.Image{Config: ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}}, Layers: []images.Layer{l}}
	d, err := s.Put(t.Context(), img, "shop")
	if err != nil {
		t.Fatal(err)
	}
	bill(t, s, d, "bill")
	build := provenance.Build{Name: "shop", Products: []provenance.Resource{{Digest: map[string]string{"sha256": images.DigestOf([]byte("bill")).Hex()}}}}
	statement, err := build.Statement(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := provenance.Attach(t.Context(), s, d, statement, key, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := signature.Sign(t.Context(), s, d, key); err != nil {
		t.Fatal(err)
	}
	return s, d, l
}

func bill(t *testing.T, s *images.Store, d images.Digest, text string) {
	t.Helper()
	a := images.Artifact{Subject: d, Type: images.ArtifactSPDX, Blobs: []images.ArtifactBlob{{MediaType: images.ArtifactSPDX, Data: []byte(text)}}}
	if _, err := s.PutArtifact(t.Context(), a); err != nil {
		t.Fatal(err)
	}
}

func drop(t *testing.T, s *images.Store, d images.Digest, kind string) {
	t.Helper()
	list, err := s.Referrers(d, kind)
	if err != nil || len(list) == 0 {
		t.Fatalf("no %s to drop: %v", kind, err)
	}
	for _, r := range list {
		if err := s.Detach(t.Context(), d, r.Digest); err != nil {
			t.Fatal(err)
		}
	}
}

func TestImage(t *testing.T) {
	key, other := newKey(t, "release.pub"), newKey(t, "other.pub")
	overwrite := func(t *testing.T, s *images.Store, d images.Digest) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.Dir(), "blobs", "sha256", d.Hex()), []byte("changed"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name  string
		do    func(t *testing.T, s *images.Store, d images.Digest, l images.Layer)
		keys  []*signature.PrivateKey
		fails string // names of the checks
		want  string
	}{
		{"good", nil, []*signature.PrivateKey{key}, "", ""},
		{"one of two keys", nil, []*signature.PrivateKey{other, key}, "", ""},
		{"wrong key", nil, []*signature.PrivateKey{other}, "signature provenance sbom", "no good signature by other.pub"},
		{"tampered layer", func(t *testing.T, s *images.Store, _ images.Digest, l images.Layer) { overwrite(t, s, l.Digest) },
			[]*signature.PrivateKey{key}, "blobs", "damaged"},
		{"tampered manifest", func(t *testing.T, s *images.Store, d images.Digest, _ images.Layer) { overwrite(t, s, d) },
			[]*signature.PrivateKey{key}, "signature blobs", "damaged"},
		{"no signature", func(t *testing.T, s *images.Store, d images.Digest, _ images.Layer) {
			drop(t, s, d, images.ArtifactSignature)
		},
			[]*signature.PrivateKey{key}, "signature", "not signed"},
		{"no provenance", func(t *testing.T, s *images.Store, d images.Digest, _ images.Layer) {
			drop(t, s, d, images.ArtifactAttestation)
		},
			[]*signature.PrivateKey{key}, "provenance sbom", "where it comes from"},
		{"no bill", func(t *testing.T, s *images.Store, d images.Digest, _ images.Layer) {
			drop(t, s, d, images.ArtifactSPDX)
		},
			[]*signature.PrivateKey{key}, "sbom", "no bill of materials"},
		{"other bill", func(t *testing.T, s *images.Store, d images.Digest, _ images.Layer) { bill(t, s, d, "another bill") },
			[]*signature.PrivateKey{key}, "sbom", "does not name"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, d, l := signedImage(t, key)
			if c.do != nil {
				c.do(t, s, d, l)
			}
			var keys []signature.PublicKey
			for _, k := range c.keys {
				keys = append(keys, k.Public)
			}
			res, err := Image(t.Context(), s, d, keys)
			var failed []string
			for _, check := range res.Checks {
				if !check.OK {
					failed = append(failed, check.Name)
				}
			}
			if got := strings.Join(failed, " "); got != c.fails || len(res.Checks) != 4 {
				t.Errorf("failed %q, want %q: %+v", got, c.fails, res.Checks)
			}
			if c.want == "" {
				if err != nil || len(res.Keys) != 1 {
					t.Errorf("%+v %v", res, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", fault.CodeOf(err), err)
			}
		})
	}
}
