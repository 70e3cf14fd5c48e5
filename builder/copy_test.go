package builder_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

const fromScratch = `
base: scratch
copy:
  - {from: bin/app, to: /app}
  - {from: dist, to: /srv/www, owner: "33:33", mode: "0640"}
env: {PORT: "8080", A: b}
ports: [8080, 9090]
labels: {x: "y"}
user: "33"
workdir: /srv
entrypoint: [/app, -v]
`

// moved is a recipe with its program in another place.
func moved(recipe, to string) string {
	return strings.NewReplacer("to: /app", "to: "+to, "[/app,", "["+to+",").Replace(recipe)
}

func (p *project) scratch() {
	p.write("bin/app", "program", 0o700)
	p.write("dist/index.html", "hello", 0o600)
	p.write("dist/css/a.css", "style", 0o666)
	if err := os.Symlink("css/a.css", filepath.Join(p.dir, "dist/link")); err != nil && !os.IsExist(err) {
		p.t.Fatal(err)
	}
}

func TestCopyFromScratch(t *testing.T) {
	p := newProject(t)
	p.scratch()
	p.write("dist/.git/config", "no", 0o644)
	p.write("dist/x.log", "no", 0o644)
	p.write(".releaseignore", "*.log\n", 0o644)
	res := p.bake(fromScratch)
	want(t, "layers", p.steps(res), `
# copy bin/app to /app
f 0755 0:0 app = program
# copy dist to /srv/www
d 0755 0:0 srv/
d 0750 33:33 srv/www/
d 0750 33:33 srv/www/css/
f 0640 33:33 srv/www/css/a.css = style
f 0640 33:33 srv/www/index.html = hello
l 0777 33:33 srv/www/link -> css/a.css
`)
	img, err := p.store.Get(res.Image)
	if err != nil {
		t.Fatal(err)
	}
	c := img.Config.Config
	got := strings.TrimSpace(fmt.Sprintln(c.Env, c.User, c.WorkingDir, c.Entrypoint, c.Cmd, c.Labels, img.Ports(), img.Config.Created.Unix(), img.Config.OS))
	want(t, "configuration", got, "[PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin A=b PORT=8080] 33 /srv [/app -v] [] map[x:y] [8080 9090] 0 linux")
	again := p.bake(fromScratch)
	if again.Image != res.Image || !again.Cached || cachedSteps(again) != "cc" {
		t.Errorf("second bake: %+v, first %s", again, res.Image)
	}
}

