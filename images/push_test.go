package images

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ggcrregistry "github.com/google/go-containerregistry/pkg/registry"

	"github.com/bootandshoot/release/internal/fault"
)

// fakeRegistry is a real registry's handler behind one that counts and can fail.
type fakeRegistry struct {
	host string
	next http.Handler

	mu      sync.Mutex
	log     []string                                                 // "METHOD path"
	inspect func(w http.ResponseWriter, r *http.Request) (done bool) // may answer in place of the registry
}

func newRegistry(t *testing.T) *fakeRegistry {
	t.Helper()
	f := &fakeRegistry{next: ggcrregistry.New(ggcrregistry.Logger(discardLog()), ggcrregistry.WithReferrersSupport(true))}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.host = strings.TrimPrefix(server.URL, "http://")
	return f
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.log = append(f.log, r.Method+" "+r.URL.Path)
	inspect := f.inspect
	f.mu.Unlock()
	if inspect != nil && inspect(w, r) {
		return
	}
	f.next.ServeHTTP(w, r)
}

func (f *fakeRegistry) set(inspect func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inspect, f.log = inspect, nil
}

// uploads counts blobs that were sent.
func (f *fakeRegistry) uploads() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, l := range f.log {
		if strings.HasPrefix(l, http.MethodPatch+" ") {
			n++
		}
	}
	return n
}

func (f *fakeRegistry) count(prefix, part string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, l := range f.log {
		if strings.HasPrefix(l, prefix) && strings.Contains(l, part) {
			n++
		}
	}
	return n
}

func (f *fakeRegistry) remote(ref string) Remote {
	return Remote{Reference: f.host + "/" + ref, Pause: time.Millisecond}
}

// randomText is content that compresses somewhat and is too long for one packet.
func randomText(seed uint64, size int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, size)
	for i := range b {
		b[i] = 'a' + byte(r.IntN(16))
	}
	return string(b)
}

func pushTo(t *testing.T, s *Store, d Digest, o PushOptions) Pushed {
	t.Helper()
	return must[Pushed](t)(s.Push(context.Background(), d, o))
}

// A registry that sends requests in circles ends a pull, wherever in it that happens.
func TestPullEndsCircles(t *testing.T) {
	reg, s := newRegistry(t), newStore(t)
	pushTo(t, s, putImage(t, s, "shop", fileLayer(t, s, "base", "x")), PushOptions{Remote: reg.remote("shop:v1")})
	for _, part := range []string{"/manifests/", "/blobs/"} {
		reg.set(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, part) {
				return false
			}
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			return true
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		_, err := newStore(t).Pull(ctx, PullOptions{Remote: reg.remote("shop:v1")})
		if ctx.Err() != nil || !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "redirects") {
			t.Errorf("%s: %v", part, err)
		}
		cancel()
	}
}

// TestPushMovesWhatIsMissing pushes an image, the same again, and one with a changed layer.
func TestPushMovesWhatIsMissing(t *testing.T) {
	reg, s := newRegistry(t), newStore(t)
	base, app := fileLayer(t, s, "base", randomText(1, 300_000)), fileLayer(t, s, "app", "one")
	d := putImage(t, s, "shop", base, app)
	first := pushTo(t, s, d, PushOptions{Remote: reg.remote("team/shop:v1")})
	if first.Digest != d || first.Moved != 3 || first.Blobs != 3 || reg.uploads() != 3 {
		t.Errorf("first push: %+v, %d uploads", first, reg.uploads())
	}
	reg.set(nil)
	if again := pushTo(t, s, d, PushOptions{Remote: reg.remote("team/shop:v1")}); again.Moved != 0 || reg.uploads() != 0 {
		t.Errorf("same again: %+v, %d uploads", again, reg.uploads())
	}
	reg.set(nil)
	changed := fileLayer(t, s, "app", "two")
	second := pushTo(t, s, putImage(t, s, "shop", base, changed), PushOptions{Remote: reg.remote("team/shop:v2")})
	if second.Moved != 2 || reg.uploads() != 2 || second.MovedSize > changed.Size+2000 { // the layer and the configuration
		t.Errorf("a changed file: %+v, %d uploads", second, reg.uploads())
	}

	fresh := newStore(t)
	got := must[Pulled](t)(fresh.Pull(t.Context(), PullOptions{Remote: reg.remote("team/shop:v1"), Name: "shop"}))
	if got.Image != d || must[Digest](t)(fresh.Resolve("shop")) != d {
		t.Errorf("pulled %+v, want %s", got, d)
	}
}

