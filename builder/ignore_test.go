package builder_test

import "testing"

// A folder of the project is copied as an extension without what .releaseignore leaves out; a single file is what it is.
func TestReleaseignore(t *testing.T) {
	p := newProject(t)
	p.write(".releaseignore", "*.map\n/deploy\n", 0o644)
	p.write("plugin/a.php", "a", 0o644)
	p.write("plugin/a.map", "m", 0o644)
	p.write("deploy/site.conf", "s", 0o644)
	res := p.bake("base: scratch\nextensions: [{name: own, version: \"1\", source: ./plugin, path: /srv/own}]\nfiles: [{from: deploy/site.conf, to: /etc/site.conf}]\n")
	want(t, "layers", p.steps(res), `
# extension own 1
d 0755 0:0 srv/
d 0755 0:0 srv/own/
f 0644 0:0 srv/own/a.php = a
# files /etc/site.conf
d 0755 0:0 etc/
f 0644 0:0 etc/site.conf = s
`)
}
