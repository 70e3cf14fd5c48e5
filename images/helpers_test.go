package images

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log"
	"os"
	"path/filepath"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func newStore(t testing.TB, opts ...Option) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "images"), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fileLayer is a layer with one file.
func fileLayer(t testing.TB, s *Store, name, content string) Layer {
	t.Helper()
	w := must[*LayerWriter](t)(s.NewLayer(context.Background(), 1000))
	defer w.Abort()
	check(t, w.Add(Entry{Path: name, Mode: 0o644, Size: int64(len(content))}, bytes.NewReader([]byte(content))))
	return must[Layer](t)(w.Commit("file " + name))
}

func testConfig() ocispec.Image {
	epoch := time.Unix(1000, 0)
	return ocispec.Image{
		Created:  &epoch,
		Platform: ocispec.Platform{OS: "linux", Architecture: testArch},
		Config: ocispec.ImageConfig{
			Env: []string{"PORT=8080"}, Entrypoint: []string{"/app"}, Cmd: []string{"-v"},
			ExposedPorts: map[string]struct{}{"8080/tcp": {}}, Labels: map[string]string{"b": "2", "a": "1"},
		},
	}
}

// putImage stores an image of the given layers.
func putImage(t testing.TB, s *Store, name string, layers ...Layer) Digest {
	t.Helper()
	return must[Digest](t)(s.Put(context.Background(), Image{Config: testConfig(), Layers: layers}, name))
}

// rawLayer stores bytes as a layer.
func rawLayer(t testing.TB, s *Store, data []byte) Layer {
	t.Helper()
	d := must[Descriptor](t)(s.WriteBlob(context.Background(), bytes.NewReader(data)))
	return Layer{Descriptor: d, DiffID: d.Digest}
}

// tarOf makes a tar of headers; a File's content is its size in letters.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o755
		}
		check(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg || h.Typeflag == 0 {
			check(t, must2(w.Write(bytes.Repeat([]byte("x"), int(h.Size)))))
		}
	}
	check(t, w.Close())
	return buf.Bytes()
}

func must2[T any](_ T, err error) error { return err }

func readFile(t testing.TB, path string) string {
	t.Helper()
	return string(must[[]byte](t)(os.ReadFile(path)))
}

func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	return must[[]byte](t)(io.ReadAll(r))
}

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
