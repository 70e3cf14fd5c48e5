package builder_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
)

// manySteps uses all that a run step can change.
const manySteps = `
base: {image: ./base}
copy: [{from: app, to: /srv/app}, {from: site, to: /var/www, owner: www}]
env: {PORT: "8080"}
run:
  - {cmd: "chown 33:33 /srv/app && touch /var/www/index.html"}
  - {cmd: "rm /opt/old/a /var/www && mkdir /var/www && echo new > /var/www/new"}
  - {cmd: "ln /etc/passwd /etc/twin && lns passwd /etc/link && fifo /etc/pipe && sock /etc/sock && touch /tmp/x && mkdir /run/x && touch /run/x/pid"}
  - {cmd: "true"}
  - {cmd: "touch /opt/own && chmod 4755 /opt/own && xattr /opt/own user.note hello && cap /opt/own && chown 7:50 /opt/old"}
  - {cmd: "world > /opt/world && env >> /opt/world && pwd >> /opt/world && ls /tmp >> /opt/world", dir: /var, env: {A: b}}
  - {cmd: "id > /opt/old/id", user: "7:50"}
  - {cmd: "chown 65534:65534 /etc/pipe"}
`

func (p *project) manySteps() {
	p.base()
	p.write("app", "program", 0o755)
	p.write("site/a/index.html", "page", 0o644)
}

func TestRunCaptures(t *testing.T) {
	p := newProject(t)
	p.manySteps()
	res := p.bake(manySteps)
	want(t, "layers", p.steps(res), `
# base base
# copy app to /srv/app
d 0755 0:0 srv/
f 0755 0:0 srv/app = program
# copy site to /var/www
d 0755 0:0 var/
d 2750 33:33 var/www/
d 0755 33:33 var/www/a/
f 0644 33:33 var/www/a/index.html = page
# run chown 33:33 /srv/app && touch /var/www/index.html
d 0755 0:0 srv/
f 0755 33:33 srv/app = program
d 0755 0:0 var/
d 2750 33:33 var/www/
f 0640 33:33 var/www/index.html = old
# run rm /opt/old/a /var/www && mkdir /var/www && echo new > /…
d 0755 0:0 opt/
d 0755 0:0 opt/old/
f 0000 0:0 opt/old/.wh.a
d 0755 0:0 var/
d 0755 0:0 var/www/
f 0000 0:0 var/www/.wh..wh..opq
f 0644 0:0 var/www/new = new
# run ln /etc/passwd /etc/twin && lns passwd /etc/link && fifo…
d 0755 0:0 etc/
l 0777 0:0 etc/link -> passwd
f 0644 0:0 etc/passwd = root:x:0:0:root:/root:/bin/sh|www:x:33:33:www:/var/www:/bin/false|odd:x:40:33::/:/bin/false
p 0644 0:0 etc/pipe
h 0644 0:0 etc/twin -> etc/passwd
d 0755 0:0 run/
d 0755 0:0 run/x/
# run true
# run touch /opt/own && chmod 4755 /opt/own && xattr /opt/own …
d 0755 0:0 opt/
d 0755 7:50 opt/old/
f 0644 7:50 opt/old/b = b
f 4755 0:0 opt/own {security.capability="\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {user.note="hello"}
# run world > /opt/world && env >> /opt/world && pwd >> /opt/w…
d 0755 0:0 opt/
f 0644 0:0 opt/world = release 1 022|A=b|BASE=yes|HOME=/root|LC_ALL=C.UTF-8|PATH=/usr/bin|PORT=8080|SOURCE_DATE_EPOCH=0|TZ=UTC|/var
# run id > /opt/old/id
d 0755 0:0 opt/
d 0755 7:50 opt/old/
f 0644 7:50 opt/old/id = 7 50
# run chown 65534:65534 /etc/pipe
d 0755 0:0 etc/
p 0644 65534:65534 etc/pipe
`)
	again := p.bake(manySteps)
	if again.Image != res.Image || !again.Cached {
		t.Errorf("second bake: %+v", again)
	}
	fresh := p.bake(manySteps, func(o *builder.Options) { o.NoCache = true })
	if fresh.Image != res.Image || strings.Contains(cachedSteps(fresh)[1:], "c") {
		t.Errorf("bake without cache: %+v", fresh)
	}
}

