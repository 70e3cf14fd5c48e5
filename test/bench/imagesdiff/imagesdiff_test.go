// Package imagesdiff measures `release images diff` of two images of 300 MB: as whole commands, with nothing known of their
// layers and with everything known, for images that share most layers and for images that share none.
package imagesdiff

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/diff"
)

// most is what a comparison may take. What is asked is that of images whose layers were looked into before or not.
const most = time.Second

const (
	rounds    = 7
	layersOf  = 10 // layers of an image
	filesOf   = 1200
	sizeOf    = 25_000 // bytes of a file: 10 × 1,200 × 25 kB = 300 MB
	perFolder = 40
)

// TestImagesDiff is a measurement and runs only when asked for, alone on the machine:
//
//	RELEASE_BENCH=1 go test -count=1 -v -run TestImagesDiff ./test/bench/imagesdiff
func TestImagesDiff(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	b := &bench{t: t, binary: program(t), dir: filepath.Join(t.TempDir(), "images")}
	s, err := images.Open(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	shared := make([]images.Layer, layersOf)
	for i := range shared {
		shared[i] = b.layer(s, i, uint64(i))
	}
	last := slices.Clone(shared)
	last[layersOf-1] = b.layer(s, layersOf-1, 100)
	others := make([]images.Layer, layersOf)
	for i := range others {
		others[i] = b.layer(s, i, uint64(200+i))
	}
	first, changed, other := b.put(s, shared), b.put(s, last), b.put(s, others)

	for _, c := range []struct {
		name  string
		with  images.Digest
		known bool
		files int
	}{
		{"9 of 10 layers shared, looked into before", changed, true, filesOf},
		{"9 of 10 layers shared, never looked into", changed, false, filesOf},
		{"no layer shared, looked into before", other, true, layersOf * filesOf},
		{"no layer shared, never looked into", other, false, layersOf * filesOf},
	} {
		took := b.median(first, c.with, c.known, c.files)
		t.Logf("%-45s %4d ms, %d ms of processor", c.name, took.Milliseconds(), b.cpu.Milliseconds())
		if took > most {
			t.Errorf("%s: %s is over %s", c.name, took, most)
		}
	}
}

type bench struct {
	t      *testing.T
	binary string
	dir    string
	cpu    time.Duration // of the last command
}

// layer writes files of random content; the same number and seed give the same paths, another seed other content.
func (b *bench) layer(s *images.Store, number int, seed uint64) images.Layer {
	b.t.Helper()
	w, err := s.NewLayer(context.Background(), 0)
	if err != nil {
		b.t.Fatal(err)
	}
	defer w.Abort()
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	for i := range filesOf {
		e := images.Entry{Path: fmt.Sprintf("usr/share/layer-%02d/folder-%03d/file-%02d.dat", number, i/perFolder, i%perFolder), Mode: 0o644, Size: sizeOf}
		if err := w.Add(e, io.LimitReader(random, sizeOf)); err != nil {
			b.t.Fatal(err)
		}
	}
	l, err := w.Commit("files")
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

func (b *bench) put(s *images.Store, layers []images.Layer) images.Digest {
	b.t.Helper()
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}}
	d, err := s.Put(context.Background(), images.Image{Config: config, Layers: layers}, "bench")
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// median compares in several rounds, each as a command of its own, and checks what it says.
func (b *bench) median(x, y images.Digest, known bool, files int) time.Duration {
	b.t.Helper()
	var took []time.Duration
	for range rounds {
		if known {
			b.compare(x, y, files)
		} else if err := os.RemoveAll(filepath.Join(b.dir, "cache", "facts")); err != nil {
			b.t.Fatal(err)
		}
		took = append(took, b.compare(x, y, files))
	}
	slices.Sort(took)
	return took[rounds/2]
}

func (b *bench) compare(x, y images.Digest, files int) time.Duration {
	b.t.Helper()
	cmd := exec.Command(b.binary, "images", "diff", string(x), string(y), "--json")
	cmd.Env = append(os.Environ(), "RELEASE_IMAGES_DIR="+b.dir)
	began := time.Now()
	out, err := cmd.Output()
	took := time.Since(began)
	b.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	var r diff.Result
	if err != nil || json.Unmarshal(out, &r) != nil || r.Summary.Files.Changed != files {
		b.t.Fatalf("%v: %d files changed, want %d", err, r.Summary.Files.Changed, files)
	}
	return took
}

// program builds the program as `make build` does.
func program(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "release")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "github.com/bootandshoot/release/cmd/release")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build release: %v: %s", err, out)
	}
	return bin
}