// TestPushMounts asks a registry that mounts, which the handler of the other tests does only in its way.
func TestPushMounts(t *testing.T) {
	reg, s := newRegistry(t), newStore(t)
	d := putImage(t, s, "shop", fileLayer(t, s, "base", randomText(2, 10_000)))
	pushTo(t, s, d, PushOptions{Remote: reg.remote("one:v1")})
	var asked []string
	reg.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/two/blobs/") {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		if q := r.URL.Query(); r.Method == http.MethodPost && q.Get("mount") != "" {
			asked = append(asked, q.Get("from"))
			w.WriteHeader(http.StatusCreated)
			return true
		}
		return false
	})
	res := pushTo(t, s, d, PushOptions{Remote: reg.remote("two:v1")})
	if res.Mounted != 1 || !slices.Equal(asked, []string{"one"}) || res.Moved != 1 {
		t.Errorf("%+v, asked to mount from %q", res, asked)
	}
}

func TestPushCompressed(t *testing.T) {
	reg, s := newRegistry(t), newStore(t)
	d := putImage(t, s, "shop", fileLayer(t, s, "base", randomText(3, 300_000)), fileLayer(t, s, "app", "one"))
	a := must[Digest](t)(s.PutArtifact(t.Context(), Artifact{Subject: d, Type: ArtifactSignature, Blobs: []ArtifactBlob{{MediaType: "text/plain", Data: []byte("signed")}}}))
	res := pushTo(t, s, d, PushOptions{Remote: reg.remote("shop:v1"), Compress: "gzip"})
	if res.Digest == d || res.Image != d || res.MovedSize > 250_000 || !slices.Equal(res.Artifacts, []Digest{a}) {
		t.Errorf("compressed push: %+v", res)
	}
	if again := pushTo(t, s, d, PushOptions{Remote: reg.remote("shop:v1"), Compress: "gzip"}); again.Digest != res.Digest || again.Moved != 0 {
		t.Errorf("same again: %+v", again)
	}
	fresh := newStore(t)
	got := must[Pulled](t)(fresh.Pull(t.Context(), PullOptions{Remote: reg.remote("shop:v1"), Name: "shop"}))
	if got.Image != d || got.Digest != res.Digest || !slices.Equal(got.Artifacts, []Digest{a}) {
		t.Errorf("pulled %+v, want image %s with %s", got, d, a)
	}
	if art := must[Artifact](t)(fresh.OpenArtifact(a)); string(art.Blobs[0].Data) != "signed" {
		t.Errorf("artifact %+v", art)
	}
	// Where cosign looks.
	resp := must[*http.Response](t)(http.Head("http://" + reg.host + "/v2/shop/manifests/sha256-" + d.Hex() + ".sig"))
	check(t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Docker-Content-Digest") != string(a) {
		t.Errorf("the signature's tag: %s, %s", resp.Status, resp.Header.Get("Docker-Content-Digest"))
	}
	if _, err := s.Push(t.Context(), d, PushOptions{Remote: reg.remote("shop:v1"), Compress: "lzma"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("unknown compression: %v", err)
	}
}

// TestPushGoesOn fails uploads in several ways; a cut push leaves what it sent, and the next sends the rest.
func TestPushGoesOn(t *testing.T) {
	reg, s := newRegistry(t), newStore(t)
	var layers []Layer
	for i := range 6 {
		layers = append(layers, fileLayer(t, s, "f", randomText(uint64(10+i), 100_000)))
	}
	d := putImage(t, s, "shop", layers...)
	patches, failing := 0, 3
	reg.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		reg.mu.Lock()
		patches++
		fail := patches > failing
		reg.mu.Unlock()
		if !fail {
			return false
		}
		_, _ = io.CopyN(io.Discard, r.Body, 1000)
		panic(http.ErrAbortHandler)
	})
	if _, err := s.Push(t.Context(), d, PushOptions{Remote: reg.remote("shop:v1")}); err == nil {
		t.Fatal("a push to a registry that cuts every upload succeeds")
	}
	if reg.count(http.MethodPut, "/manifests/") != 0 {
		t.Error("the manifest was sent before all blobs were there")
	}
	failures := 2 // then it is fine
	reg.set(func(w http.ResponseWriter, r *http.Request) bool {
		reg.mu.Lock()
		defer reg.mu.Unlock()
		if r.Method != http.MethodPatch || failures == 0 {
			return false
		}
		failures--
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	res := pushTo(t, s, d, PushOptions{Remote: reg.remote("shop:v1")})
	if res.Moved >= 7 || res.Moved < 3 {
		t.Errorf("the second push sent %d of 7 blobs, though 3 were there", res.Moved)
	}
}

func TestPushAndPullWithCredentials(t *testing.T) {
	reg, s := newRegistry(t), newStore(t)
	d := putImage(t, s, "shop", fileLayer(t, s, "f", "x"))
	reg.set(func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, ok := r.BasicAuth(); ok && user == "ann" && password == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	if _, err := s.Push(t.Context(), d, PushOptions{Remote: reg.remote("shop:v1")}); !fault.Is(err, fault.Denied) {
		t.Errorf("without credentials: %v", err)
	}
	config := `{"auths":{"` + reg.host + `":{"auth":"YW5uOnNlY3JldA=="}}}`
	check(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600))
	pushTo(t, s, d, PushOptions{Remote: reg.remote("shop:v1")})
	if got := must[Pulled](t)(newStore(t).Pull(t.Context(), PullOptions{Remote: reg.remote("shop:v1")})); got.Image != d {
		t.Errorf("pulled %+v", got)
	}
}

// TestPullGoesOn cuts downloads: what is there stays, also from one pull to the next, and the rest comes by range.
func TestPullGoesOn(t *testing.T) {
	reg, s := newRegistry(t), newStore(t)
	l := fileLayer(t, s, "f", randomText(20, 500_000))
	d := putImage(t, s, "shop", l)
	pushTo(t, s, d, PushOptions{Remote: reg.remote("shop:v1")})
	blob := readFile(t, s.blobPath(l.Digest))
	var ranges []string
	serve := func(most int) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/blobs/"+string(l.Digest)) {
				return false
			}
			ranges = append(ranges, r.Header.Get("Range"))
			if most == 0 {
				w.WriteHeader(http.StatusBadGateway)
				return true
			}
			http.ServeContent(&cutWriter{ResponseWriter: w, left: most}, r, "", time.Time{}, strings.NewReader(blob))
			return true
		}
	}
	fresh := newStore(t)
	reg.set(serve(0))
	if _, err := fresh.Pull(t.Context(), PullOptions{Remote: reg.remote("shop:v1")}); !fault.Is(err, fault.Unavailable) || len(ranges) != tries {
		t.Errorf("a registry that fails: %v, after %d tries", err, len(ranges))
	}
	ctx, cancel := context.WithCancel(t.Context())
	reg.set(serve(120_000))
	o := PullOptions{Remote: reg.remote("shop:v1")}
	o.Progress = func(tr Transfer) {
		if tr.Moved > 200_000 {
			cancel()
		}
	}
	if _, err := fresh.Pull(ctx, o); err == nil {
		t.Fatal("a cancelled pull succeeds")
	}
	ranges = nil
	got := must[Pulled](t)(fresh.Pull(t.Context(), PullOptions{Remote: reg.remote("shop:v1"), Name: "shop"}))
	if got.Image != d || len(ranges) < 2 || !strings.HasPrefix(ranges[0], "bytes=2") {
		t.Errorf("pulled %+v with ranges %q", got, ranges)
	}
	if left := must[[]os.DirEntry](t)(os.ReadDir(fresh.path(partialDir))); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// cutWriter cuts the connection after so many bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		_, _ = w.ResponseWriter.Write(p[:w.left])
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	w.left -= len(p)
	return w.ResponseWriter.Write(p)
}

func TestPullRefusesOtherContent(t *testing.T) {
	reg, s := newRegistry(t), newStore(t)
	l := fileLayer(t, s, "f", randomText(30, 5000))
	pushTo(t, s, putImage(t, s, "shop", l), PushOptions{Remote: reg.remote("shop:v1")})
	for name, blob := range map[string][]byte{
		"other bytes": bytes.Repeat([]byte("x"), int(l.Size)),
		"longer":      append([]byte(readFile(t, s.blobPath(l.Digest))), 'x'),
	} {
		reg.set(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/blobs/"+string(l.Digest)) {
				return false
			}
			_, _ = w.Write(blob)
			return true
		})
		fresh := newStore(t)
		_, err := fresh.Pull(t.Context(), PullOptions{Remote: reg.remote("shop:v1"), Name: "shop"})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "serves other content") {
			t.Errorf("%s: %v", name, err)
		}
		if list := must[[]Info](t)(fresh.List()); len(list) > 0 || fresh.Has(l.Digest) {
			t.Errorf("%s: the store has %v", name, list)
		}
	}
}
