package dockerfile

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// project is a folder with a Dockerfile, and a store.
type project struct {
	t      *testing.T
	dir    string
	store  *images.Store
	output []string
}

func newProject(t *testing.T) *project {
	t.Helper()
	if out, err := exec.Command("docker", "version").CombinedOutput(); err != nil {
		t.Fatalf("this test needs a Docker engine: apt-get install docker.io; systemctl start docker: %v\n%s", err, out)
	}
	s, err := images.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := &project{t: t, dir: t.TempDir(), store: s}
	// A word of this run, so that images of the engine are this test's own.
	p.write("app", fmt.Sprintf("program of %s %d", t.TempDir(), os.Getpid()))
	p.write("secret.env", "x")
	p.write(".dockerignore", "*.env\n")
	p.write("Dockerfile", "FROM scratch\nCOPY . /srv/\nENV LOG=info\nUSER 1000:1000\nWORKDIR /srv\nEXPOSE 8080 9090/udp\nENTRYPOINT [\"/srv/app\"]\nCMD [\"--fast\"]\n")
	return p
}

func (p *project) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o755); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) build(change ...func(*Options)) (Result, error) {
	p.t.Helper()
	o := Options{Path: filepath.Join(p.dir, "Dockerfile"), Store: p.store, Name: "shop", Annotations: map[string]string{"note": "x"},
		Output: func(line string) { p.output = append(p.output, line) }}
	for _, c := range change {
		c(&o)
	}
	res, err := Build(p.t.Context(), o)
	if err != nil {
		return res, err
	}
	img, err := p.store.Get(res.Image)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", img.Annotations[AnnotationImage]).Run() })
	return res, nil
}

func (p *project) must(change ...func(*Options)) Result {
	p.t.Helper()
	res, err := p.build(change...)
	if err != nil {
		p.t.Fatal(err)
	}
	return res
}

// files lists the files of all layers.
func (p *project) files(d images.Digest) []string {
	p.t.Helper()
	img, err := p.store.Get(d)
	if err != nil {
		p.t.Fatal(err)
	}
	var list []string
	for _, l := range img.Layers {
		f, err := p.store.OpenBlob(l.Digest)
		if err != nil {
			p.t.Fatal(err)
		}
		for tr := tar.NewReader(f); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				p.t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				list = append(list, h.Name)
			}
		}
		_ = f.Close()
	}
	slices.Sort(list)
	return list
}

func (p *project) check(res Result) {
	p.t.Helper()
	img, err := p.store.Get(res.Image)
	if err != nil {
		p.t.Fatal(err)
	}
	c := img.Config.Config
	if got := fmt.Sprintf("%v %s %s %v %v", img.Command(), c.User, c.WorkingDir, img.Ports(), slices.Contains(c.Env, "LOG=info")); got != "[/srv/app --fast] 1000:1000 /srv [8080] true" {
		p.t.Errorf("image: %s", got)
	}
	if got := strings.Join(p.files(res.Image), " "); got != "srv/.dockerignore srv/Dockerfile srv/app" {
		p.t.Errorf("files: %s", got)
	}
	if img.Annotations["note"] != "x" || !strings.HasPrefix(img.Annotations[AnnotationImage], "sha256:") {
		p.t.Errorf("annotations: %v", img.Annotations)
	}
	if d, err := p.store.Resolve("shop"); err != nil || d != res.Image {
		p.t.Errorf("listed: %s %v", d, err)
	}
	if left, err := filepath.Glob(filepath.Join(p.store.Dir(), ".docker-*")); err != nil || len(left) > 0 {
		p.t.Errorf("left: %v %v", left, err)
	}
}

func TestBuild(t *testing.T) {
	p := newProject(t)
	res := p.must()
	p.check(res)
	if res.Cached || !strings.Contains(strings.Join(p.output, "\n"), "COPY . /srv/") {
		t.Errorf("%+v\n%s", res, strings.Join(p.output, "\n"))
	}
	if again := p.must(); !again.Cached || again.Image != res.Image {
		t.Errorf("again: %+v", again)
	}
	if other := p.must(func(o *Options) { o.Annotations = map[string]string{"note": "y"} }); other.Cached || other.Image == res.Image {
		t.Errorf("with another annotation: %+v", other)
	}
	p.write("app", "another program")
	if changed := p.must(); changed.Cached || changed.Image == res.Image {
		t.Errorf("changed: %+v", changed)
	}
}

