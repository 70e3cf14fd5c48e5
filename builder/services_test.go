package builder_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/supervisor"
)

var update = flag.Bool("update", false, "write golden files anew")

const supervised = `
base: {image: ./base}
ports: [8080]
env: {LOG: info, HOME: /srv}
workdir: /srv/app
services:
  web: {cmd: [/bin/sh, -c, "serve $PORT"], restart: always, user: www, after: [db], env: {ROLE: web}}
  db: {cmd: [/bin/sh, -c, "stubborn db soft"], restart: on-failure, stop: {signal: TERM, grace: 2s}}
`

func TestSupervisedImage(t *testing.T) {
	p := newProject(t)
	p.base()
	res := p.bake(supervised + `
tests:
  - {http: {path: /, body: "^hello from 33 33 in /srv/app"}}
  - {http: {path: "/env?ROLE", body: web}}
  - {http: {path: "/env?LOG", body: info}}
  - {http: {path: "/env?PORT", body: "8080"}}
  - {http: {path: "/env?HOME", body: "^/srv\n"}}
  - {cmd: "id"}
`)
	last := res.Steps[len(res.Steps)-1]
	if last.Name != "services db, web" {
		t.Errorf("last step: %+v", last)
	}
	list := p.layer(last.Layer)
	if len(list) != 5 || list[0] != "d 0755 0:0 usr/" || list[1] != "d 0755 0:0 usr/lib/" || list[2] != "d 0755 0:0 usr/lib/release/" ||
		!strings.HasPrefix(list[3], "f 0644 0:0 usr/lib/release/services.json") || !strings.HasPrefix(list[4], "f 0755 0:0 usr/lib/release/supervise [") {
		t.Errorf("layer:\n%s", strings.Join(list, "\n"))
	}
	img, err := p.store.Get(res.Image)
	if err != nil {
		t.Fatal(err)
	}
	if c := img.Config.Config; !slices.Equal(img.Command(), []string{"/usr/lib/release/supervise", "/usr/lib/release/services.json"}) || c.User != "" {
		t.Errorf("configuration: %+v", c)
	}
	var services []supervisor.Service
	if err := json.Unmarshal([]byte(img.Annotations[images.AnnotationServices]), &services); err != nil || len(services) != 2 || services[1].Name != "web" {
		t.Errorf("annotation: %v %s", err, img.Annotations[images.AnnotationServices])
	}
	if again := p.bake(supervised); again.Image != res.Image || !again.Cached {
		t.Errorf("second bake: %+v", again)
	}
}

// One plain service is the image's command itself, with nothing put into the image.
// A command is tried again while services beside the one with the port are starting.
func TestCommandWaitsForOtherServices(t *testing.T) {
	p := newProject(t)
	p.base()
	p.bake(`
base: {image: ./base}
ports: [8080]
services:
  web: {cmd: [/bin/sh, -c, "serve $PORT"]}
  late: {cmd: [/bin/sh, -c, "sleep 500ms && touch /tmp/late && sleep 1h"]}
tests:
  - {cmd: "cat /tmp/late"}
`)
}

func TestPlainServiceNeedsNoSupervisor(t *testing.T) {
	p := newProject(t)
	p.base()
	a := p.bake("base: {image: ./base}\nservices: {web: {cmd: [/bin/sh, -c, wait]}}\n")
	b := p.bake("base: {image: ./base}\nentrypoint: [/bin/sh, -c, wait]\n")
	if a.Image != b.Image || len(a.Steps) != 1 {
		t.Errorf("%+v\n%+v", a, b)
	}
}

// The supervisor runs as root only if it must change to another user.
func TestUserOfSupervisor(t *testing.T) {
	p := newProject(t)
	p.base()
	for _, c := range []struct{ recipe, image, users string }{
		{"user: www\nservices: {a: {cmd: [x]}, b: {cmd: [x], user: www}}\n", "www", ","},
		{"user: www\nservices: {a: {cmd: [x]}, b: {cmd: [x], user: root}}\n", "", "www,"},
		{"user: www\nservices: {a: {cmd: [x], user: \"40\"}, b: {cmd: [x]}}\n", "", "40,www"},
		{"services: {a: {cmd: [x]}, b: {cmd: [x], user: \"0:0\"}}\n", "", ","},
		{"user: root\nservices: {a: {cmd: [x]}, b: {cmd: [x]}}\n", "root", ","},
	} {
		img, err := p.store.Get(p.bake("base: {image: ./base}\n" + c.recipe).Image)
		if err != nil {
			t.Fatal(err)
		}
		var services []supervisor.Service
		if err := json.Unmarshal([]byte(img.Annotations[images.AnnotationServices]), &services); err != nil {
			t.Fatal(err)
		}
		if got := services[0].User + "," + services[1].User; img.Config.Config.User != c.image || got != c.users {
			t.Errorf("%s: image %q, services %s", c.recipe, img.Config.Config.User, got)
		}
	}
	_, err := p.try("base: {image: ./base}\nservices: {a: {cmd: [x], user: nobody}, b: {cmd: [x]}}\n")
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), `the image has no user "nobody"`) {
		t.Errorf("%v", err)
	}
	_, err = p.try("base: scratch\nservices: {a: {cmd: [x]}, b: {cmd: [x]}}\n", func(o *builder.Options) { o.Platform = "linux/riscv64" })
	if !fault.Is(err, fault.Unsupported) {
		t.Errorf("%v", err)
	}
	if res := p.bake("base: scratch\nservices: {a: {cmd: [x]}, b: {cmd: [x]}}\n", func(o *builder.Options) { o.Platform = "linux/arm64" }); len(res.Steps) != 1 {
		t.Errorf("%+v", res)
	}
}

