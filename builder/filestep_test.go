package builder_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
)

func withVars(pairs ...string) func(*builder.Options) {
	return func(o *builder.Options) {
		o.Vars = map[string]string{}
		for _, p := range pairs {
			name, value, _ := strings.Cut(p, "=")
			o.Vars[name] = value
		}
	}
}

const fileEntries = `
base: {image: ./base}
vars: {port: "8080", hosts: "a,b", empty: ""}
files:
  - {to: /etc/plain, content: "as {{it}} is\n"}
  - {to: /etc/mine, from: mine.conf, mode: "0640", owner: www}
  - {to: /usr/local/bin/tool, from: tool}
  - to: /etc/site.conf
    template: true
    content: |
      listen {{.port}};
      names {{ .hosts | split "," | join " " | upper }} {{ .empty | default "none" }} {{ index . "absent" | default "x" | quote }}
  - {to: /etc/from, from: from.tmpl, template: true}
run: [{cmd: "cat /etc/site.conf > /opt/seen"}]
`

func (p *project) fileEntries() {
	p.base()
	p.write("mine.conf", "mine", 0o600)
	p.write("tool", "#!", 0o755)
	p.write("from.tmpl", "{{range $i, $h := split \",\" .hosts}}{{$i}}{{$h}}\n{{end}}", 0o755)
}

func TestFiles(t *testing.T) {
	p := newProject(t)
	p.fileEntries()
	res := p.bake(fileEntries)
	want(t, "layers", p.steps(res), `
# base base
# files /etc/plain
d 0755 0:0 etc/
f 0644 0:0 etc/plain = as {{it}} is
# files /etc/mine
d 0755 0:0 etc/
f 0640 33:33 etc/mine = mine
# files /usr/local/bin/tool
d 0755 0:0 usr/
d 0755 0:0 usr/local/
d 0755 0:0 usr/local/bin/
f 0755 0:0 usr/local/bin/tool = #!
# files /etc/site.conf
d 0755 0:0 etc/
f 0644 0:0 etc/site.conf = listen 8080;|names A B none "x"
# files /etc/from
d 0755 0:0 etc/
f 0755 0:0 etc/from = 0a|1b
# run cat /etc/site.conf > /opt/seen
d 0755 0:0 opt/
f 0644 0:0 opt/seen = listen 8080;|names A B none "x"
`)
	if again := p.bake(fileEntries); again.Image != res.Image || !again.Cached {
		t.Errorf("second bake: %+v", again)
	}
	// Another value makes another image, of which only the files with it are new.
	other := p.bake(fileEntries, withVars("port=9090"))
	if other.Image == res.Image || cachedSteps(other) != "cccc-c-" {
		t.Errorf("with another port: %s %s", other.Image, cachedSteps(other))
	}
	img, err := p.store.Get(other.Image)
	if err != nil || img.Annotations[builder.AnnotationVars] != `{"port":"9090"}` {
		t.Errorf("annotation: %v %v", img.Annotations, err)
	}
	_, err = p.try(fileEntries, withVars("prot=9090"))
	if e := fault.All(err)[0]; e.Code != fault.Invalid || !strings.Contains(e.Message, "prot") || !strings.Contains(e.Hint, "empty, hosts, port") {
		t.Errorf("unknown variable: %+v", e)
	}
}

func TestTemplateErrors(t *testing.T) {
	p := newProject(t)
	p.base()
	shown := func(name string) string { return filepath.Join(p.dir, name) }
	for text, place := range map[string]string{
		"a\nb {{.gone}}\n":          "2:5: files /etc/x: template: there is no variable gone",
		"a\n\n{{.port":              "3: files /etc/x: template: unclosed action",
		"{{ now }}":                 "1: files /etc/x: template: function \"now\" not defined",
		"{{ printf \"%p\" . }}":     "1:4: files /etc/x: template: error calling printf",
		"{{ index . \"a\" \"b\" }}": "1:4: files /etc/x: template: error calling index",
		"{{define \"x\"}}\n{{.no}}{{end}}{{template \"x\" .}}":                      "2:3: files /etc/x: template: there is no variable no",
		"{{range 100000000}}0123456789abcdef0123456789abcdef{{end}}":                "1: files /etc/x: template: the file gets larger",
		"{{$x := \"0123456789\"}}{{range 60}}{{$x = printf \"%s%s\" $x $x}}{{end}}": "1:42: files /etc/x: template: error calling printf: the file gets larger",
		"{{$x := \"aaaaaaaaaa\"}}{{range 60}}{{$x = replace \"a\" $x $x}}{{end}}":   "1:42: files /etc/x: template: error calling replace: the file gets larger",
	} {
		p.write("x.tmpl", text, 0o644)
		_, err := p.try("base: {image: ./base}\nvars: {port: \"1\"}\nfiles:\n  - {to: /etc/x, from: x.tmpl, template: true}\n")
		if err == nil || !strings.HasPrefix(err.Error(), shown("x.tmpl")+":"+place) || !strings.Contains(err.Error(), "app.yaml:4)") {
			t.Errorf("%q: %v, want %s", text, err, place)
		}
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: code %s", text, fault.CodeOf(err))
		}
	}
	// In a recipe's own text the place is that in the recipe.
	_, err := p.try("base: {image: ./base}\nfiles:\n  - to: /etc/x\n    template: true\n    content: |\n      one\n      two {{.gone}}\n")
	if want := fmt.Sprintf("%s:7:13: files /etc/x: template: there is no variable gone", shown("app.yaml")); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("in the recipe: %v, want %s", err, want)
	}
	_, err = p.try("base: {image: ./base}\nfiles: [{to: /etc/x, template: true, content: \"a\\nb {{.gone}}\"}]\n")
	if want := "line 2 of its content"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("in a text of one line: %v, want %s", err, want)
	}
	if _, err := p.try("base: {image: ./base}\nfiles: [{to: /opt, content: x}]\n"); err == nil || !strings.Contains(err.Error(), "/opt is a folder") {
		t.Errorf("a file in a folder's place: %v", err)
	}
}
