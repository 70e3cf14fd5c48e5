package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/removal"
	"github.com/bootandshoot/release/sandbox"
)

const (
	enterVar = "DRIVER_TEST_ENTER" // run inside the user namespace
	nodeVar  = "DRIVER_TEST_NODE"  // the built testnode
)

// TestMain becomes an init where it is one, and enters the user namespace where it is to.
func TestMain(m *testing.M) {
	sandbox.Main()
	if os.Getenv(enterVar) != "" {
		entered, code, err := sandbox.EnterUserNamespace(nil)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(99)
		}
		if entered {
			os.Exit(code)
		}
	}
	os.Exit(withTestnode(m))
}

// withTestnode builds the server that nodes run, once for all tests.
func withTestnode(m *testing.M) int {
	if os.Getenv(nodeVar) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "testnode-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "testnode")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", file, "../fleettest/testnode")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build testnode: %v\n%s", err, out)
		return 1
	}
	if err := os.Setenv(nodeVar, file); err != nil {
		return 1
	}
	return m.Run()
}

// world is an image store with the testnode image, and a folder for drivers.
type world struct {
	t      *testing.T
	store  *images.Store
	digest string
	dir    string
	opts   Options
}

func newWorld(t *testing.T, opts Options) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), opts: opts}
	w.openStore()
	w.digest = w.bake()
	t.Cleanup(func() { check(t, removal.Tree(filepath.Join(w.dir, "images"))) })
	return w
}

func (w *world) openStore() {
	store, err := images.Open(filepath.Join(w.dir, "images"))
	check(w.t, err)
	w.store = store
}

func (w *world) bake() string {
	binary, err := os.ReadFile(os.Getenv(nodeVar))
	check(w.t, err)
	layer, err := w.store.NewLayer(w.t.Context(), 0)
	check(w.t, err)
	defer layer.Abort()
	check(w.t, layer.Add(images.Entry{Path: ".", Type: images.Dir, Mode: 0o755}, nil))
	check(w.t, layer.Add(images.Entry{Path: "testnode", Mode: 0o755, Size: int64(len(binary))}, bytes.NewReader(binary)))
	done, err := layer.Commit("test")
	check(w.t, err)
	digest, err := w.store.Put(w.t.Context(), images.Image{
		Config: ocispec.Image{
			Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
			Config: ocispec.ImageConfig{Entrypoint: []string{"/testnode"}, Env: []string{"IMAGE_ENV=from-image"},
				ExposedPorts: map[string]struct{}{"8080/tcp": {}}},
		},
		Layers: []images.Layer{done},
	}, "testnode")
	check(w.t, err)
	return string(digest)
}

// driver makes a driver on the world's folder; an installation other than "" replaces the world's.
func (w *world) driver(t *testing.T, installation string) *Driver {
	t.Helper()
	opts := w.opts
	opts.Dir, opts.Images, opts.Installation = filepath.Join(w.dir, "driver"), w.store, "test-"+w.digest[7:15]
	opts.Log = fleettest.Log(t, slog.LevelInfo)
	if installation != "" {
		opts.Installation = installation
	}
	d, err := New(opts)
	check(t, err)
	return d
}

// keeping is driver with a place for the output of nodes that are gone.
func (w *world) keeping(t *testing.T, kept fleet.Tails) fleet.Driver {
	d := w.driver(t, "")
	d.opts.Tails = kept
	return d
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// spec is a fleet of n nodes from a slot on, destroyed with the test.
func (w *world) spec(t *testing.T, d *Driver, n, slot int) fleet.Spec {
	t.Helper()
	spec := fleet.Spec{Fleet: fleet.FleetID{App: "app", Env: "test", Role: "web", Release: fmt.Sprintf("r%d", slot), Incarnation: 1},
		Installation: d.opts.Installation, Kind: fleet.Serve, Image: w.digest, Port: 8080}
	for i := range n {
		spec.Nodes = append(spec.Nodes, fleet.NodeSpec{Name: fmt.Sprintf("app-%s-n%d", spec.Fleet.Release, i), Slot: slot + i})
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := d.Destroy(ctx, spec.Fleet); err != nil {
			t.Errorf("destroy: %v", err)
		}
	})
	return spec
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}
