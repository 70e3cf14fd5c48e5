package swarm

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/test/engines"
)

// testnode builds what runs in the test image, once.
var testnode = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "release-built")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "testnode")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "github.com/bootandshoot/release/fleet/fleettest/testnode")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build testnode: %w: %s", err, text)
	}
	return os.ReadFile(out)
})

// world is a Swarm of engines of its own, a registry that they pull from, and an image store with an image of testnode.
type world struct {
	t            *testing.T
	engines      []*engines.Engine
	store        *images.Store
	repository   string
	gateway      string // this machine, as the engines see it
	installation string
	image        string
}

// newWorld makes a Swarm; the first of the engines are its managers.
func newWorld(t *testing.T, managers int, names ...string) *world {
	t.Helper()
	n := engines.NewNetwork(t)
	w := &world{t: t, gateway: n.Gateway(), repository: n.Registry() + "/test/releases", installation: "t" + strings.ToLower(rand.Text()[:10])}
	w.engines = n.Start(names...)
	n.Swarm(managers, w.engines...)
	var err error
	if w.store, err = images.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	w.image = w.putImage()
	return w
}

// driver makes one for the world's installation.
func (w *world) driver(change ...func(*Options)) *Driver {
	w.t.Helper()
	o := Options{Installation: w.installation, Repository: w.repository, PlainHTTP: true, Images: w.store,
		Log: fleettest.Log(w.t, slog.LevelDebug)}
	for _, e := range w.engines {
		o.Managers = append(o.Managers, e.Local())
	}
	for _, c := range change {
		c(&o)
	}
	d, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Close() })
	return d
}

// putImage puts an image of testnode into the store.
func (w *world) putImage() string {
	w.t.Helper()
	program, err := testnode()
	if err != nil {
		w.t.Fatal(err)
	}
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	if err := tw.WriteHeader(&tar.Header{Name: "testnode", Mode: 0o755, Size: int64(len(program))}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := tw.Write(program); err != nil {
		w.t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		w.t.Fatal(err)
	}
	desc, err := w.store.WriteBlob(w.t.Context(), &layer)
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := w.store.Put(w.t.Context(), images.Image{
		Config: ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
			Config: ocispec.ImageConfig{Entrypoint: []string{"/testnode"}, Env: []string{"IMAGE_ENV=from-image"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}}},
		Layers: []images.Layer{{Descriptor: desc, DiffID: desc.Digest}},
	}, "testnode")
	if err != nil {
		w.t.Fatal(err)
	}
	return string(d)
}

// spec is a fleet of n nodes, slots from first on.
func (w *world) spec(first, n int) fleet.Spec {
	s := fleet.Spec{
		Fleet:        fleet.FleetID{App: "shop", Env: "test", Role: "web", Release: fmt.Sprintf("r%d", first+1), Incarnation: 1},
		Installation: w.installation, Kind: fleet.Serve, Image: w.image, Port: 8080, Stop: fleet.Stop{Signal: "TERM", Grace: 2 * time.Second},
	}
	for i := range n {
		s.Nodes = append(s.Nodes, fleet.NodeSpec{Name: fmt.Sprintf("%s-%d", w.installation, first+i), Slot: first + i})
	}
	return s
}

// ask asks a node until it answers well.
func ask(t *testing.T, n fleet.Node, path string) (text string) {
	t.Helper()
	fleettest.Eventually(t, "ask "+n.ID.Node+" at "+n.Address+" for "+path, func() error {
		c := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := c.Get("http://" + n.Address + path)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		text = string(b)
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", res.Status, text)
		}
		return err
	})
	return text
}
