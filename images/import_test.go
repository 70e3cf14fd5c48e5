package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	ggcrregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/bootandshoot/release/internal/fault"
)

// foreignImage is an image that another implementation made, with compressed layers.
func foreignImage(t *testing.T, platform string, how compression.Compression) v1.Image {
	t.Helper()
	p := must[*v1.Platform](t)(v1.ParsePlatform(platform))
	img := empty.Image
	for _, file := range []string{"one", "two"} {
		data := tarOf(t, tar.Header{Name: file, Size: 3}, tar.Header{Name: "platform-" + p.Architecture, Size: 1})
		l := must[v1.Layer](t)(tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		}, tarball.WithCompression(how)))
		img = must[v1.Image](t)(mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "made " + file}}))
	}
	config := must[*v1.ConfigFile](t)(img.ConfigFile())
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Config.Cmd = []string{"/one"}
	return must[v1.Image](t)(mutate.ConfigFile(img, config))
}

func foreignIndex(t *testing.T, platforms ...string) v1.ImageIndex {
	t.Helper()
	var list []mutate.IndexAddendum
	for _, p := range platforms {
		list = append(list, mutate.IndexAddendum{
			Add:        foreignImage(t, p, compression.GZip),
			Descriptor: v1.Descriptor{Platform: must[*v1.Platform](t)(v1.ParsePlatform(p))},
		})
	}
	return mutate.AppendManifests(empty.Index, list...)
}

func testRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(ggcrregistry.New(ggcrregistry.Logger(discardLog())))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func checkForeign(t *testing.T, s *Store, d Digest, arch string) Image {
	t.Helper()
	img := must[Image](t)(s.Get(d))
	if img.Config.Architecture != arch || len(img.Layers) != 2 || img.Layers[1].CreatedBy != "made two" || img.Command()[0] != "/one" {
		t.Fatalf("image %+v", img)
	}
	if got := treeText(t, must[string](t)(s.Rootfs(context.Background(), d))); got != "one platform-"+arch+" two" {
		t.Fatalf("root has %q", got)
	}
	return img
}

func TestImportFromRegistry(t *testing.T) {
	host := testRegistry(t)
	index := foreignIndex(t, "linux/amd64", "linux/arm64")
	tag := must[name.Reference](t)(name.ParseReference(host + "/team/app:v1"))
	check(t, remote.WriteIndex(tag, index))
	single := foreignImage(t, "linux/"+testArch, compression.ZStd)
	check(t, remote.Write(must[name.Reference](t)(name.ParseReference(host+"/zstd")), single))
	singleDigest := must[v1.Hash](t)(single.Digest()).String()
	for _, c := range []struct{ ref, platform, arch string }{
		{host + "/team/app:v1", "", testArch},
		{host + "/team/app:v1", "linux/arm64", "arm64"},
		{host + "/zstd", "", testArch},
		{host + "/zstd@" + singleDigest, "", testArch},
	} {
		s := newStore(t)
		d := must[Digest](t)(s.Import(context.Background(), Source{Reference: c.ref, Platform: c.platform, Name: "base"}))
		img := checkForeign(t, s, d, c.arch)
		if origin := img.Annotations[AnnotationSourceDigest]; strings.Contains(c.ref, "@") && origin != singleDigest {
			t.Errorf("source digest %q", origin)
		}
		if again := must[Digest](t)(s.Import(context.Background(), Source{Reference: c.ref, Platform: c.platform, Name: "base"})); again != d {
			t.Errorf("%s: %s and then %s", c.ref, d, again)
		}
	}
}

func TestImportErrors(t *testing.T) {
	host := testRegistry(t)
	check(t, remote.WriteIndex(must[name.Reference](t)(name.ParseReference(host+"/app")), foreignIndex(t, "linux/s390x", "linux/ppc64le")))
	check(t, remote.Write(must[name.Reference](t)(name.ParseReference(host+"/one")), foreignImage(t, "linux/s390x", compression.GZip)))
	down := httptest.NewServer(http.NotFoundHandler())
	downHost := strings.TrimPrefix(down.URL, "http://")
	down.Close()
	folder := t.TempDir()
	check(t, os.WriteFile(filepath.Join(folder, "text"), []byte("not a tar"), 0o644))
	for _, c := range []struct {
		name string
		src  Source
		code fault.Code
		text string
	}{
		{"neither", Source{}, fault.Invalid, "path or a reference"},
		{"both", Source{Path: "x", Reference: "y"}, fault.Invalid, "path or a reference"},
		{"malformed", Source{Reference: "UPPER CASE"}, fault.Invalid, "read reference"},
		{"no tag", Source{Reference: host + "/app:nope"}, fault.NotFound, "no such image"},
		{"no platform", Source{Reference: host + "/app"}, fault.NotFound, "no image for linux/" + testArch},
		{"other platform", Source{Reference: host + "/one"}, fault.NotFound, "no image for linux/" + testArch},
		{"down", Source{Reference: downHost + "/app"}, fault.Unavailable, "does not answer"},
		{"no such host", Source{Reference: "registry.invalid/app"}, fault.Unavailable, "does not answer"},
		{"no path", Source{Path: filepath.Join(folder, "nope")}, fault.NotFound, "no such file"},
		{"empty folder", Source{Path: folder}, fault.Invalid, "neither an OCI layout"},
		{"no tar", Source{Path: filepath.Join(folder, "text")}, fault.Invalid, "as a tar file"},
		{"bad platform", Source{Path: folder, Platform: "linux"}, fault.Invalid, "os/arch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			_, err := s.Import(context.Background(), c.src)
			if !fault.Is(err, c.code) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("%s: %v", fault.CodeOf(err), err)
			}
			if list := must[[]Info](t)(s.List()); len(list) != 0 {
				t.Errorf("listed %v", list)
			}
		})
	}
}

