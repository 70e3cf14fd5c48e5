package provenance

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/signature"
	"github.com/bootandshoot/release/internal/fault"
)

var update = flag.Bool("update", false, "write the golden file anew")

func build() Build {
	sum := func(c string) map[string]string { return map[string]string{"sha256": strings.Repeat(c, 64)} }
	return Build{
		Name: "shop", Recipe: Resource{URI: "recipes/shop.yaml", Digest: sum("a")}, Target: "container", Platform: "linux/amd64", Epoch: 1_700_000_000,
		Includes: []Resource{{URI: "recipes/common.yaml", Digest: sum("b")}}, Version: "1.2.3", Vars: map[string]string{"port": "80"},
		Dependencies: []Resource{
			{Name: "v1.2.3", URI: "https://example.org/app.git", Digest: map[string]string{"gitCommit": strings.Repeat("c", 40)}},
			{Name: "apt", URI: "pkg:deb/debian/apt@2.6.1?arch=amd64", Digest: sum("d")},
			{URI: "https://example.org/a.tar.gz", Digest: sum("e")},
		},
		Products: []Resource{{Name: "sbom.spdx.json", Digest: sum("f")}},
	}
}

func TestStatement(t *testing.T) {
	image := images.DigestOf([]byte("image"))
	got, err := build().Statement(image)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := build().Statement(image); !bytes.Equal(got, again) {
		t.Error("the same build gave two statements")
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "statement.json")
	if *update {
		if err := os.WriteFile(path, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || !bytes.Equal(want, pretty.Bytes()) {
		t.Errorf("%s is not what is written now (%v); see with: go test ./images/provenance -update; git diff", path, err)
	}
	if _, err := Parse(got, image); err != nil {
		t.Error(err)
	}
	if _, err := Parse(got, images.DigestOf([]byte("other"))); !fault.Is(err, fault.Denied) {
		t.Errorf("provenance of another image: %v", err)
	}
	for _, bad := range []string{"", "{}", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"x"}`, "[]"} {
		if _, err := Parse([]byte(bad), image); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func newKey(t *testing.T) *signature.PrivateKey {
	t.Helper()
	private, _, err := signature.Generate()
	if err != nil {
		t.Fatal(err)
	}
	k, err := signature.ParsePrivate("k", private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func stored(t *testing.T) (*images.Store, images.Digest) {
	t.Helper()
	s, err := images.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Put(t.Context(), images.Image{Config: ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}}}, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

func TestAttachFindAndSign(t *testing.T) {
	s, d := stored(t)
	statement, err := build().Statement(d)
	if err != nil {
		t.Fatal(err)
	}
	notes := map[string]string{"n": "1"}
	if err := Attach(t.Context(), s, d, statement, nil, notes); err != nil {
		t.Fatal(err)
	}
	a, b := newKey(t), newKey(t)
	for i, k := range []*signature.PrivateKey{a, b} {
		for _, want := range []bool{true, false} {
			if changed, err := Sign(t.Context(), s, d, k); err != nil || changed != want {
				t.Fatalf("key %d: %v %v", i, changed, err)
			}
		}
	}
	found, err := Find(s, d)
	if err != nil || len(found) != 1 || !bytes.Equal(found[0].Data, statement) {
		t.Fatalf("%v %v", found, err)
	}
	if by := found[0].SignedBy([]signature.PublicKey{a.Public, b.Public}); len(by) != 2 {
		t.Errorf("signed by %v", by)
	}
	if by := found[0].SignedBy([]signature.PublicKey{newKey(t).Public}); by != nil {
		t.Errorf("signed by %v", by)
	}
	list, err := s.Referrers(d, "")
	if err != nil || len(list) != 1 || list[0].Type != images.ArtifactAttestation || list[0].Annotations["n"] != "1" {
		t.Errorf("listed %+v %v", list, err)
	}
}

func TestFindRefusesWhatIsWrong(t *testing.T) {
	other, err := build().Statement(images.DigestOf([]byte("other")))
	if err != nil {
		t.Fatal(err)
	}
	for name, blob := range map[string]images.ArtifactBlob{
		"other image": {MediaType: images.ArtifactStatement, Data: other},
		"no json":     {MediaType: images.ArtifactStatement, Data: []byte("x")},
		"no envelope": {MediaType: images.ArtifactAttestation, Data: []byte("{}")},
		"other type":  {MediaType: images.ArtifactAttestation, Data: []byte(`{"payloadType":"x","payload":"","signatures":[{"sig":"eA=="}]}`)},
		"media type":  {MediaType: "text/plain", Data: []byte("x")},
	} {
		s, d := stored(t)
		if _, err := s.PutArtifact(t.Context(), images.Artifact{Subject: d, Type: images.ArtifactStatement, Blobs: []images.ArtifactBlob{blob}}); err != nil {
			t.Fatal(err)
		}
		if found, err := Find(s, d); err == nil {
			t.Errorf("%s: found %v", name, found)
		}
	}
	s, d := stored(t)
	scan := images.Artifact{Subject: d, Type: images.ArtifactStatement, Blobs: []images.ArtifactBlob{{MediaType: images.ArtifactStatement,
		Data: []byte(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://cosign.sigstore.dev/attestation/vuln/v1","subject":[]}`)}}}
	if _, err := s.PutArtifact(t.Context(), scan); err != nil {
		t.Fatal(err)
	}
	if found, err := Find(s, d); err != nil || len(found) != 0 {
		t.Errorf("somebody else's statement: %v %v", found, err)
	}
}
