package scaffold

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/recipes"
)

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		name   string
		files  map[string]string
		kind   string
		app    string
		want   []string // in the recipe
		health string
		notes  int
	}{
		{
			name: "go module with healthz",
			files: map[string]string{
				"go.mod":   "module example.com/team/My_Shop/v2\n",
				"main.go":  "package main\nfunc main() { os.Getenv(\"PORT\"); mux.Handle(\"GET /healthz\", h); listen(\":9000\") }\n",
				"bin/shop": "",
			},
			kind: "Go module", app: "my-shop", want: []string{"{from: ./bin/my-shop, to: /my-shop}", "ports: [9000]"}, health: "/healthz",
		},
		{
			name:  "go module with a command",
			files: map[string]string{"go.mod": "module x\n", "lib.go": "package x\n", "cmd/web/main.go": "package main\n\nfunc main() {}\n"},
			kind:  "Go module", app: "web", want: []string{"-o bin/web ./cmd/web", "ports: [8080]"}, notes: 1,
		},
		{
			name: "dockerfile",
			files: map[string]string{"Dockerfile": `# syntax=docker/dockerfile:1
ARG VERSION=3.20
FROM alpine:${VERSION}
ENV LOG=info NAME="a b"
ENV LOG debug
WORKDIR /app
COPY --chown=app:app app.sh conf/ ./
RUN adduser -D app && \
    # a comment inside
    chmod +x app.sh
EXPOSE 3000/tcp 53/udp
USER app
ENTRYPOINT ["/app/app.sh"]
CMD ["--verbose"]
`, "app.sh": "", "conf/a": ""},
			kind: "Dockerfile", want: []string{
				`base: {image: "alpine:3.20"}`, "{from: ./app.sh, to: /app/app.sh, owner: \"app:app\"}", "{from: ./conf, to: /app, ",
				"network: true", `LOG: "debug"`, `NAME: "a b"`, `user: "app"`, "workdir: /app", "ports: [3000]",
				`entrypoint: [/app/app.sh, "--verbose"]`,
			},
		},
		{
			name:  "dockerfile with stages",
			files: map[string]string{"Dockerfile": "FROM golang AS build\nRUN go build\nFROM scratch\nCOPY --from=build /app /app\nCMD /app serve\n", "app": ""},
			kind:  "Dockerfile", want: []string{"base: scratch", `entrypoint: [/bin/sh, "-c", "/app serve"]`}, notes: 3,
		},
		{
			name: "node", files: map[string]string{"package.json": `{"name":"@team/site","scripts":{"start":"node ."}}`, "package-lock.json": "{}"},
			kind: "package.json", app: "site", want: []string{"npm ci", "entrypoint: [npm, start]"}, notes: 1,
		},
		{name: "site", files: map[string]string{"index.html": "<p>"}, kind: "static site", want: []string{"serve-files"}, health: "/"},
		{
			name: "built site", files: map[string]string{"dist/index.html": "<p>"}, kind: "static site",
			want: []string{"{from: ./dist, to: /srv/www}"}, health: "/",
		},
		{name: "empty", kind: "nothing that is known", want: []string{"base: scratch"}, notes: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "web-1")
			write(t, dir, c.files)
			p, err := Detect(dir, true)
			if err != nil {
				t.Fatal(err)
			}
			if app := cmp.Or(c.app, "web-1"); p.Kind != c.kind || p.Name != app {
				t.Errorf("found %s %q, want %s %q", p.Kind, p.Name, c.kind, app)
			}
			if len(p.Notes) != c.notes {
				t.Errorf("notes: %q, want %d", p.Notes, c.notes)
			}
			for _, f := range p.Files {
				write(t, dir, map[string]string{f.Path: f.Content})
			}
			if p.Build != nil {
				write(t, dir, map[string]string{p.Build[7]: "binary"})
			}
			if p.Server {
				write(t, dir, map[string]string{ServerPath: "binary"})
			}
			recipe := p.Files[1].Content
			for _, want := range c.want {
				if !strings.Contains(recipe, want) {
					t.Errorf("recipe lacks %q:\n%s", want, recipe)
				}
			}
			check(t, dir, c.health)
		})
	}
}