// TestSameDigestAnywhere bakes the same files in another folder, store, umask, locale and time.
func TestSameDigestAnywhere(t *testing.T) {
	p := newProject(t)
	p.scratch()
	first := p.bake(fromScratch)
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	t.Setenv("TZ", "Asia/Tokyo")
	q := newProject(t)
	q.scratch()
	if err := os.Chtimes(filepath.Join(q.dir, "bin/app"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if second := q.bake(fromScratch, func(o *builder.Options) { o.Name = "other" }); second.Image != first.Image {
		t.Errorf("%s and %s", first.Image, second.Image)
	}
}

// TestKeys changes one input at a time: what depends on it is made again, and nothing else is.
func TestKeys(t *testing.T) {
	epoch := int64(5)
	for _, c := range []struct {
		name   string
		change func(p *project, recipe string) string
		option func(o *builder.Options)
		cached string
		same   bool // the image is the same
	}{
		{name: "nothing", cached: "ccc", same: true},
		{name: "comment", change: func(_ *project, r string) string { return r + "# comment\n" }, cached: "ccc", same: true},
		{name: "touched file", change: func(p *project, r string) string {
			_ = os.Chtimes(filepath.Join(p.dir, "bin/app"), time.Now(), time.Unix(99, 0))
			return r
		}, cached: "ccc", same: true},
		{name: "file written anew", change: func(p *project, r string) string { p.scratch(); return r }, cached: "ccc", same: true},
		{name: "group may read", change: func(p *project, r string) string { p.write("dist/index.html", "hello", 0o640); return r }, cached: "ccc", same: true},
		{name: "store's other image", change: func(p *project, r string) string {
			if _, err := p.store.Put(p.t.Context(), images.Image{}, "x"); err != nil {
				p.t.Fatal(err)
			}
			return r
		}, cached: "ccc", same: true},
		{name: "environment", change: func(_ *project, r string) string { return strings.Replace(r, "A: b", "A: c", 1) }, cached: "ccc"},
		{name: "content", change: func(p *project, r string) string { p.write("bin/app", "Program", 0o700); return r }, cached: "-cc"},
		{name: "content below", change: func(p *project, r string) string { p.write("dist/css/a.css", "Style", 0o666); return r }, cached: "c-c"},
		{name: "executable", change: func(p *project, r string) string { p.write("bin/app", "program", 0o600); return r }, cached: "-cc"},
		{name: "new file", change: func(p *project, r string) string { p.write("dist/new", "", 0o600); return r }, cached: "c-c"},
		{name: "new folder", change: func(p *project, r string) string { _ = os.Mkdir(filepath.Join(p.dir, "dist/d"), 0o700); return r }, cached: "c-c"},
		{name: "ignored file", change: func(p *project, r string) string {
			p.write(".releaseignore", "css/\n", 0o600)
			return r
		}, cached: "c-c"},
		{name: "link", change: func(p *project, r string) string {
			_ = os.Remove(filepath.Join(p.dir, "dist/link"))
			_ = os.Symlink("index.html", filepath.Join(p.dir, "dist/link"))
			return r
		}, cached: "c-c"},
		{name: "owner", change: func(_ *project, r string) string { return strings.Replace(r, "33:33", "33:34", 1) }, cached: "c-c"},
		{name: "mode", change: func(_ *project, r string) string { return strings.Replace(r, "0640", "0644", 1) }, cached: "c-c"},
		{name: "target", change: func(_ *project, r string) string { return moved(r, "/App") }, cached: "-cc"},
		{name: "target in a lower step's folder", change: func(_ *project, r string) string { return moved(r, "/srv/app") }, cached: "--c"},
		{name: "epoch", option: func(o *builder.Options) { o.SourceDateEpoch = &epoch }, cached: "---"},
		{name: "no cache", option: func(o *builder.Options) { o.NoCache = true }, cached: "---", same: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			p.scratch()
			recipe := strings.Replace(fromScratch, "env:", "  - {from: bin, to: /opt}\nenv:", 1)
			if c.name == "content" || c.name == "executable" || strings.HasPrefix(c.name, "target") {
				recipe = strings.Replace(recipe, "from: bin,", "from: etc,", 1)
			}
			p.write("etc/conf", "conf", 0o644)
			first := p.bake(recipe)
			if c.change != nil {
				recipe = c.change(p, recipe)
			}
			var options []func(*builder.Options)
			if c.option != nil {
				options = append(options, c.option)
			}
			second := p.bake(recipe, options...)
			if got := cachedSteps(second); got != c.cached {
				t.Errorf("cached steps: %s, want %s", got, c.cached)
			}
			if (second.Image == first.Image) != c.same {
				t.Errorf("images %s and %s", first.Image, second.Image)
			}
		})
	}
}

// TestKeysOfRun changes inputs of run steps.
func TestKeysOfRun(t *testing.T) {
	const recipe = "base: {image: ./base}\ncopy: [{from: app, to: /srv/app}]\nrun:\n  - {cmd: \"echo a > /opt/a\"}\n  - {cmd: \"echo b > /opt/b\"}\n"
	for _, c := range []struct{ name, from, to, cached string }{
		{"nothing", "x", "x", "cccc"},
		{"first command", "echo a", "echo A", "cc--"},
		{"second command", "echo b", "echo B", "ccc-"},
		{"label", "run:", "labels: {a: b}\nrun:", "cccc"},
		{"environment", "run:", "env: {A: b}\nrun:", "cc--"},
		{"environment of a step", "echo b > /opt/b\"", "echo b > /opt/b\", env: {A: b}", "ccc-"},
		{"user", "echo b > /opt/b\"", "echo b > /opt/b\", user: \"0:0\"", "ccc-"},
		{"folder", "run:", "workdir: /opt\nrun:", "cc--"},
		{"what is below", "/srv/app", "/srv/App", "c---"},
		{"same layer made otherwise", "echo a", "echo  a", "cc-c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			p.base()
			p.write("app", "app", 0o644)
			p.bake(recipe)
			if got := cachedSteps(p.bake(strings.Replace(recipe, c.from, c.to, 1))); got != c.cached {
				t.Errorf("cached steps: %s, want %s", got, c.cached)
			}
		})
	}
}

