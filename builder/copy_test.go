package builder_test

import (
	"testing"
)

func TestCopyFromScratch(t *testing.T) {
	p := newProject(t)
	p.write("bin/app", "program", 0o700)
	p.write("dist/index.html", "hello", 0o600)
	p.write("dist/css/a.css", "style", 0o666)
	const recipe = `
base: scratch
copy:
  - {from: bin/app, to: /app}
  - {from: dist, to: /srv/www, owner: "33:33", mode: "0640"}
env: {PORT: "8080"}
ports: [8080]
entrypoint: [/app]
`
	res := p.bake(recipe)
	want(t, "layers", p.steps(res), `
# copy bin/app to /app
f 0755 0:0 app = program
# copy dist to /srv/www
d 0755 0:0 srv/
d 0750 33:33 srv/www/
d 0750 33:33 srv/www/css/
f 0640 33:33 srv/www/css/a.css = style
f 0640 33:33 srv/www/index.html = hello
`)
	again := p.bake(recipe)
	if again.Image != res.Image || !again.Cached || cachedSteps(again) != "cc" {
		t.Errorf("second bake: %+v, first %s", again, res.Image)
	}
}
