package docker

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// noise is bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestPullMovesOnlyWhatIsMissing(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	base := noise(3 << 20)
	one, two := w.image(base, noise(100)), w.image(base, noise(100))
	for _, digest := range []string{one, two} {
		if err := d.Prepare(t.Context(), w.spec(digest, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	before := w.pulled.Load()
	if err := w.driver().Prepare(t.Context(), w.spec(two, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if w.pulled.Load() != before {
		t.Error("an image that was there was asked for again")
	}
	in, err := d.engine.ImageInspect(t.Context(), d.pulledName(two))
	if err != nil {
		t.Fatal(err)
	}
	m, err := d.manifest(two)
	if err != nil || in.ID != m.Config.Digest.String() {
		t.Errorf("id is %s, manifest %+v, error %v", in.ID, m, err)
	}
}

// TestSend is an engine that cannot reach the registry: only missing layers are sent, and what is booted is the same.
func TestSend(t *testing.T) {
	w := newWorld(t)
	r := newRelay(t)
	d := w.driver(func(o *Options) { o.Host = r.host; o.Registry.Address = "127.0.0.1:1" })
	base := noise(3 << 20)
	one, two := w.image(base, noise(100)), w.image(base, noise(100))
	var percents []int
	err := d.PrepareReporting(t.Context(), w.spec(one, 0, 0), func(p fleet.Progress) { percents = append(percents, p.Percent()) })
	if err != nil {
		t.Fatal(err)
	}
	unpacking := func(percent int) bool { return 50 < percent && percent < 100 }
	if !slices.Contains(percents, 100) || !slices.ContainsFunc(percents, unpacking) {
		t.Errorf("it was at %v: it said nothing of what the engine did", percents)
	}
	if sent := r.sent.Load(); sent < 3<<20 {
		t.Errorf("sent %d bytes, less than the image", sent)
	}
	r.sent.Store(0)
	s := w.spec(two, 0, 1)
	if err := d.Prepare(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if sent := r.sent.Load(); sent > int64(len(bin))+1<<20 {
		t.Errorf("sent %d bytes, the missing layers are %d", sent, len(bin))
	}
	n := w.launch(d, s)[0]
	if got := answer(t, n.Address, "/"); got != n.ID.Node {
		t.Errorf("answers %q", got)
	}
	if err := d.Destroy(t.Context(), s.Fleet); err != nil {
		t.Fatal(err)
	}
	if in, err := d.engine.ImageInspect(t.Context(), d.sentName(two)); err == nil {
		t.Errorf("the image is left: %s", in.ID)
	}
}

// TestSentNameMoved is somebody giving our name to another image: it is not booted.
func TestSentNameMoved(t *testing.T) {
	w := newWorld(t)
	d := w.driver(func(o *Options) { o.Registry.Address = "" })
	one, two := w.image(noise(100)), w.image(noise(100))
	if err := d.Prepare(t.Context(), w.spec(one, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := d.engine.ImageTag(t.Context(), d.sentName(one), d.sentName(two)); err != nil {
		t.Fatal(err)
	}
	if err := w.driver(func(o *Options) { o.Registry.Address = "" }).Prepare(t.Context(), w.spec(two, 0, 0)); err != nil {
		t.Fatal(err)
	}
	in, err := d.engine.ImageInspect(t.Context(), d.sentName(two))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := d.manifest(two); err != nil || in.ID != m.Config.Digest.String() {
		t.Errorf("id is %s, manifest %+v, error %v", in.ID, m, err)
	}
}

func TestPrepareRefuses(t *testing.T) {
	w := newWorld(t)
	d := w.driver()
	if err := d.Prepare(t.Context(), w.spec("nonsense", 0, 0)); err == nil {
		t.Error("a bad digest is taken")
	}
	if err := d.Prepare(t.Context(), w.spec(string(images.DigestOf([]byte("nothing"))), 0, 0)); err == nil {
		t.Error("an image that we do not have is taken")
	}
	wrong := w.driver(func(o *Options) { o.Images, o.Registry.Token = nil, func() string { return "wrong" } })
	if err := wrong.Prepare(t.Context(), w.spec(w.image(), 0, 0)); !errors.Is(err, fleet.ErrUnavailable) {
		t.Errorf("a wrong token gives %v", err)
	}
}

// TestPrepareDamaged is an image with a layer that is not what it was: what the engine makes of it is not the error.
func TestPrepareDamaged(t *testing.T) {
	for _, how := range []string{"pulled", "sent"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			d := w.driver(func(o *Options) {
				if how == "sent" {
					o.Registry.Address = ""
				}
			})
			digest := w.image(noise(3 << 20))
			img, err := w.store.Get(images.Digest(digest))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(w.store.Dir(), "blobs/sha256", img.Layers[len(img.Layers)-1].Digest.Hex())
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			err = d.Prepare(t.Context(), w.spec(digest, 0, 0))
			if !errors.Is(err, images.ErrDamaged) || !strings.Contains(err.Error(), filepath.Base(path)) || !strings.Contains(fault.All(err)[0].Hint, "bake") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestArtifact is a manifest that is no container image.
func TestArtifact(t *testing.T) {
	w := newWorld(t)
	manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` +
		string(images.DigestOf([]byte("{}"))) + `","size":2},"layers":[]}`
	desc, err := w.store.WriteBlob(t.Context(), strings.NewReader(manifest))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.driver().Prepare(t.Context(), w.spec(string(desc.Digest), 0, 0)); !errors.Is(err, fleet.ErrImageLacksTarget) {
		t.Errorf("got %v", err)
	}
}

// TestImageSharedWithAnother is the same image under the names of two installations: each takes its own name away.
func TestImageSharedWithAnother(t *testing.T) {
	w := newWorld(t)
	mine := w.driver()
	theirs := w.driver(func(o *Options) { o.Installation += "-other" })
	s := w.spec(w.image(), 0, 1)
	other := s
	other.Nodes = []fleet.NodeSpec{{Name: s.Nodes[0].Name + "-other"}}
	w.launch(mine, s)
	w.launch(theirs, other)
	if err := mine.Destroy(t.Context(), s.Fleet); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.engine.ImageInspect(t.Context(), mine.pulledName(s.Image)); !errdefs.IsNotFound(err) {
		t.Errorf("our name is left: %v", err)
	}
	if _, err := mine.engine.ImageInspect(t.Context(), theirs.pulledName(s.Image)); err != nil {
		t.Errorf("their name is gone: %v", err)
	}
	if err := theirs.Destroy(t.Context(), s.Fleet); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.engine.ImageInspect(t.Context(), theirs.pulledName(s.Image)); !errdefs.IsNotFound(err) {
		t.Errorf("their name is left: %v", err)
	}
}

// TestSweep is a fleet whose nodes were removed one by one before another agent process destroyed it, beside an image
// that waits for its launch.
// TestImageBroughtByAnotherAgent boots from an image that only the installation's other agent has in its store.
func TestImageBroughtByAnotherAgent(t *testing.T) {
	w := newWorld(t)
	digest := w.image(noise(100))
	if err := w.driver().Prepare(t.Context(), w.spec(digest, 0, 0)); err != nil {
		t.Fatal(err)
	}
	empty, err := images.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other := w.driver(func(o *Options) { o.Images, o.Registry.Address = empty, "127.0.0.1:1" })
	n := w.launch(other, w.spec(digest, 0, 1))[0]
	if got := answer(t, n.Address, "/"); got != n.ID.Node {
		t.Errorf("answers %q", got)
	}
	if err := other.Prepare(t.Context(), w.spec(w.image(noise(100)), 0, 0)); !fault.Is(err, fault.NotFound) {
		t.Errorf("an image that nobody brought: %v", err)
	}
}

func TestSweep(t *testing.T) {
	w := newWorld(t)
	s := w.spec(w.image(), 0, 1)
	next := w.spec(w.image(noise(10)), 1, 1)
	before, d := w.driver(), w.driver()
	n := w.launch(before, s)[0]
	if err := d.Prepare(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if err := before.Remove(t.Context(), n.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := d.Destroy(t.Context(), s.Fleet); err != nil {
		t.Fatal(err)
	}
	if _, err := d.engine.ImageInspect(t.Context(), d.pulledName(s.Image)); !errdefs.IsNotFound(err) {
		t.Errorf("the image is left: %v", err)
	}
	if _, err := d.engine.ImageInspect(t.Context(), d.pulledName(next.Image)); err != nil {
		t.Errorf("the image that waits is gone: %v", err)
	}
	w.launch(d, next)
	if err := d.Destroy(t.Context(), next.Fleet); err != nil {
		t.Fatal(err)
	}
	if _, err := d.engine.ImageInspect(t.Context(), d.pulledName(next.Image)); !errdefs.IsNotFound(err) {
		t.Errorf("the next image is left: %v", err)
	}
}

func TestDigestOf(t *testing.T) {
	d := &Driver{opts: Options{Installation: "abc"}}
	for ref, want := range map[string]string{
		"127.0.0.1:1/release/abc@sha256:12": "sha256:12", "release.invalid/release/abc:12": "sha256:12",
		"127.0.0.1:1/release/abcd@sha256:12": "", "127.0.0.1:1/other/abc:12": "", "<none>@<none>": "",
	} {
		if got, ok := d.digestOf(ref); got != want || ok != (want != "") {
			t.Errorf("%s is %q, %t", ref, got, ok)
		}
	}
}
