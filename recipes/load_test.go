package recipes_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// project makes a folder with the given files ("path": content; a path that ends in / is a folder, content that begins
// with "-> " makes a link) and works in it.
func project(t *testing.T, files map[string]string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		link, isLink := strings.CutPrefix(content, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case isLink:
			err = os.Symlink(link, path)
		default:
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(root)
	return root
}

func load(t *testing.T, path string) *recipes.Recipe {
	t.Helper()
	r, err := recipes.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func same(t *testing.T, want, got *recipes.Recipe) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreTypes(recipes.Position{}), cmpopts.IgnoreFields(recipes.Recipe{}, "Ignore", "Places"), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

const sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

const full = `name: shop
base: {image: debian:bookworm-slim}
copy:
  - {from: ../dist, to: /srv/www, owner: www-data, mode: "0640"}
  - {from: ../bin/web, to: /usr/local/bin/}
  - {from: ../bin/web, to: /usr/bin/shop, mode: "4755"}
fetch:
  - {url: "https://example.org/x.tar.gz", sha256: ` + sum + `, to: /opt/x.tar.gz, unpack: /opt/x}
git: [{url: "https://example.org/app.git", ref: v1.2.3, to: /srv/app/}]
run:
  - cmd: useradd -r shop
  - {cmd: [apt-get, update], network: true, env: {A: b}, user: "1000:1000", dir: /srv}
env: {PORT: "8080"}
user: shop
services: {web: {cmd: [/srv/app/bin/web, --verbose]}}
ports: [8080, 9090]
labels: {org.opencontainers.image.source: "https://example.org"}
workdir: /srv
`

func fullFiles() map[string]string {
	return map[string]string{"recipes/shop.yaml": full, "dist/index.html": "x", "bin/web": "x", "release.yaml": ""}
}

func TestLoad(t *testing.T) {
	root := project(t, fullFiles())
	got := load(t, "recipes/shop.yaml")
	dir := filepath.Join(root, "recipes")
	perm := func(m fs.FileMode) *fs.FileMode { return &m }
	same(t, &recipes.Recipe{
		Path: filepath.Join(dir, "shop.yaml"), Dir: dir, Root: root, Name: "shop", Files: []string{"recipes/shop.yaml"},
		Base: recipes.Base{Reference: "debian:bookworm-slim"},
		Copy: []recipes.Copy{
			{From: "../dist", Source: filepath.Join(root, "dist"), To: "/srv/www", Owner: "www-data", Mode: perm(0o640), Dir: dir},
			{From: "../bin/web", Source: filepath.Join(root, "bin/web"), To: "/usr/local/bin/web", Dir: dir},
			{From: "../bin/web", Source: filepath.Join(root, "bin/web"), To: "/usr/bin/shop", Mode: perm(0o755 | fs.ModeSetuid), Dir: dir},
		},
		Fetch: []recipes.Fetch{{URL: "https://example.org/x.tar.gz", SHA256: sum, To: "/opt/x.tar.gz", Unpack: "/opt/x", Dir: dir}},
		Git:   []recipes.Git{{URL: "https://example.org/app.git", Ref: "v1.2.3", To: "/srv/app", Dir: dir}},
		Run: []recipes.Run{
			{Cmd: []string{"/bin/sh", "-c", "useradd -r shop"}, Dir: dir},
			{Cmd: []string{"apt-get", "update"}, Network: true, Env: map[string]string{"A": "b"}, User: "1000:1000", Workdir: "/srv", Dir: dir},
		},
		Env: map[string]string{"PORT": "8080"}, User: "shop", Services: map[string]recipes.Service{"web": {
			Name: "web", Cmd: []string{"/srv/app/bin/web", "--verbose"}, Restart: recipes.RestartNo, Signal: "TERM", Grace: 10 * time.Second,
		}},
		Ports: []int{8080, 9090}, Labels: map[string]string{"org.opencontainers.image.source": "https://example.org"}, Workdir: "/srv",
	}, got)
	if p := got.Run[1].Pos; p != (recipes.Position{File: "recipes/shop.yaml", Line: 12, Column: 5}) {
		t.Errorf("second run is at %v", p)
	}
	if cmd := strings.Join(got.Command(), " "); cmd != "/srv/app/bin/web --verbose" {
		t.Errorf("command is %q", cmd)
	}
}

func TestSmallest(t *testing.T) {
	project(t, map[string]string{"My App.yaml": "base: scratch\nentrypoint: [/app]\n"})
	got := load(t, "My App.yaml")
	if !got.Base.Scratch || got.Name != "my-app" || got.Root != got.Dir || strings.Join(got.Command(), " ") != "/app" {
		t.Errorf("got %+v", got)
	}
	if recipes := load(t, "./My App.yaml"); recipes.Command() == nil {
		t.Error("no command")
	}
}

func TestBases(t *testing.T) {
	root := project(t, map[string]string{"r.yaml": "", "layout/oci-layout": "{}", "base.tar": "x", "sub/r.yaml": ""})
	for image, want := range map[string]recipes.Base{
		"./layout":         {Path: filepath.Join(root, "layout")},
		"./base.tar":       {Path: filepath.Join(root, "base.tar")},
		root + "/base.tar": {Path: filepath.Join(root, "base.tar")},
		"debian:12":        {Reference: "debian:12"},
		"registry.example:5000/a/b@sha256:" + sum: {Reference: "registry.example:5000/a/b@sha256:" + sum},
		"127.0.0.1:5000/a:v1":                     {Reference: "127.0.0.1:5000/a:v1"},
	} {
		if err := os.WriteFile("r.yaml", []byte("base: {image: \""+image+"\"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got := load(t, "r.yaml").Base
		if got.Pos = (recipes.Position{}); got != want {
			t.Errorf("%s: got %+v", image, got)
		}
	}
}

func TestCompose(t *testing.T) {
	root := project(t, map[string]string{
		"release.yaml":       "",
		"recipes/shop.yaml":  "include: [../common/base.yaml, extra.yaml]\nuser: shop\nrun: [{cmd: own}]\nenv: {B: own, C: own}\nports: [8080]\nentrypoint: [/app]\ncopy: [{from: ../file, to: /own}]\n",
		"recipes/extra.yaml": "include: [../common/base.yaml]\nrun: [{cmd: extra}]\nports: [9090]\nservices: {web: {cmd: [/x]}, other: {cmd: [/y]}}\n",
		"common/base.yaml":   "name: other\nbase: scratch\nuser: nobody\nworkdir: /srv\nrun: [{cmd: common}]\nenv: {A: common, B: common}\nports: [9090]\nlabels: {a: b}\ncopy: [{from: file, to: /common}]\n",
		"common/file":        "1", "file": "2",
	})
	got := load(t, "recipes/shop.yaml")
	shop, common, extra := filepath.Join(root, "recipes"), filepath.Join(root, "common"), filepath.Join(root, "recipes")
	sh := func(dir, text string) recipes.Run { return recipes.Run{Cmd: []string{"/bin/sh", "-c", text}, Dir: dir} }
	same(t, &recipes.Recipe{
		Path: filepath.Join(shop, "shop.yaml"), Dir: shop, Root: root, Name: "shop", Base: recipes.Base{Scratch: true},
		Files: []string{"common/base.yaml", "recipes/extra.yaml", "recipes/shop.yaml"},
		Copy: []recipes.Copy{
			{From: "file", Source: filepath.Join(common, "file"), To: "/common", Dir: common},
			{From: "../file", Source: filepath.Join(root, "file"), To: "/own", Dir: shop},
		},
		Run: []recipes.Run{sh(common, "common"), sh(extra, "extra"), sh(shop, "own")},
		Env: map[string]string{"A": "common", "B": "own", "C": "own"}, User: "shop", Workdir: "/srv",
		Ports: []int{9090, 8080}, Labels: map[string]string{"a": "b"}, Entrypoint: []string{"/app"},
	}, got)
	for name, want := range map[string]string{
		"command": "recipes/shop.yaml:6:13", "user": "recipes/shop.yaml:2:7", "env:A": "common/base.yaml:6:7", "env:B": "recipes/shop.yaml:4:7", "label:a": "common/base.yaml:8:10",
	} {
		if p := got.Places[name]; fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) != want {
			t.Errorf("%s stands at %v, want %s", name, p, want)
		}
	}
	if p := got.Run[0].Pos; p.File != "common/base.yaml" || p.Line != 5 || p.Column != 7 {
		t.Errorf("included run is at %v", p)
	}
}

func TestProjectFolder(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"release.yaml": {map[string]string{"release.yaml": "", "a/b/r.yaml": "base: scratch\n"}, "."},
		"git folder":   {map[string]string{".git/HEAD": "", "a/b/r.yaml": "base: scratch\n"}, "."},
		"git file":     {map[string]string{".git": "gitdir: x", "a/b/r.yaml": "base: scratch\n"}, "."},
		"nearest":      {map[string]string{".git/HEAD": "", "a/release.yaml": "", "a/b/r.yaml": "base: scratch\n"}, "a"},
		"neither":      {map[string]string{"a/b/r.yaml": "base: scratch\n"}, "a/b"},
	} {
		t.Run(name, func(t *testing.T) {
			root := project(t, c.files)
			if got := load(t, "a/b/r.yaml").Root; got != filepath.Join(root, c.want) {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestLoadNoFile(t *testing.T) {
	for _, path := range []string{"none.yaml", "none/none.yaml"} {
		if _, err := recipes.Load(filepath.Join(t.TempDir(), path)); !fault.Is(err, fault.NotFound) {
			t.Errorf("got %v", err)
		}
	}
}