func TestCopyIntoBase(t *testing.T) {
	p := newProject(t)
	p.base()
	p.write("app", "app", 0o755)
	p.write("root/bin/tool", "tool", 0o755)
	p.write("root/etc/conf", "conf", 0o644)
	p.write("root/tmp/x", "x", 0o644)
	res := p.bake(`
base: {image: ./base}
copy:
  - {from: app, to: /bin/app, owner: "odd:staff"}
  - {from: app, to: /opt/old, owner: odd}
  - {from: root, to: /, owner: "40"}
`)
	want(t, "layers", p.steps(res), `
# base base
# copy app to /bin/app
d 0755 0:0 usr/
d 0755 0:0 usr/bin/
f 0755 40:50 usr/bin/app = app
# copy app to /opt/old
d 0755 0:0 opt/
d 0755 0:0 opt/old/
f 0755 40:33 opt/old/app = app
# copy root to /
d 0755 0:0 etc/
f 0644 40:33 etc/conf = conf
d 1777 0:0 tmp/
f 0644 40:33 tmp/x = x
d 0755 0:0 usr/
d 0755 0:0 usr/bin/
f 0755 40:33 usr/bin/tool = tool
`)
	for text, wanted := range map[string]string{
		"{from: app, to: /x, owner: nobody}":     `no user "nobody"`,
		"{from: app, to: /x, owner: \"0:none\"}": `no group "none"`,
		"{from: root, to: /usr/bin/sh}":          "is no folder in the image",
		"{from: app, to: /etc/passwd/x}":         "is no folder in the image",
	} {
		if _, err := p.try("base: {image: ./base}\ncopy: [" + text + "]\n"); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), wanted) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestStatCacheIsNotFooled changes a file's content and keeps all that stat shows but its change time.
func TestStatCacheIsNotFooled(t *testing.T) {
	p := newProject(t)
	p.write("app", "one", 0o644)
	path := filepath.Join(p.dir, "app")
	then := time.Unix(1_000_000, 0)
	const recipe = "base: scratch\ncopy: [{from: app, to: /app}]\n"
	seen := map[images.Digest]string{}
	for i := range 20 {
		content := fmt.Sprintf("%03d", i)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
		res := p.bake(recipe)
		if was, ok := seen[res.Image]; ok {
			t.Fatalf("%q and %q made the same image", was, content)
		}
		seen[res.Image] = content
	}
}

func TestBakesAtOnce(t *testing.T) {
	p := newProject(t)
	p.scratch()
	p.base()
	recipe := p.recipe(strings.Replace(fromScratch, "base: scratch", "base: {image: ./base}", 1) + "run: [{cmd: \"echo x > /opt/x\"}]\n")
	results := make([]builder.Result, 4)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			var err error
			if results[i], err = builder.Bake(t.Context(), builder.Options{Recipe: recipe, Store: p.store}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, r := range results[1:] {
		if r.Image != results[0].Image {
			t.Errorf("%s and %s", results[0].Image, r.Image)
		}
	}
	p.nothingLeft()
}

func TestRemovedLayersAreMadeAgain(t *testing.T) {
	p := newProject(t)
	p.scratch()
	first := p.bake(fromScratch)
	if err := p.store.Remove(t.Context(), first.Image, true); err != nil {
		t.Fatal(err)
	}
	if second := p.bake(fromScratch); second.Image != first.Image || second.Cached {
		t.Errorf("second bake: %+v", second)
	}
}
