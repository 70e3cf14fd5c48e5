package builder_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
)

// shell builds the base image's shell once, foreignShell that for another architecture.
var (
	shell        = sync.OnceValues(func() ([]byte, error) { return buildShell(runtime.GOARCH) })
	foreignShell = sync.OnceValues(func() ([]byte, error) { return buildShell(foreignArch()) })
)

// foreignArch is one that this machine's processor does not run.
func foreignArch() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}

func buildShell(arch string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "builder-test")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w -buildid=", "-o", dir+"/sh", "./testdata/sh")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the test image's shell: %w: %s", err, out)
	}
	return os.ReadFile(dir + "/sh")
}

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var/www:/bin/false\nodd:x:40:33::/:/bin/false\n"
	group  = "root:x:0:\nwww:x:33:\nstaff:x:50:odd\n"
)

// base writes a base image with a shell as an OCI layout into the project's folder base.
func (p *project) base() {
	p.t.Helper()
	p.baseWith(runtime.GOARCH, shell)
}

func (p *project) baseWith(arch string, shell func() ([]byte, error)) {
	p.t.Helper()
	sh, err := shell()
	if err != nil {
		p.t.Fatal(err)
	}
	p.baseOf(arch, []images.Entry{
		{Path: "bin", Type: images.Symlink, Mode: 0o777, Link: "usr/bin"},
		{Path: "dev", Type: images.Dir, Mode: 0o755},
		{Path: "etc", Type: images.Dir, Mode: 0o755},
		{Path: "etc/group", Mode: 0o644, Size: int64(len(group))},
		{Path: "etc/passwd", Mode: 0o644, Size: int64(len(passwd))},
		{Path: "opt", Type: images.Dir, Mode: 0o755},
		{Path: "opt/old", Type: images.Dir, Mode: 0o755},
		{Path: "opt/old/a", Mode: 0o644, Size: 1},
		{Path: "opt/old/b", Mode: 0o644, Size: 1},
		{Path: "proc", Type: images.Dir, Mode: 0o755},
		{Path: "root", Type: images.Dir, Mode: 0o700},
		{Path: "run", Type: images.Dir, Mode: 0o755},
		{Path: "sys", Type: images.Dir, Mode: 0o755},
		{Path: "tmp", Type: images.Dir, Mode: 0o1777},
		{Path: "usr", Type: images.Dir, Mode: 0o755},
		{Path: "usr/bin", Type: images.Dir, Mode: 0o755},
		{Path: "usr/bin/sh", Mode: 0o755, Size: int64(len(sh))},
		{Path: "var", Type: images.Dir, Mode: 0o755},
		{Path: "var/www", Type: images.Dir, Mode: 0o2750, UID: 33, GID: 33},
		{Path: "var/www/index.html", Mode: 0o640, UID: 33, GID: 33, Size: 3},
	}, map[string]string{"etc/group": group, "etc/passwd": passwd, "usr/bin/sh": string(sh), "opt/old/a": "a", "opt/old/b": "b", "var/www/index.html": "old"})
}

func (p *project) baseOf(arch string, entries []images.Entry, content map[string]string) {
	p.t.Helper()
	s := newStore(p.t, p.t.TempDir())
	w, err := s.NewLayer(context.Background(), 0)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Add(e, strings.NewReader(content[e.Path])); err != nil {
			p.t.Fatal(err)
		}
	}
	l, err := w.Commit("test base")
	if err != nil {
		p.t.Fatal(err)
	}
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: arch}}
	config.Config.Env = []string{"PATH=/usr/bin", "BASE=yes"}
	d, err := s.Put(context.Background(), images.Image{Config: config, Layers: []images.Layer{l}}, "base")
	if err != nil {
		p.t.Fatal(err)
	}
	dir := filepath.Join(p.dir, "base")
	if err := os.RemoveAll(dir); err != nil {
		p.t.Fatal(err)
	}
	if err := s.ExportOCI(context.Background(), d, dir); err != nil {
		p.t.Fatal(err)
	}
}
