package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/images"
)

// TestDamagedImage is a layer that the disk did not keep: the launch says so at once and for good, and the next bake makes it
// anew.
func TestDamagedImage(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	image := in.Bake("v1")
	store, err := images.Open(filepath.Join(in.Dir, "i"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := store.Get(images.Digest(image))
	if err != nil {
		t.Fatal(err)
	}
	layer := img.Layers[0].Digest
	path := filepath.Join(in.Dir, "i/blobs/sha256", layer.Hex())
	harm := func(at int) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err == nil {
			data[at] ^= 1
			err = os.WriteFile(path, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	in.Must("images", "verify", "hello", "--content")

	harm(100) // in a header, which makes no sense any more
	began := time.Now()
	out := in.Run("launch")
	wants(t, out, 3, "layer "+layer.Short()+" of image hello", "damaged", "bake the image again", "images verify IMAGE --content")
	if strings.Contains(out.Stderr, "tried") || time.Since(began) > 10*time.Second {
		t.Errorf("it was tried again, for %s:\n%s", time.Since(began), out.Stderr)
	}
	wants(t, in.Run("images", "verify", "hello", "--content"), 1, "damaged", "FAIL  blobs")
	if again := in.Bake("v1"); again != image {
		t.Errorf("baked again it is %s, not %s", again, image)
	}
	in.Must("images", "verify", "hello", "--content")

	harm(600) // in a file of it
	wants(t, in.Run("images", "verify", "hello", "--content"), 1, "damaged", "put aside as")
	in.Bake("v1")
	in.Operate("up", image)
	if got := get(t, in, ""); got != "v1" {
		t.Errorf("users get %s", got)
	}
}
