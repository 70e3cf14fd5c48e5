package images

import (
	"encoding/json"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	godigest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestPullSkipsForeignArtifacts lists, beside a signature, artifacts that the store has no form for: they stay behind, and
// the image and the signature come.
func TestPullSkipsForeignArtifacts(t *testing.T) {
	reg, s := newRegistry(t), newStore(t)
	d := putImage(t, s, "shop", fileLayer(t, s, "f", "x"))
	sig := must[Digest](t)(s.PutArtifact(t.Context(), note(d, ArtifactSignature, "sig")))
	pushTo(t, s, d, PushOptions{Remote: reg.remote("shop:v1")})
	const typed = `"schemaVersion":2,"artifactType":"a/b"`
	subject := `"subject":{"mediaType":"` + ocispec.MediaTypeImageManifest + `","size":1,"digest":"` + string(d) + `"}`
	config := `"config":{"mediaType":"a/c","size":2,"digest":"` + string(DigestOf(emptyConfig)) + `"}`
	odd := []struct{ mediaType, manifest, want string }{
		{ocispec.MediaTypeImageIndex, `{` + typed + `,` + subject + `,"manifests":[]}`, "no image manifest"},
		{ocispec.MediaTypeImageManifest, `{` + typed + `,` + subject + `,"config":null,"layers":[]}`, "no image manifest"},
		{ocispec.MediaTypeImageManifest, `{` + typed + `,` + subject + `,"config":{"size":1,"digest":"md5:x"}}`, `names a blob "md5:x"`},
		{ocispec.MediaTypeImageManifest, `{` + typed + `,` + config + `,` + subject + `,"layers":[{"size":-1}]}`, `names a blob ""`},
		{ocispec.MediaTypeImageManifest, `{` + typed + `,` + config + `,"layers":[]}`, "as its subject"},
		{ocispec.MediaTypeImageManifest, `{"schemaVersion":2,` + strings.Replace(config, "a/c", "", 1) + `,` + subject + `}`, "no type"},
		{ocispec.MediaTypeImageManifest, `{"layers":1}`, "cannot be read"},
	}
	list := newIndex()
	manifests := map[string]int{}
	for i, o := range odd {
		dig := DigestOf([]byte(o.manifest))
		manifests[string(dig)] = i
		list.Manifests = append(list.Manifests, ocispec.Descriptor{MediaType: o.mediaType, Digest: godigest.Digest(dig), Size: int64(len(o.manifest))})
	}
	raw := readFile(t, s.blobPath(sig))
	list.Manifests = append(list.Manifests, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: godigest.Digest(sig), Size: int64(len(raw))})
	listed := must[[]byte](t)(json.Marshal(list))
	reg.set(func(w http.ResponseWriter, r *http.Request) bool {
		send := func(mediaType, body string) bool {
			w.Header().Set("Content-Type", mediaType)
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			_, _ = io.WriteString(w, body)
			return true
		}
		if strings.Contains(r.URL.Path, "/referrers/") {
			return send(ocispec.MediaTypeImageIndex, string(listed))
		}
		i, ok := manifests[path.Base(r.URL.Path)]
		return ok && send(odd[i].mediaType, odd[i].manifest)
	})
	fresh := newStore(t)
	got := must[Pulled](t)(fresh.Pull(t.Context(), PullOptions{Remote: reg.remote("shop:v1"), Name: "shop"}))
	if got.Image != d || !slices.Equal(got.Artifacts, []Digest{sig}) || len(got.Skipped) != len(odd) {
		t.Fatalf("pulled %+v", got)
	}
	for i, skip := range got.Skipped {
		if skip.Digest != DigestOf([]byte(odd[i].manifest)) || !strings.Contains(skip.Reason, odd[i].want) {
			t.Errorf("%s: %+v", odd[i].manifest, skip)
		}
	}
	if kept := must[[]Referrer](t)(fresh.Referrers(d, "")); len(kept) != 1 || kept[0].Digest != sig {
		t.Errorf("the store lists %+v", kept)
	}
}
