package machines

import (
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/fleet/qemu"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/test/harness"
)

const testnodeRecipe = `name: testnode
base: scratch
env: {IMAGE_ENV: from-image}
ports: [8080]
copy: [{from: ./testnode, to: /testnode}, {from: ./seed, to: /srv/seeded/file}]
entrypoint: [/testnode]
`

// bakeTestnode bakes the server of the conformance suite as a machine.
func bakeTestnode(t *testing.T, in *harness.Installation, recipe string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "testnode")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, "testnode"), "../../fleet/fleettest/testnode")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build testnode: %v\n%s", err, out)
	}
	for name, text := range map[string]string{"recipe.yaml": recipe, "seed": "of the image"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var r api.BakeResult
	if code := in.JSON(&r, "bake", filepath.Join(dir, "recipe.yaml"), "--target", "machine"); code != 0 {
		t.Fatalf("bake testnode: exit code %d: %+v", code, r.Error)
	}
	return r.Image
}

// TestConformanceOfQEMU holds the driver to the contract of all drivers, with real machines.
func TestConformanceOfQEMU(t *testing.T) {
	in := suite.New(t, "sandbox")
	image := bakeTestnode(t, in, testnodeRecipe)
	store, err := images.Open(imagesDir(in))
	if err != nil {
		t.Fatal(err)
	}
	driver := newDrivers(t, store, t.TempDir())
	t.Run("RemoveWhileBooting", func(t *testing.T) { removedWhileItBoots(t, driver(t, "one", nil), image) })
	t.Run("VolumeOfImage", func(t *testing.T) { volumeOfImage(t, driver(t, "one", nil), image) })
	t.Run("VolumeOnAFullDisk", func(t *testing.T) {
		dir := smallDisk(t)
		volumeOnAFullDisk(t, newDrivers(t, store, dir)(t, "one", nil), dir, image)
	})
	fleettest.Run(t, fleettest.Harness{
		New:          func(t *testing.T) fleet.Driver { return driver(t, "one", nil) },
		Other:        func(t *testing.T) fleet.Driver { return driver(t, "another", nil) },
		Keeping:      func(t *testing.T, kept fleet.Tails) fleet.Driver { return driver(t, "one", kept) },
		Installation: "one",
		Image:        image,
		KillPID:      true,
		Forgets:      true,
		OneWriter:    true,
	})
}

// newDrivers makes drivers of one folder.
func newDrivers(t *testing.T, store *images.Store, dir string) func(t *testing.T, installation string, kept fleet.Tails) fleet.Driver {
	base := 22_000 + 500*rand.IntN(20) // machines outlive a run that was killed, and keep their ports
	return func(t *testing.T, installation string, kept fleet.Tails) fleet.Driver {
		d, err := qemu.New(t.Context(), qemu.Options{Dir: dir, Installation: installation, Images: store, Tails: kept,
			Ports: local.Ports{First: base, Count: 500}, Boots: 2, Log: fleettest.Log(t, slog.LevelInfo)})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

// imagesDir is where the installation keeps its images.
func imagesDir(in *harness.Installation) string {
	for _, kv := range in.Env {
		if dir, ok := strings.CutPrefix(kv, "RELEASE_IMAGES_DIR="); ok {
			return dir
		}
	}
	return ""
}

// A machine that boots does not listen yet: it is removed within its grace all the same.
func removedWhileItBoots(t *testing.T, d fleet.Driver, image string) {
	id := fleet.NodeID{Fleet: fleet.FleetID{App: "early", Env: "test", Role: "web", Release: "r1", Incarnation: 1}, Node: "early-r1-n1"}
	spec := fleet.Spec{Fleet: id.Fleet, Installation: "one", Kind: fleet.Serve, Image: image, Port: 8080, Nodes: []fleet.NodeSpec{{Name: id.Node, Slot: 200}}}
	if _, err := d.Ensure(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(t.Context(), id, 2*time.Second); err != nil {
		t.Error(err)
	}
	if nodes, err := d.Nodes(t.Context(), id.Fleet); err != nil || len(nodes) != 0 {
		t.Errorf("%d nodes are left: %v", len(nodes), err)
	}
}
