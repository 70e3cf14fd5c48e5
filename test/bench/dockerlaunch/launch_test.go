package dockerlaunch

import (
	"archive/tar"
	"bytes"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/fleet/docker"
	"github.com/bootandshoot/release/images"
)

// most is how much longer than the bare program a launch may take.
const most = 1.2

// TestLaunchOf20 is a measurement and runs only when asked for, alone on the machine:
//
//	RELEASE_BENCH=1 go test -v -run TestLaunchOf20 ./test/bench/dockerlaunch
func TestLaunchOf20(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	if err := docker.Available(t.Context(), ""); err != nil {
		t.Fatalf("this needs a Docker engine (Debian: apt-get install docker.io): %v", err)
	}
	store, err := images.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(store.Registry("bench"))
	defer srv.Close()
	r, err := Measure(t.Context(), Options{
		Store: store, Image: probeImage(t, store), Registry: srv.Listener.Addr().String(), Token: "bench", Nodes: 20, Rounds: 7,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	t.Logf("driver %.2f", r.Drivers)
	t.Logf("bare   %.2f", r.Bares)
	if r.Ratio > most {
		t.Errorf("ratio %.2f is over %.2f", r.Ratio, most)
	}
}

func probeImage(t *testing.T, store *images.Store) string {
	bin := filepath.Join(t.TempDir(), "probe")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "github.com/bootandshoot/release/fleet/docker/testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	if err := tw.WriteHeader(&tar.Header{Name: "probe", Mode: 0o755, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	desc, err := store.WriteBlob(t.Context(), &layer)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := store.Put(t.Context(), images.Image{
		Config: ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, Config: ocispec.ImageConfig{Entrypoint: []string{"/probe"}}},
		Layers: []images.Layer{{Descriptor: desc, DiffID: desc.Digest}},
	}, "bench")
	if err != nil {
		t.Fatal(err)
	}
	return string(digest)
}