// TestOwnRecipe leaves a recipe that is there as it is.
func TestOwnRecipe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "web-1")
	write(t, dir, map[string]string{"recipe.yaml": "name: web\nbase: scratch\n", "Dockerfile": "FROM scratch\n"})
	p, err := Detect(dir, true)
	if err != nil || p.Name != "web-1" || len(p.Files) != 1 || p.Kind != RecipeKind {
		t.Fatalf("%v %+v", err, p)
	}
	write(t, dir, map[string]string{p.Files[0].Path: p.Files[0].Content})
	check(t, dir, "")
}

func TestDebianNote(t *testing.T) {
	for text, want := range map[string]string{
		"FROM debian:bookworm-slim\nRUN apt-get update && \\\n  apt-get install -y --no-install-recommends nginx-light curl=7.* \\\n  && rm -rf /x\nRUN apt install -y curl jq": "base: {debian: bookworm} and packages: [nginx-light, curl=7.*, curl, jq]",
		"FROM registry.example/debian:bookworm-20240101-slim\nRUN apt-get -qq install g++ $MORE":                                                                                "packages: [g++]",
		"FROM debian:stable\nRUN apt-get install jq":     "",
		"FROM debian:bookworm\nRUN apt-get update":       "",
		"FROM alpine:3.20\nRUN apk add jq":               "",
		"FROM ubuntu:noble\nRUN apt-get install -y jq\n": "",
	} {
		if got := parseDockerfile(text).debianNote(); got != "" && want == "" || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestKeepDockerfile(t *testing.T) {
	for text, notes := range map[string]int{"FROM golang AS build\nFROM scratch\nEXPOSE 80\n": 0, "FROM scratch\n": 1} {
		dir := filepath.Join(t.TempDir(), "web-1")
		write(t, dir, map[string]string{"Dockerfile": text, "go.mod": "module x\n"})
		p, ok, err := KeepDockerfile(dir)
		if err != nil || !ok || p.Name != "web-1" || len(p.Files) != 1 || len(p.Notes) != notes {
			t.Fatalf("%v %v %+v", err, ok, p)
		}
		write(t, dir, map[string]string{p.Files[0].Path: p.Files[0].Content})
		if app, err := config.Load(filepath.Join(dir, "release.yaml"), ""); err != nil || app.Recipe != "./Dockerfile" {
			t.Errorf("%v %+v", err, app)
		}
	}
	if _, ok, err := KeepDockerfile(t.TempDir()); ok || err != nil {
		t.Errorf("empty folder: %v %v", ok, err)
	}
}

// check loads what was written with the real parsers.
func check(t *testing.T, dir, health string) {
	t.Helper()
	app, err := config.Load(filepath.Join(dir, "release.yaml"), "")
	if err != nil {
		t.Fatal(err)
	}
	if health == "" != (app.Health.HTTP == nil) || health != "" && app.Health.HTTP.Path != health {
		t.Errorf("health: %+v, want path %q", app.Health, health)
	}
	if _, err := recipes.Load(filepath.Join(dir, app.Recipe)); err != nil {
		t.Errorf("recipe: %v", err)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestName(t *testing.T) {
	for in, want := range map[string]string{
		"My_Shop": "my-shop", "9lives": "lives", "---": "", "ä": "", "a-very-long-name-of-an-app": "a-very-long-name-of", "x.": "x",
	} {
		if got := Name(in); got != want {
			t.Errorf("Name(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzDockerfile(f *testing.F) {
	f.Add("FROM a\nENV A=b\nCOPY x y\nRUN z\nEXPOSE 1\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseDockerfile(text).recipe() })
}
