package diff_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/diff"
	"github.com/bootandshoot/release/internal/fault"
)

func attach(t *testing.T, s *images.Store, d images.Digest, kind, document string) {
	t.Helper()
	_, err := s.PutArtifact(t.Context(), images.Artifact{Subject: d, Type: kind, Blobs: []images.ArtifactBlob{{MediaType: kind, Data: []byte(document)}}})
	if err != nil {
		t.Fatal(err)
	}
}

// TestComponents compares an SPDX document with a CycloneDX one.
func TestComponents(t *testing.T) {
	s := newStore(t)
	a := put(t, s, ocispec.ImageConfig{User: "a"}, nil)
	b := put(t, s, ocispec.ImageConfig{User: "b"}, nil)
	attach(t, s, a, images.ArtifactSPDX, `{"relationships":[{"relationshipType":"DESCRIBES","relatedSpdxElement":"SPDXRef-Image"}],"packages":[
		{"SPDXID":"SPDXRef-Image","name":"a","versionInfo":"sha256:00"},
		{"name":"golang.org/x/net","versionInfo":"v0.1.0","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:golang/golang.org/x/net@v0.1.0"}]},
		{"name":"scope","versionInfo":"1","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:npm/%40types/node@1?arch=x"}]},
		{"name":"bash","versionInfo":"5","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:deb/debian/bash@5"}]}]}`)
	if r := compare(t, s, a, b); len(r.Components) != 0 {
		t.Errorf("with one bill of materials: %+v", r.Components)
	}
	attach(t, s, b, images.ArtifactCycloneDX, `{"components":[
		{"type":"library","name":"net","version":"v0.2.0","purl":"pkg:golang/golang.org/x/net@v0.2.0"},
		{"type":"library","name":"net","version":"v0.1.0","purl":"pkg:golang/golang.org/x/net@v0.1.0"},
		{"type":"file","name":"/etc/passwd","version":"1"},{"type":"library","name":"seo","version":"3"}]}`)
	want := []diff.Item{
		{Name: "pkg:golang/golang.org/x/net", Change: diff.Changed, From: "v0.1.0", To: "v0.1.0, v0.2.0"},
		{Name: "pkg:npm/%40types/node", Change: diff.Removed, From: "1"},
		{Name: "seo", Change: diff.Added, To: "3"},
	}
	if d := cmp.Diff(want, compare(t, s, a, b).Components); d != "" {
		t.Errorf("components (-want +got):\n%s", d)
	}
	c := put(t, s, ocispec.ImageConfig{User: "c"}, nil)
	attach(t, s, c, images.ArtifactSPDX, "no document")
	if _, err := diff.Compare(t.Context(), s, a, c); !fault.Is(err, fault.Invalid) {
		t.Errorf("a document that is none: %v", err)
	}
}

func FuzzParseComponents(f *testing.F) {
	f.Add([]byte(`{"packages":[{"name":"a","versionInfo":"1","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:x/@y@1"}]}]}`))
	f.Add([]byte(`[{"name":"a","version":"1"}]`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = diff.ParseComponents(data)
		_, _ = diff.ParseListed(data)
	})
}