// The registry wants the credentials of the Docker configuration.
func TestImportAuthenticates(t *testing.T) {
	from := newStore(t)
	d := putImage(t, from, "shop", fileLayer(t, from, "a", "x"))
	server := httptest.NewServer(from.Registry("t0k"))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	src := Source{Reference: host + "/shop@" + string(d)}
	if _, err := newStore(t).Import(context.Background(), src); !fault.Is(err, fault.Denied) || !strings.Contains(fault.All(err)[0].Hint, "docker login "+host) {
		t.Fatalf("without credentials: %v", err)
	}
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("u:t0k")))
	check(t, os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600))
	if got := must[Digest](t)(newStore(t).Import(context.Background(), src)); got != d {
		t.Fatalf("our own image became %s", got)
	}
}

func TestImportOCILayout(t *testing.T) {
	dir := t.TempDir()
	path := must[layout.Path](t)(layout.Write(dir, empty.Index))
	check(t, path.AppendIndex(foreignIndex(t, "linux/arm64", "linux/"+testArch), layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "multi"})))
	check(t, path.AppendImage(foreignImage(t, "linux/s390x", compression.None), layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "other"})))
	s := newStore(t)
	if _, err := s.Import(context.Background(), Source{Path: dir}); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.All(err)[0].Hint, "other") {
		t.Fatalf("several: %v", err)
	}
	checkForeign(t, s, must[Digest](t)(s.Import(context.Background(), Source{Path: dir, Select: "multi"})), testArch)
	checkForeign(t, s, must[Digest](t)(s.Import(context.Background(), Source{Path: dir, Select: "other", Platform: "linux/s390x"})), "s390x")
	quiet := newStore(t)
	d := must[Digest](t)(quiet.Import(context.Background(), Source{Path: dir, Select: "multi", Unlisted: true}))
	if list := must[[]Info](t)(quiet.List()); len(list) != 0 {
		t.Errorf("listed: %v", list)
	}
	check(t, quiet.Tag(context.Background(), d, "multi"))
	checkForeign(t, quiet, d, testArch)
	if _, err := s.Import(context.Background(), Source{Path: dir, Select: "nope"}); !fault.Is(err, fault.NotFound) {
		t.Fatalf("unknown: %v", err)
	}
}

func TestExportsComeBackTheSame(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	l := fileLayer(t, s, "a", "hello")
	d := putImage(t, s, "shop", l, fileLayer(t, s, "b", "world"), l)
	dir := filepath.Join(t.TempDir(), "out")
	check(t, s.ExportOCI(ctx, d, dir))
	if err := s.ExportOCI(ctx, d, dir); !fault.Is(err, fault.Exists) {
		t.Fatalf("second export: %v", err)
	}
	var oci, docker, zipped bytes.Buffer
	check(t, s.ExportOCIArchive(ctx, d, &oci))
	check(t, s.ExportDockerArchive(ctx, d, "", &docker))
	z := gzip.NewWriter(&zipped)
	must[int](t)(z.Write(oci.Bytes()))
	check(t, z.Close())
	for _, name := range []string{dir, write(t, oci.Bytes()), write(t, zipped.Bytes()), write(t, docker.Bytes())} {
		to := newStore(t)
		got := must[Digest](t)(to.Import(ctx, Source{Path: name}))
		if got != d {
			t.Errorf("%s: %s", name, got)
		}
		a, b := must[Image](t)(s.Get(d)), must[Image](t)(to.Get(got))
		for i := range a.Layers {
			if a.Layers[i] != b.Layers[i] {
				t.Errorf("%s: layer %d: %+v", name, i, b.Layers[i])
			}
		}
	}
	// Another implementation reads the layout too.
	index := must[v1.ImageIndex](t)(layout.ImageIndexFromPath(dir))
	if m := must[*v1.IndexManifest](t)(index.IndexManifest()); m.Manifests[0].Digest.String() != string(d) {
		t.Fatalf("index %+v", m)
	}
}