// Services of an image with systemd are also its units.
func TestUnits(t *testing.T) {
	p := newProject(t)
	p.base()
	p.write("systemd", "systemd", 0o755)
	res := p.bake(`
base: {image: ./base}
copy: [{from: systemd, to: /usr/lib/systemd/systemd}, {from: systemd, to: /opt/db}]
ports: [8080]
env: {LOG: "50% \"or\" so", EMPTY: ""}
user: www
workdir: /srv/my app
services:
  web:
    cmd: [sh, -c, "serve $PORT; echo \\ 100%", "", "--a=b,c"]
    restart: always
    after: [db, "old.one"]
    env: {LOG: "two\nlines"}
    stop: {signal: QUIT, grace: 1m30s}
  db: {cmd: [/opt/db], user: "odd:staff", restart: on-failure, dir: /}
  old.one: {cmd: [./run], user: root}
`)
	var text strings.Builder
	last := res.Steps[len(res.Steps)-1]
	for _, l := range p.layer(last.Layer) {
		if strings.Contains(l, "etc/systemd") {
			text.WriteString(strings.Split(l, " [")[0] + "\n")
		}
	}
	for _, name := range []string{"db", "old.one", "web"} {
		text.WriteString("\n== " + name + "\n" + p.content(last.Layer, "etc/systemd/system/"+name+".service"))
	}
	golden := filepath.Join("testdata", "units.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || text.String() != string(want) {
		t.Errorf("%v; write the file anew with -update:\n%s", err, text.String())
	}
}

// One plain service has a unit too, and remains the command.
func TestUnitOfPlainService(t *testing.T) {
	p := newProject(t)
	p.base()
	p.write("systemd", "systemd", 0o755)
	res := p.bake("base: {image: ./base}\ncopy: [{from: systemd, to: /usr/lib/systemd/systemd}]\nservices: {web: {cmd: [/bin/sh, -c, wait]}}\n")
	want(t, "layers", strings.Join(p.layer(res.Steps[2].Layer), "\n"), `
d 0755 0:0 etc/
d 0755 0:0 etc/systemd/
d 0755 0:0 etc/systemd/system/
d 0755 0:0 etc/systemd/system/multi-user.target.wants/
l 0777 0:0 etc/systemd/system/multi-user.target.wants/web.service -> /etc/systemd/system/web.service
f 0644 0:0 etc/systemd/system/web.service [402]`)
	img, err := p.store.Get(res.Image)
	if err != nil || img.Command()[0] != "/bin/sh" {
		t.Errorf("%v %+v", err, img.Command())
	}
}

// systemd itself finds nothing wrong with units, whatever words are in them.
func TestSystemdTakesUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("this test needs systemd-analyze: apt-get install systemd")
	}
	p := newProject(t)
	p.base()
	p.write("systemd", "systemd", 0o755)
	res := p.bake(`
base: {image: ./base}
copy: [{from: systemd, to: /usr/lib/systemd/systemd}]
ports: [8080]
env: {LOG: "50% \"or\" so; #no", EMPTY: ""}
workdir: /tmp
services:
  web:
    cmd: [/bin/sh, -c, "echo \"$PORT\" '%n' \\ ; \t\n é", "", ";", "@x", "-e"]
    restart: always
    after: [db]
    env: {LOG: "two\nlines", P: "a b"}
    stop: {signal: QUIT, grace: 1500ms}
  db: {cmd: [/bin/sh], user: "7:50", restart: on-failure, dir: /}
`)
	last := res.Steps[len(res.Steps)-1].Layer
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for _, name := range []string{"web.service", "db.service"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(p.content(last, "etc/systemd/system/"+name)), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	cmd := exec.Command(analyze, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=warning")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s\n%s", err, out, p.content(last, "etc/systemd/system/web.service"))
	}
}
