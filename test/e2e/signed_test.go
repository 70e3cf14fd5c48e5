package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/test/harness"
)

// dropSignatures takes the signatures of an image out of a store, as somebody with access to it could.
func dropSignatures(t *testing.T, dir, image string) {
	t.Helper()
	s, err := images.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Referrers(images.Digest(image), images.ArtifactSignature)
	if err != nil || len(list) == 0 {
		t.Fatalf("no signature to drop: %v", err)
	}
	for _, r := range list {
		if err := s.Detach(t.Context(), images.Digest(image), r.Digest); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOnlySignedImagesRun goes through a policy: refused when asked, aborted when the signature vanishes on the way.
func TestOnlySignedImagesRun(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	in.Must("images", "keygen", "--out", "release")
	in.WriteProject(quick, 1, "require: {signed_by: [release.pub]}\ncutover: {steps: [{percent: 50, hold: 3s}, {percent: 100}], drain: {timeout: 2s}}\n")
	unsigned := in.Bake("v1")
	wants(t, in.Run("up", unsigned), 2, "is not signed", "release images sign")
	wants(t, in.Run("images", "verify", "hello"), 1, "FAIL  signature", "is not signed")
	if st := in.Status(); len(st.Fleets) > 0 {
		t.Errorf("something runs: %+v", st.Fleets)
	}
	in.Must("images", "sign", "hello", "--key", "release.key")
	in.Must("images", "verify", "hello", "--key", "release.pub")
	if up := in.Operate("up", unsigned); up.Percent != 100 {
		t.Errorf("up of a signed image: %+v", up)
	}
	in.BuildHello("v2")
	var baked api.BakeResult
	if code := in.JSON(&baked, "bake", "--sign", "release.key"); code != 0 {
		t.Fatalf("bake --sign: %+v", baked.Error)
	}
	vanishes(t, in, baked.Image)
	uploads(t, in)
}

// vanishes takes the signature away during the hold of the first step.
func vanishes(t *testing.T, in *harness.Installation, image string) {
	t.Helper()
	p := begin(t, in, "up", image, "--json")
	p.await("up.step")
	dropSignatures(t, filepath.Join(in.Dir, "i"), image)
	out := p.end()
	if r := result(t, out); out.Code != 3 || r.Error == nil || !strings.Contains(r.Error.Message, "is not signed") {
		t.Errorf("exit code %d, %+v\n%s", out.Code, r, out.Stderr)
	}
	if got := get(t, in, ""); got != "v1" {
		t.Errorf("users are on %s after the abort", got)
	}
}

// uploads launches from a store that the agent does not have: the signature travels with the image.
func uploads(t *testing.T, in *harness.Installation) {
	t.Helper()
	elsewhere := *in
	elsewhere.Env = append(os.Environ(), "NO_COLOR=1", "RELEASE_STATE_DIR="+filepath.Join(in.Dir, "s"), "RELEASE_IMAGES_DIR="+filepath.Join(in.Dir, "j"),
		"RELEASE_SIGN_KEY="+filepath.Join(in.Project, "release.key"))
	image := elsewhere.Bake("v3")
	if res := elsewhere.Operate("launch", image); res.Image != image {
		t.Errorf("launch from another store: %+v", res)
	}
	s, err := images.Open(filepath.Join(in.Dir, "i"))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := s.Referrers(images.Digest(image), ""); err != nil || len(list) != 4 {
		t.Errorf("the agent has %d artifacts of the image, want 4: %v", len(list), err)
	}
}
