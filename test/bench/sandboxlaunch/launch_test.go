// Package sandboxlaunch measures the launch of 100 sandbox nodes against a bare program that only clones the same
// namespaces, pivots and execs.
package sandboxlaunch

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
)

const (
	most   = 3.0 // how much longer than the bare program a launch may take
	nodes  = 100
	rounds = 7
)

// TestLaunchOf100 is a measurement and runs only when asked for, as root, alone on the machine:
//
//	RELEASE_BENCH=1 go test -v -run TestLaunchOf100 ./test/bench/sandboxlaunch
func TestLaunchOf100(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	b := newBench(t)
	for _, network := range []string{"shared", "own"} {
		t.Run(network, func(t *testing.T) {
			var ours, bare []float64
			for range rounds { // in turn, so that both meet the same machine
				ours = append(ours, b.ours(t, network))
				bare = append(bare, b.bare(t, network))
			}
			slices.Sort(ours)
			slices.Sort(bare)
			ratio := ours[rounds/2] / bare[rounds/2]
			t.Logf("%d nodes, %s network, milliseconds to all healthy, medians of %d: driver %.0f, bare %.0f, ratio %.2f",
				nodes, network, rounds, ours[rounds/2], bare[rounds/2], ratio)
			t.Logf("driver %.0f", ours)
			t.Logf("bare   %.0f", bare)
			if ratio > most {
				t.Errorf("ratio %.2f is over %.2f", ratio, most)
			}
		})
	}
}

type bench struct {
	dir, digest, rootfs string
	round               int
}

func newBench(t *testing.T) *bench {
	b := &bench{dir: t.TempDir()}
	for _, name := range []string{"app", "bare", "ours"} {
		build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(b.dir, name), "./"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	store, err := images.Open(filepath.Join(b.dir, "images"))
	check(t, err)
	digest := bake(t, store, filepath.Join(b.dir, "app"))
	b.digest = string(digest)
	b.rootfs, err = store.Rootfs(t.Context(), digest)
	check(t, err)
	return b
}

func bake(t *testing.T, store *images.Store, program string) images.Digest {
	binary, err := os.ReadFile(program)
	check(t, err)
	layer, err := store.NewLayer(t.Context(), 0)
	check(t, err)
	defer layer.Abort()
	check(t, layer.Add(images.Entry{Path: ".", Type: images.Dir, Mode: 0o755}, nil))
	check(t, layer.Add(images.Entry{Path: "app", Mode: 0o755, Size: int64(len(binary))}, bytes.NewReader(binary)))
	done, err := layer.Commit("bench")
	check(t, err)
	digest, err := store.Put(t.Context(), images.Image{
		Config: ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
			Config: ocispec.ImageConfig{Entrypoint: []string{"/app"}}},
		Layers: []images.Layer{done},
	}, "bench")
	check(t, err)
	return digest
}

func (b *bench) ours(t *testing.T, network string) float64 {
	return b.run(t, "ours", filepath.Join(b.dir, "images"), b.digest, b.fresh(t), strconv.Itoa(nodes), network)
}

func (b *bench) bare(t *testing.T, network string) float64 {
	return b.run(t, "bare", b.rootfs, b.fresh(t), strconv.Itoa(nodes), "21000", network, "/app")
}

func (b *bench) fresh(t *testing.T) string {
	b.round++
	dir := filepath.Join(b.dir, fmt.Sprint("round", b.round))
	check(t, os.Mkdir(dir, 0o755))
	return dir
}

func (b *bench) run(t *testing.T, name string, args ...string) float64 {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join(b.dir, name), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, stderr.String())
	}
	ms, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	check(t, err)
	return ms
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
