package images

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	dockerregistry "github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// engine connects to a Docker engine; these tests need a real one.
func engine(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err == nil {
		_, err = c.Ping(context.Background())
	}
	if err != nil {
		t.Fatalf("start a Docker engine for this test (Debian: apt install docker.io; service docker start), or set DOCKER_HOST: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// helloImage is an image of two layers, a program and what it prints, with a greeting nobody else has.
func helloImage(t *testing.T, s *Store) (d Digest, greeting string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "hello")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./testdata/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	var nonce [8]byte
	must[int](t)(rand.Read(nonce[:]))
	greeting = "hello " + hex.EncodeToString(nonce[:])
	ctx, program := context.Background(), readFile(t, binary)
	w := must[*LayerWriter](t)(s.NewLayer(ctx, 0))
	defer w.Abort()
	check(t, w.Add(Entry{Path: "hello", Mode: 0o755, Size: int64(len(program))}, strings.NewReader(program)))
	app := must[Layer](t)(w.Commit("program"))
	img := Image{
		Config: ocispec.Image{
			Platform: ocispec.Platform{OS: "linux", Architecture: testArch},
			Config:   ocispec.ImageConfig{Entrypoint: []string{"/hello"}},
		},
		Layers: []Layer{app, fileLayer(t, s, "etc/greeting", greeting)},
	}
	return must[Digest](t)(s.Put(ctx, img, "hello")), greeting
}

// runImage runs a container and returns what it printed.
func runImage(t *testing.T, c *client.Client, ref string) string {
	t.Helper()
	ctx := context.Background()
	created := must[container.CreateResponse](t)(c.ContainerCreate(ctx, &container.Config{Image: ref}, nil, nil, nil, ""))
	defer func() {
		check(t, c.ContainerRemove(ctx, created.ID, container.RemoveOptions{Force: true}))
	}()
	waiting, failed := c.ContainerWait(ctx, created.ID, container.WaitConditionNextExit)
	check(t, c.ContainerStart(ctx, created.ID, container.StartOptions{}))
	select {
	case <-waiting:
	case err := <-failed:
		t.Fatal(err)
	}
	logs := must[io.ReadCloser](t)(c.ContainerLogs(ctx, created.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true}))
	defer logs.Close()
	var out bytes.Buffer
	must[int64](t)(stdcopy.StdCopy(&out, &out, logs))
	return out.String()
}

func removeFromEngine(t *testing.T, c *client.Client, ref string) {
	t.Cleanup(func() {
		if _, err := c.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true}); err != nil {
			t.Errorf("remove %s: %v", ref, err)
		}
	})
}

func TestEngineLoadsDockerArchive(t *testing.T) {
	c, s := engine(t), newStore(t)
	d, greeting := helloImage(t, s)
	var archive bytes.Buffer
	tag := "release-images-test:" + d.Short()
	check(t, s.ExportDockerArchive(context.Background(), d, tag, &archive))
	loaded := must[image.LoadResponse](t)(c.ImageLoad(context.Background(), &archive))
	message := readAll(t, loaded.Body)
	check(t, loaded.Body.Close())
	if !strings.Contains(string(message), tag) {
		t.Fatalf("engine says %s", message)
	}
	removeFromEngine(t, c, tag)
	if got := runImage(t, c, tag); got != greeting {
		t.Fatalf("container printed %q", got)
	}

	// What the engine saves comes back with the same layers.
	saved := must[io.ReadCloser](t)(c.ImageSave(context.Background(), []string{tag}))
	path := filepath.Join(t.TempDir(), "saved.tar")
	check(t, os.WriteFile(path, readAll(t, saved), 0o644))
	check(t, saved.Close())
	again := must[Digest](t)(newStore(t).importInto(t, s, Source{Path: path, Name: "again"}))
	if a, b := must[Image](t)(s.Get(d)), must[Image](t)(s.Get(again)); a.Layers[0].DiffID != b.Layers[0].DiffID || a.Layers[1].DiffID != b.Layers[1].DiffID {
		t.Fatalf("layers %v and %v", a.Layers, b.Layers)
	}
}

// importInto imports into the receiver first, where all layers are new, and then into s.
func (fresh *Store) importInto(t *testing.T, s *Store, src Source) (Digest, error) {
	t.Helper()
	first := must[Digest](t)(fresh.Import(context.Background(), src))
	second, err := s.Import(context.Background(), src)
	if first != second {
		t.Errorf("the same source became %s and %s", first, second)
	}
	return second, err
}

func TestEnginePullsByDigest(t *testing.T) {
	c, s := engine(t), newStore(t)
	d, greeting := helloImage(t, s)
	server := httptest.NewServer(s.Registry("the-token"))
	defer server.Close()
	ref := fmt.Sprintf("%s/release-images-test@%s", strings.TrimPrefix(server.URL, "http://"), d)
	pull := func(token string) (string, error) {
		auth := must[string](t)(dockerregistry.EncodeAuthConfig(dockerregistry.AuthConfig{Username: "release", Password: token}))
		out, err := c.ImagePull(context.Background(), ref, image.PullOptions{RegistryAuth: auth})
		if err != nil {
			return "", err
		}
		defer out.Close()
		return string(readAll(t, out)), nil
	}
	if out, err := pull("wrong"); err == nil && !strings.Contains(out, "error") {
		t.Fatalf("pulled with a wrong token: %s", out)
	}
	out := must[string](t)(pull("the-token"))
	if !strings.Contains(out, string(d)) || strings.Contains(out, "errorDetail") {
		t.Fatalf("engine says %s", out)
	}
	removeFromEngine(t, c, ref)
	if got := runImage(t, c, ref); got != greeting {
		t.Fatalf("container printed %q", got)
	}
	inspect := must[image.InspectResponse](t)(c.ImageInspect(context.Background(), ref))
	m, _, err := s.readManifest(d)
	check(t, err)
	if inspect.ID != string(m.Config.Digest) {
		t.Fatalf("image id %s, config %s", inspect.ID, m.Config.Digest)
	}
}
