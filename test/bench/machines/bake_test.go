// Package machines measures machines: how soon a changed program is a bootable disk, how much of the disk that changes, and how soon
// machines answer. Booting takes several times longer where there is no KVM, which is what the limits are for.
package machines

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/tools/diskdiff"
)

const (
	mostDisk   = 2 * time.Second // from the layers of an image of 300 MB to its disk
	mostChange = 3 * time.Second // from a changed program to the disk, without the boot test
	mostMoved  = 0.05            // of the disk's blocks, when a program of 7 MB changes
)

const (
	files    = 10_000 // of 30 kB
	sizeOf   = 30_000
	changes  = 7
	diskStep = "machine"
	bootStep = "boot the machine"
)

const recipe = `name: hello
base: scratch
copy: [{from: ./tree, to: /usr/lib/tree}, {from: ./bin/hello, to: /hello}]
ports: [8080]
entrypoint: [/hello]
`

// TestMachineBake is a measurement and runs only when asked for, alone on the machine:
//
//	RELEASE_BENCH=1 go test -count=1 -v -run TestMachineBake ./test/bench/machines
func TestMachineBake(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	suite := harness.NewSuite()
	t.Cleanup(suite.Close) // after the installation has ended
	in := suite.New(t, "qemu")
	tree(t, filepath.Join(in.Project, "tree"))
	in.Write("recipe.yaml", recipe)
	var disks, whole, moved []float64
	before := ""
	for i := range changes + 1 {
		in.BuildHello("v" + strings.Repeat("x", 4099*i)) // another program, and a longer one
		r := bake(in, t)
		now := diskOf(in, t, r.Image)
		if before != "" { // the first one also unpacks the kernel
			disks = append(disks, seconds(r, diskStep))
			whole = append(whole, r.Seconds-seconds(r, bootStep))
			moved = append(moved, changed(t, before, now))
		}
		before = now
	}
	t.Logf("disk of 300 MB in %d files: %.2f s; changed program to disk: %.2f s (medians of %d)", files, median(disks), median(whole), changes)
	t.Logf("blocks that changed: %.1f %%", 100*median(moved))
	if median(disks) > mostDisk.Seconds() || median(whole) > mostChange.Seconds() {
		t.Errorf("want at most %s and %s", mostDisk, mostChange)
	}
	if median(moved) > mostMoved {
		t.Errorf("want at most %.0f %%", 100*mostMoved)
	}
}

func tree(t *testing.T, dir string) {
	random := rand.NewChaCha8([32]byte{6})
	content := make([]byte, sizeOf)
	for i := range files {
		name := filepath.Join(dir, fmt.Sprintf("%02d/%04d", i/100, i))
		_, _ = random.Read(content)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, content, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func bake(in *harness.Installation, t *testing.T) (r api.BakeResult) {
	t.Helper()
	if code := in.JSON(&r, "bake"); code != 0 {
		t.Fatalf("bake: exit code %d: %+v", code, r.Error)
	}
	return r
}

func seconds(r api.BakeResult, step string) float64 {
	i := slices.IndexFunc(r.Steps, func(s api.BakeStep) bool { return s.Name == step })
	return r.Steps[i].Seconds
}

// diskOf is the file of an image's disk.
func diskOf(in *harness.Installation, t *testing.T, image string) string {
	t.Helper()
	var d struct {
		Machine struct{ Disk struct{ Digest string } }
	}
	if code := in.JSON(&d, "images", "inspect", image); code != 0 {
		t.Fatalf("inspect: exit code %d", code)
	}
	return filepath.Join(in.Dir, "i/blobs/sha256", strings.TrimPrefix(d.Machine.Disk.Digest, "sha256:"))
}

// changed is how much of a disk would be uploaded where an earlier one is: the share, among blocks that are not zero, of those that differ.
func changed(t *testing.T, before, now string) float64 {
	t.Helper()
	was, err := os.Open(before)
	if err != nil {
		t.Fatal(err)
	}
	defer was.Close()
	is, err := os.Open(now)
	if err != nil {
		t.Fatal(err)
	}
	defer is.Close()
	differ, all, err := diskdiff.Count(was, is)
	if err != nil {
		t.Fatal(err)
	}
	return float64(differ) / float64(all)
}

func median(list []float64) float64 { return slices.Sorted(slices.Values(list))[len(list)/2] }
