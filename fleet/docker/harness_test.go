package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/fleettest"
	"github.com/bootandshoot/release/images"
)

const (
	testToken = "test-token"
	socket    = "/var/run/docker.sock"
)

// program and testnode build what runs in the test images, once.
var (
	program  = built("./testdata/probe")
	testnode = built("github.com/bootandshoot/release/fleet/fleettest/testnode")
)

func built(pkg string) func() ([]byte, error) {
	return sync.OnceValues(func() ([]byte, error) {
		dir, err := os.MkdirTemp("", "release-built")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		out := filepath.Join(dir, "program")
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w: %s", pkg, err, text)
		}
		return os.ReadFile(out)
	})
}

// world is an image store with its registry endpoint, and an installation of its own at the real engine.
type world struct {
	t            *testing.T
	store        *images.Store
	registry     string
	installation string
	pulled       atomic.Int64 // requests that the endpoint got
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if err := Available(t.Context(), ""); err != nil {
		t.Fatalf("these tests need a Docker engine (Debian: apt-get install docker.io): %v", err)
	}
	store, err := images.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: store, installation: "t" + strings.ToLower(rand.Text()[:10])}
	handler := store.Registry(testToken)
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.pulled.Add(1)
		handler.ServeHTTP(rw, r)
	}))
	t.Cleanup(srv.Close)
	w.registry = srv.Listener.Addr().String()
	return w
}

// driver makes one for the world's installation, and removes at the end whatever carries its label.
func (w *world) driver(change ...func(*Options)) *Driver {
	w.t.Helper()
	opts := Options{
		Installation: w.installation, Images: w.store,
		Registry: Registry{Address: w.registry, Token: func() string { return testToken }},
		Log:      fleettest.Log(w.t, slog.LevelDebug),
	}
	for _, c := range change {
		c(&opts)
	}
	d, err := New(w.t.Context(), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Close() })
	w.t.Cleanup(func() { cleanUp(w.t, opts) })
	return d
}

// cleanUp uses a driver of its own, straight to the engine: the test's may have been cut off.
func cleanUp(t *testing.T, opts Options) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	opts.Host, opts.Log = "", nil
	d, err := New(ctx, opts)
	if err != nil {
		t.Error(err)
		return
	}
	defer d.Close()
	list, err := d.list(ctx, nil)
	if err != nil {
		t.Error(err)
	}
	for _, c := range list {
		if err := d.removeContainer(ctx, c.ID); err != nil {
			t.Error(err)
		}
	}
	if err := d.sweep(ctx); err != nil {
		t.Error(err)
	}
}

// image puts an image with the test program into the store; extra are further layers' bytes, below the program's.
func (w *world) image(extra ...[]byte) string {
	w.t.Helper()
	return w.imageOf("probe", program, extra...)
}

func (w *world) imageOf(name string, build func() ([]byte, error), extra ...[]byte) string {
	w.t.Helper()
	bin, err := build()
	if err != nil {
		w.t.Fatal(err)
	}
	img := images.Image{Config: ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config:   ocispec.ImageConfig{Entrypoint: []string{"/" + name}, Env: []string{"IMAGE_ENV=from-image"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}},
	}}
	for i, data := range append(extra, bin) {
		file := fmt.Sprintf("extra-%d", i)
		if i == len(extra) {
			file = name
		}
		desc, err := w.store.WriteBlob(w.t.Context(), bytes.NewReader(tarOf(w.t, file, data)))
		if err != nil {
			w.t.Fatal(err)
		}
		img.Layers = append(img.Layers, images.Layer{Descriptor: desc, DiffID: desc.Digest})
	}
	d, err := w.store.Put(w.t.Context(), img, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(d)
}

func tarOf(t *testing.T, name string, data []byte) []byte {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// spec is a fleet of n nodes of the image, slots from first on.
func (w *world) spec(image string, first, n int) fleet.Spec {
	s := fleet.Spec{
		Fleet:        fleet.FleetID{App: "shop", Env: "test", Role: "web", Release: fmt.Sprintf("r%d", first+1), Incarnation: 1},
		Installation: w.installation, Kind: fleet.Serve, Image: image, Port: 8080,
		Stop: fleet.Stop{Signal: "TERM", Grace: 5 * time.Second},
	}
	for i := range n {
		s.Nodes = append(s.Nodes, fleet.NodeSpec{Name: fmt.Sprintf("%s-%d", w.installation, first+i), Slot: first + i})
	}
	return s
}

// launch prepares and boots a fleet, and fails the test if that does.
func (w *world) launch(d *Driver, s fleet.Spec) []fleet.Node {
	w.t.Helper()
	nodes, err := d.Ensure(w.t.Context(), s)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(nodes) != len(s.Nodes) {
		w.t.Fatalf("got %d nodes, want %d", len(nodes), len(s.Nodes))
	}
	return nodes
}

// answer asks a node until it answers.
func answer(t *testing.T, address, path string) (text string) {
	t.Helper()
	fleettest.Eventually(t, "ask "+address, func() error {
		res, err := http.Get("http://" + address + path)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		text = string(b)
		return err
	})
	return text
}

// ended waits until the only node of the fleet ended and returns it.
func ended(t *testing.T, d *Driver, id fleet.FleetID) (n fleet.Node) {
	t.Helper()
	fleettest.Eventually(t, "wait for the end", func() error {
		nodes, err := d.Nodes(t.Context(), id)
		if err != nil {
			return err
		}
		if len(nodes) != 1 || nodes[0].Presence != fleet.Gone {
			return fmt.Errorf("nodes are %+v", nodes)
		}
		n = nodes[0]
		return nil
	})
	return n
}

// relay passes connections on to the engine's socket, counts what is sent to it, and can cut them.
type relay struct {
	host string
	sent atomic.Int64
	mu   sync.Mutex
	open map[net.Conn]bool
	deaf bool
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	path := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{host: "unix://" + path, open: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); r.cut(true) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(c)
		}
	}()
	return r
}

func (r *relay) serve(c net.Conn) {
	defer c.Close()
	r.mu.Lock()
	deaf := r.deaf
	r.open[c] = true
	r.mu.Unlock()
	if deaf {
		return
	}
	e, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer e.Close()
	go func() {
		io.Copy(e, io.TeeReader(c, counter{&r.sent}))
		e.(*net.UnixConn).CloseWrite()
	}()
	io.Copy(c, e)
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) { c.n.Add(int64(len(p))); return len(p), nil }

// cut ends all connections; a deaf relay ends new ones too.
func (r *relay) cut(deaf bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deaf = deaf
	for c := range r.open {
		c.Close()
	}
	clear(r.open)
}

// inspect gives a container as the engine sees it.
func inspect(t *testing.T, d *Driver, name string) container.InspectResponse {
	t.Helper()
	c, err := d.engine.ContainerInspect(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