func TestRunSeesWhatStandsAbove(t *testing.T) {
	p := newProject(t)
	p.base()
	p.write("app", "program", 0o755)
	p.write("common.yaml", "run: [{cmd: \"echo first > /opt/log\"}]\n", 0o644)
	const after = "base: {image: ./base}\ninclude: [common.yaml]\nrun: [{cmd: \"cat /opt/log /srv/app >> /opt/log\"}]\n"
	const copyStep = "copy: [{from: app, to: /srv/app}]\n"
	res := p.bake(strings.Replace(after, "run:", copyStep+"run:", 1))
	if got := p.steps(res); !strings.Contains(got, "opt/log = first|first|program") {
		t.Errorf("copy above run:\n%s", got)
	}
	_, err := p.try(after + copyStep)
	if err == nil || !strings.Contains(err.Error(), "/srv/app: no such file") {
		t.Errorf("copy below run: %v", err)
	}
}

func TestRunFails(t *testing.T) {
	p := newProject(t)
	p.base()
	res, err := p.try("base: {image: ./base}\nrun:\n  - {cmd: \"touch /opt/fine\"}\n  - cmd: lines 30 && exit 3\n")
	if err == nil {
		t.Fatalf("bake succeeded: %+v", res)
	}
	e := fault.All(err)[0]
	if !strings.HasSuffix(e.File, "app.yaml") || e.Line != 4 {
		t.Errorf("position is %s", e.Position())
	}
	for _, part := range []string{"run lines 30 && exit 3: ", "exit code 3", "line 11\n", "line 30"} {
		if !strings.Contains(e.Message, part) {
			t.Errorf("message lacks %q: %s", part, e.Message)
		}
	}
	if strings.Contains(e.Message, "line 10\n") {
		t.Errorf("message is too long: %s", e.Message)
	}
	if _, err := p.store.Resolve("app"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an image is listed: %v", err)
	}
	p.nothingLeft()
	// What was done before the failure is not done again.
	if res := p.bake("base: {image: ./base}\nrun: [{cmd: \"touch /opt/fine\"}]\n"); cachedSteps(res) != "cc" {
		t.Errorf("steps after the failure: %s", cachedSteps(res))
	}
}

// nothingLeft checks that no work folder remains.
func (p *project) nothingLeft() {
	p.t.Helper()
	left, err := filepath.Glob(filepath.Join(p.store.Dir(), "cache", "work", "*"))
	if err != nil || len(left) > 0 {
		p.t.Errorf("work folders left: %v %v", left, err)
	}
}

func TestRunHasNoNetwork(t *testing.T) {
	p := newProject(t)
	p.base()
	listener := listen(t)
	cmd := fmt.Sprintf("cmd: dial %s", listener)
	if _, err := p.try("base: {image: ./base}\nrun: [{" + cmd + "}]\n"); err == nil {
		t.Error("a run step without network: true reached this machine")
	}
	res := p.bake("base: {image: ./base}\nrun: [{" + cmd + ", network: true}]\n")
	img, err := p.store.Get(res.Image)
	if err != nil {
		t.Fatal(err)
	}
	if res.Reproducible || img.Annotations[builder.AnnotationReproducible] != "false" {
		t.Errorf("network: true is not marked: %+v %v", res, img.Annotations)
	}
}

func TestInterruptLeavesNothing(t *testing.T) {
	p := newProject(t)
	p.base()
	r := p.recipe("base: {image: ./base}\nrun: [{cmd: \"echo started && wait\"}]\n")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := builder.Bake(ctx, builder.Options{Recipe: r, Store: p.store, Progress: func(e builder.Event) {
			if e.Kind == builder.Output && e.Line == "started" {
				cancel()
			}
		}})
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the bake goes on")
	}
	p.nothingLeft()
}

func TestCheckNamesPaths(t *testing.T) {
	p := newProject(t)
	p.base()
	recipe := p.recipe("base: {image: ./base}\nrun: [{cmd: \"echo same > /opt/same && date > /opt/now\"}, {cmd: \"touch /opt/x\"}]\n")
	diffs, err := builder.Check(context.Background(), builder.Options{Recipe: recipe, Store: p.store})
	if err != nil {
		t.Fatal(err)
	}
	if len(diffs) != 1 || diffs[0].Path != "/opt/now" || diffs[0].What != "content" {
		t.Errorf("differences: %v", diffs)
	}
	same := p.recipe("base: {image: ./base}\nrun: [{cmd: \"echo same > /opt/same\"}]\n")
	if diffs, err := builder.Check(context.Background(), builder.Options{Recipe: same, Store: p.store}); err != nil || len(diffs) > 0 {
		t.Errorf("differences: %v %v", diffs, err)
	}
}