// A client without BuildKit has the engine's own builder make the same image.
func TestBuildByTheEngineAlone(t *testing.T) {
	p := newProject(t)
	real, err := exec.LookPath("docker")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := "#!/bin/sh\ncase $1 in version) echo 28.0.0 20.10.0;; buildx) exit 1;; *) exec " + real + " \"$@\";; esac\n"
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	res := p.must()
	p.check(res)
	if again := p.must(); !again.Cached || again.Image != res.Image {
		t.Errorf("again: %+v", again)
	}
}

// What the check refuses is not listed, whether it is new or not.
func TestBuildThatIsRefused(t *testing.T) {
	p := newProject(t)
	refuse := func(o *Options) {
		o.Check = func(_ context.Context, d images.Digest) error {
			img, err := p.store.Get(d)
			if err != nil || len(img.Layers) == 0 {
				t.Errorf("the image to check: %+v %v", img, err)
			}
			t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", img.Annotations[AnnotationImage]).Run() })
			return fault.New(fault.Denied, "no")
		}
	}
	for range 2 {
		if _, err := p.build(refuse); !fault.Is(err, fault.Denied) {
			t.Fatalf("%v", err)
		}
	}
	if list, err := p.store.List(); err != nil || len(list) > 0 {
		t.Errorf("listed: %v %v", list, err)
	}
	res := p.must()
	p.check(res)
	if _, err := p.build(refuse); !fault.Is(err, fault.Denied) {
		t.Errorf("what is there already: %v", err)
	}
}

func TestBuildThatFails(t *testing.T) {
	p := newProject(t)
	for name, c := range map[string]struct {
		text string
		code fault.Code
		want []string
	}{
		"copy":        {"FROM scratch\nCOPY nothing-here /x\n", fault.Failed, []string{"exit code 1, its last output was:", "nothing-here"}},
		"instruction": {"FROM scratch\nCOPI a b\n", fault.Failed, []string{"COPI"}},
		"missing":     {"", fault.NotFound, []string{"there is no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			p.write("Dockerfile", c.text)
			if c.text == "" {
				if err := os.Remove(filepath.Join(p.dir, "Dockerfile")); err != nil {
					t.Fatal(err)
				}
			}
			_, err := p.build()
			if !fault.Is(err, c.code) {
				t.Fatalf("%v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %v", want, err)
				}
			}
		})
	}
	if list, err := p.store.List(); err != nil || len(list) > 0 {
		t.Errorf("listed: %v %v", list, err)
	}
}

func TestNoEngine(t *testing.T) {
	p := newProject(t)
	t.Setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
	_, err := p.build()
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "none answers") || !strings.Contains(fault.All(err)[0].Hint, "release init") {
		t.Errorf("%v", err)
	}
	t.Setenv("PATH", t.TempDir())
	_, err = p.build()
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "no program docker in PATH") {
		t.Errorf("%v", err)
	}
}

func TestIs(t *testing.T) {
	for path, want := range map[string]bool{
		"Dockerfile": true, "./a/Dockerfile": true, "shop.Dockerfile": true, "Dockerfile.shop": true,
		"recipe.yaml": false, "dockerfile.yaml": false, "Dockerfiles/recipe.yaml": false, "MyDockerfile": false,
	} {
		if Is(path) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
}

func TestTail(t *testing.T) {
	var lines []string
	out := &tail{keep: 2, line: func(s string) { lines = append(lines, s) }}
	for _, part := range []string{"on", "e\r\ntw", "o\n\nthree"} {
		_, _ = out.Write([]byte(part))
	}
	out.flush()
	if strings.Join(lines, ",") != "one,two,,three" || strings.Join(out.last, ",") != "two,three" {
		t.Errorf("%q %q", lines, out.last)
	}
}