func TestExportOfDamagedBlobFails(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	l := fileLayer(t, s, "a", "hello")
	d := putImage(t, s, "shop", l)
	data := []byte(readFile(t, s.blobPath(l.Digest)))
	data[513]++
	check(t, os.WriteFile(s.blobPath(l.Digest), data, 0o644))
	dir := filepath.Join(t.TempDir(), "out")
	if err := s.ExportOCI(ctx, d, dir); err == nil {
		t.Fatal("exported")
	}
	if entries := must[[]os.DirEntry](t)(os.ReadDir(filepath.Dir(dir))); len(entries) != 0 {
		t.Fatalf("left %v", entries)
	}
	if err := s.ExportDockerArchive(ctx, d, "", io.Discard); err == nil {
		t.Fatal("exported")
	}
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(path, data, 0o644))
	return path
}

// archiveOf is a docker archive made by hand.
func archiveOf(t testing.TB, manifest any, config any, layer []byte, more ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	put := func(name string, data []byte) {
		check(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644}))
		must[int](t)(w.Write(data))
	}
	put("layer.tar", layer)
	put("config.json", must[[]byte](t)(json.Marshal(config)))
	put("manifest.json", must[[]byte](t)(json.Marshal(manifest)))
	for _, h := range more {
		check(t, w.WriteHeader(&h))
	}
	check(t, w.Close())
	return buf.Bytes()
}

func archiveConfig(diffIDs ...Digest) map[string]any {
	return map[string]any{"os": "linux", "architecture": testArch, "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}}
}

func TestImportDockerArchive(t *testing.T) {
	layer := tarOf(t, tar.Header{Name: "a", Size: 1})
	link := tar.Header{Name: "two/layer.tar", Linkname: "../layer.tar", Typeflag: tar.TypeSymlink}
	loop := tar.Header{Name: "loop", Linkname: "loop", Typeflag: tar.TypeSymlink}
	d := DigestOf(layer)
	type m = []map[string]any
	for _, c := range []struct {
		name     string
		manifest any
		config   any
		text     string // of the error; "" for success
		selected string
	}{
		{"plain", m{{"Config": "config.json", "Layers": []string{"layer.tar"}}}, archiveConfig(d), "", ""},
		{"linked layer", m{{"Config": "config.json", "Layers": []string{"layer.tar", "two/layer.tar"}}}, archiveConfig(d, d), "", ""},
		{"selected", m{{"Config": "x", "RepoTags": []string{"x:1"}}, {"Config": "config.json", "RepoTags": []string{"y:latest"}, "Layers": []string{"layer.tar"}}}, archiveConfig(d), "", "y"},
		{"several", m{{"Config": "x"}, {"Config": "y"}}, nil, "several images", ""},
		{"none", m{}, nil, "no image", ""},
		{"not there", m{{"Config": "x"}}, nil, "no image \"z\"", "z"},
		{"no list", "text", nil, "manifest.json", ""},
		{"other diff id", m{{"Config": "config.json", "Layers": []string{"layer.tar"}}}, archiveConfig(DigestOf(nil)), "content has digest", ""},
		{"other count", m{{"Config": "config.json", "Layers": []string{"layer.tar"}}}, archiveConfig(d, d), "2 layers", ""},
		{"bad diff id", m{{"Config": "config.json", "Layers": []string{"layer.tar"}}}, archiveConfig("sha256:../../x"), "diff id", ""},
		{"missing layer", m{{"Config": "config.json", "Layers": []string{"nope"}}}, archiveConfig(d), "incomplete", ""},
		{"looping layer", m{{"Config": "config.json", "Layers": []string{"loop"}}}, archiveConfig(d), "too many links", ""},
		{"missing config", m{{"Config": "../config"}}, archiveConfig(d), "configuration", ""},
		{"other platform", m{{"Config": "config.json", "Layers": []string{"layer.tar"}}}, map[string]any{"os": "plan9", "architecture": "mips"}, "plan9/mips", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			path := write(t, archiveOf(t, c.manifest, c.config, layer, link, loop))
			got, err := s.Import(context.Background(), Source{Path: path, Select: c.selected})
			if c.text != "" {
				if err == nil || !strings.Contains(err.Error()+fault.All(err)[0].Hint, c.text) {
					t.Fatalf("got %v", err)
				}
				return
			}
			check(t, err)
			if tree := treeText(t, must[string](t)(s.Rootfs(context.Background(), got))); tree != "a" {
				t.Fatalf("root has %q", tree)
			}
		})
	}
}

func TestImportRefusesDecompressionBomb(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	must[int](t)(z.Write(make([]byte, 1<<20)))
	check(t, z.Close())
	s := newStore(t, WithLimits(Limits{LayerBytes: 1 << 16}))
	manifest := []map[string]any{{"Config": "config.json", "Layers": []string{"layer.tar"}}}
	path := write(t, archiveOf(t, manifest, archiveConfig(DigestOf(make([]byte, 1<<20))), zipped.Bytes()))
	_, err := s.Import(context.Background(), Source{Path: path})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "layer.tar: ") || !strings.Contains(err.Error(), "more than 65536 bytes") {
		t.Fatalf("got %v", err)
	}
}
