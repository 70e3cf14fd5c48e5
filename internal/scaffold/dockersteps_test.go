package scaffold

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/recipes"
)

// TestDockerfileSteps has what a Dockerfile says in the recipe that is loaded, or in a note.
func TestDockerfileSteps(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		parts int
		want  []string // in the recipe
		notes []string
		lacks string // in the recipe
	}{
		"argument": {
			text: "ARG BASE=debian:bookworm\nARG VERSION=1.0\nFROM $BASE\nARG VERSION\nARG CHANNEL=\"stable\" MODE=x\nENV MODE=y\nRUN get $VERSION $CHANNEL\n",
			want: []string{`base: {image: "debian:bookworm"}`, `{cmd: "get $VERSION $CHANNEL", network: true, env: {VERSION: "1.0", CHANNEL: "stable"}}`},
		},
		"argument below": {text: "FROM a:1\nRUN one\nARG V=1\nRUN two\n", want: []string{"{cmd: one, network: true}", `{cmd: two, network: true, env: {V: "1"}}`}},
		"argument without default": {
			text: "FROM a:1\nARG TOKEN\nRUN get $TOKEN\n", want: []string{`{cmd: "get $TOKEN", network: true}`}, notes: []string{"ARG TOKEN has no default"},
		},
		"argument of FROM is none of the stage": {text: "ARG V=1\nFROM a:$V\nRUN x\n", want: []string{`"a:1"`}, lacks: "env:"},
		"download": {
			text: "FROM a:1\nADD --chown=1:2 --chmod=755 https://example.com/a/x.tgz?y=1 /opt/\nADD https://example.com/k /etc/key\n",
			want: []string{"fetch:\n", `{url: "https://example.com/a/x.tgz?y=1", to: /opt/x.tgz, owner: "1:2", mode: "0755"}`, `{url: "https://example.com/k", to: /etc/key}`}, lacks: "copy:",
			notes: []string{"x.tgz?y=1 has no checksum", "/k has no checksum"},
		},
		"download with checksum": {
			text: "FROM a:1\nADD --checksum=sha256:" + strings.Repeat("ab", 32) + " https://example.com/x.tgz /opt/y\n",
			want: []string{`sha256: "` + strings.Repeat("ab", 32) + `", to: /opt/y}`},
		},
		"download without a name": {text: "FROM a:1\nADD https://example.com /opt/\n", notes: []string{"ADD https://example.com is left out"}, lacks: "example.com"},
		"repository":              {text: "FROM a:1\nADD https://example.com/x.git#v1 /srv\n", want: []string{`git:`, `{url: "https://example.com/x.git", ref: v1, to: /srv}`}},
		"repository without ref":  {text: "FROM a:1\nADD https://example.com/x.git /srv\n", notes: []string{"ref: TAG, to: /srv"}},
		"archive":                 {text: "FROM a:1\nADD x.tar.gz /srv\n", notes: []string{"ADD x.tar.gz unpacks"}},
		"order": {
			text: "FROM a:1\nRUN apt-get install nginx\nCOPY a.txt /etc/a\n", want: []string{"run:\n  - {cmd: \"apt-get install nginx\", network: true}\ncopy:\n  - {from: ./a.txt"},
		},
		"order of three": {
			text:  "FROM a:1\nWORKDIR /app\nCOPY a.txt ./\nRUN one\nCOPY b.txt ./\nRUN two\n",
			parts: 1, want: []string{"include: [recipe-1.yaml]", "copy:\n  - {from: ./b.txt, to: /app/b.txt}\n", "{cmd: two, network: true}", "workdir: /app"}, lacks: "cmd: one",
		},
		"folders and users": {
			text: "FROM a:1\nWORKDIR /src\nRUN one\nWORKDIR /app\nUSER bob\nRUN [\"/bin/two\", \"x y\"]\n",
			want: []string{
				"{cmd: [/bin/mkdir, \"-p\", /src], dir: /}", "{cmd: one, network: true, dir: /src}",
				"{cmd: [/bin/mkdir, \"-p\", /app], dir: /}", `{cmd: [/bin/two, "x y"], network: true, user: bob}`,
			},
		},
		"path": {
			text: "FROM a:1\nENV PATH=/opt/bin:$PATH X=$Y\n", want: []string{`PATH: "/opt/bin:/usr/local/sbin:`}, notes: []string{"base image's PATH", "ENV X uses $Y"},
		},
		"what is left out": {
			text:  "FROM a:1\nRUN --mount=type=cache,target=/x make all\nCOPY *.json /srv/\nCOPY --exclude=x a.txt /\n",
			notes: []string{"RUN --mount=type=cache,target=/x is left out", "COPY *.json: copy: has no patterns", "COPY --exclude=x is left out"}, want: []string{`{cmd: "make all", network`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "web")
			write(t, dir, map[string]string{"Dockerfile": c.text + "EXPOSE 80\n", "a.txt": "", "b.txt": "", "x.tar.gz": "", "*.json": ""})
			p, err := Detect(dir, true)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range p.Files {
				write(t, dir, map[string]string{f.Path: f.Content})
			}
			text := p.Files[1].Content
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("recipe lacks %q:\n%s", want, text)
				}
			}
			if c.lacks != "" && strings.Contains(text, c.lacks) {
				t.Errorf("recipe has %q:\n%s", c.lacks, text)
			}
			if len(p.Notes) != len(c.notes) {
				t.Errorf("notes %q, want %q", p.Notes, c.notes)
			}
			for i, want := range c.notes {
				if i < len(p.Notes) && !strings.Contains(p.Notes[i], want) {
					t.Errorf("note %q lacks %q", p.Notes[i], want)
				}
			}
			r, err := recipes.Load(filepath.Join(dir, "recipe.yaml"))
			if err != nil {
				t.Fatalf("%v:\n%s", err, text)
			}
			if len(r.Files) != c.parts+1 {
				t.Errorf("files %q, want %d included", r.Files, c.parts)
			}
		})
	}
}
