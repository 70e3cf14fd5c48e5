package builder_test

import (
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
)

const served = `
base: {image: ./base}
ports: [8080]
env: {LOG: info}
user: www
workdir: /srv/app
entrypoint: [/bin/sh, -c, "serve $PORT"]
`

func testLine(res builder.Result) string {
	var b strings.Builder
	for _, t := range res.Tests {
		b.WriteString(t.Name)
		if t.Cached {
			b.WriteString(" (cached)")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestImageIsTestedAsANodeRuns(t *testing.T) {
	p := newProject(t)
	p.base()
	recipe := served + `
tests:
  - {http: {path: /, body: "^hello from 33 33 in /srv/app for localhost\n$"}}
  - {http: {path: /move, status: 302}, within: 10s}
  - {http: {path: "/env?LOG", body: info, host: shop.example}}
  - {http: {path: "/env?HOSTNAME", body: release-test}}
  - {cmd: "id > /tmp/id && dial 127.0.0.1:8080"}
  - {cmd: [/bin/sh, -c, "id && env"], user: www}
  - {http: {path: "/cat?/tmp/id", body: "^0 0"}}
`
	plain := p.bake(served)
	res := p.bake(recipe)
	want(t, "tests", testLine(res), `
test GET :8080/
test GET :8080/move
test GET :8080/env?LOG
test GET :8080/env?HOSTNAME
test id > /tmp/id && dial 127.0.0.1:8080
test id && env
test GET :8080/cat?/tmp/id
`)
	if res.Image != plain.Image {
		t.Errorf("tests change the image: %s, %s", res.Image, plain.Image)
	}
	again := p.bake(recipe)
	if strings.Count(testLine(again), "(cached)") != 7 || !again.Cached {
		t.Errorf("second bake: %+v", again)
	}
	fresh := p.bake(recipe, func(o *builder.Options) { o.NoCache = true })
	if strings.Contains(testLine(fresh), "(cached)") {
		t.Errorf("bake without cache: %+v", fresh)
	}
	other := p.bake(strings.Replace(recipe, "info}", "debug}", 1)+"  - {cmd: \"true\"}\n", func(o *builder.Options) {
		o.Recipe.Tests = o.Recipe.Tests[7:]
	})
	if strings.Contains(testLine(other), "(cached)") || other.Image == res.Image {
		t.Errorf("another image: %+v", other)
	}
	p.nothingLeft()
}

func TestFailedTestIsNoImage(t *testing.T) {
	for name, c := range map[string]struct {
		recipe string
		line   int
		want   []string
	}{
		"status":          {served + "tests: [{http: {path: /move}, within: 300ms}]\n", 8, []string{"test GET :8080/move: after 300 ms: GET /move at port 8080 answered 302 Found instead of 200", "listening on 8080"}},
		"body":            {served + "tests: [{http: {path: /, body: goodbye}, within: 300ms}]\n", 8, []string{"does not match goodbye: \"hello from 33"}},
		"nobody listens":  {served + "tests: [{http: {path: /, port: 81}, within: 300ms}]\n", 8, []string{"GET / at port 81: connection refused", "listening on 8080"}},
		"command":         {served + "tests:\n  - {cmd: \"true\"}\n  - {cmd: \"echo one && fail two\"}\n", 10, []string{"test echo one && fail two: the command ended with exit code 1, its last output was:", "  one", "two", "listening on 8080"}},
		"no program":      {served + "tests: [{cmd: [/bin/none]}]\n", 8, []string{"the command cannot be run:", "the program /bin/none is not in the image"}},
		"no user":         {served + "tests: [{cmd: \"true\", user: nobody}]\n", 8, []string{"user nobody is not in the image's /etc/passwd"}},
		"slow":            {served + "tests: [{cmd: \"wait\", within: 300ms}]\n", 8, []string{"the command did not end within 300 ms"}},
		"port":            {strings.Replace(served, "serve $PORT", "echo up && wait", 1) + "tests: [{cmd: \"true\", within: 300ms}]\n", 8, []string{"nothing listens on port 8080, the first of the image's ports, after 300 ms", "\n  up"}},
		"service ends":    {strings.Replace(served, "serve $PORT", "echo bye && exit 4", 1) + "tests: [{cmd: \"true\"}]\n", 8, []string{"the image's own command ended with exit code 4", "\n  bye"}},
		"service ended":   {strings.Replace(served, "serve $PORT", "exit 0", 1) + "tests: [{http: {path: /}}]\n", 8, []string{"the image's own command ended", "wrote nothing"}},
		"no such service": {strings.Replace(served, "/bin/sh", "none", 1) + "tests: [{cmd: \"true\"}]\n", 8, []string{"could not start", "none"}},
		"nothing to ask":  {"base: {image: ./base}\nports: [80]\ntests: [{http: {path: /}}]\n", 3, []string{"the image has no command that could answer"}},
		"bare":            {"base: {image: ./base}\ntests: [{cmd: \"exit 3\"}]\n", 2, []string{"the command ended with exit code 3"}},
		"no emulator":     {"base: scratch\ntests: [{cmd: \"exit 3\"}]\n", 2, []string{"boot image for its tests: this machine (", "cannot run programs for riscv64"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			p.base()
			_, err := p.try(c.recipe, func(o *builder.Options) {
				if name == "no emulator" {
					o.Platform = "linux/riscv64"
					t.Setenv("PATH", t.TempDir()) // where nothing is installed
				}
			})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in:\n%v", want, err)
				}
			}
			if e := fault.All(err)[0]; !strings.HasSuffix(e.File, "app.yaml") || e.Line < c.line-1 || e.Line > c.line+1 {
				t.Errorf("place %s", e.Position())
			}
			list, err := p.store.List()
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range list {
				if i.Name == "app" {
					t.Errorf("listed: %+v", i)
				}
			}
			p.nothingLeft()
		})
	}
}

func TestImageWithoutCommandIsTestedBare(t *testing.T) {
	p := newProject(t)
	p.base()
	res := p.bake("base: {image: ./base}\ntests: [{cmd: \"echo x > /opt/x\"}, {cmd: \"cat /opt/x && id\", user: www}]\n")
	if len(res.Tests) != 2 {
		t.Errorf("%+v", res)
	}
	// A job that ends well: its tests see what it did.
	res = p.bake("base: {image: ./base}\nentrypoint: [/bin/sh, -c, \"echo done > /opt/x\"]\ntests: [{cmd: \"sleep 200ms\"}, {cmd: \"cat /opt/x\"}]\n")
	if len(res.Tests) != 2 {
		t.Errorf("%+v", res)
	}
	p.nothingLeft()
}
