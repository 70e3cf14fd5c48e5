// Package scaffold looks at a folder and proposes a release.yaml and a recipe for what it finds: a Go module, a
// Dockerfile, a package.json, a static site.
package scaffold

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// File is a file to write, relative to the folder.
type File struct {
	Path    string
	Content string
}

// Project is what was found and what to write for it.
type Project struct {
	Kind   string   // for people: "Go module"
	Name   string   // of the app
	Files  []File   // release.yaml first
	Build  []string // command that makes what the recipe copies; nil: none is needed
	Server bool     // the recipe wants this program at ServerPath, to serve files
	Notes  []string // what a person should look at
}

// ServerPath is where a static site's recipe expects a copy of this program.
const ServerPath = ".release/server"

// finding is what a detector knows of a folder.
type finding struct {
	kind    string
	name    string
	port    int
	health  string // path of a health check; "" is a TCP check
	recipe  string // the recipe after its name line
	parts   []File // what the recipe includes
	ignore  []string
	build   []string
	server  bool
	notes   []string
	comment string // above the recipe
	kept    string // the recipe is this file, which is there
}

// Detect proposes files for the folder. static says that this program can serve files from an image of its own: it is a
// static binary.
func Detect(dir string, static bool) (Project, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Project{}, fmt.Errorf("look at %s: %w", dir, err)
	}
	detectors := []func(string) (*finding, error){ownRecipe, goModule, dockerfile, nodePackage, func(dir string) (*finding, error) { return site(dir, static) }}
	for _, detect := range detectors {
		f, err := detect(abs)
		if err != nil {
			return Project{}, fmt.Errorf("look at %s: %w", dir, err)
		}
		if f != nil {
			return f.project(abs), nil
		}
	}
	return empty().project(abs), nil
}

// DockerfileKind is the Kind of a folder whose Dockerfile is proposed to be translated.
const DockerfileKind = "Dockerfile"

// KeepDockerfile proposes to leave the folder's Dockerfile as the recipe, for the Docker engine to build; false when
// there is none.
func KeepDockerfile(dir string) (Project, bool, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Project{}, false, fmt.Errorf("look at %s: %w", dir, err)
	}
	f, err := keptDockerfile(abs)
	if err != nil || f == nil {
		return Project{}, false, err
	}
	return f.project(abs), true, nil
}

func (f *finding) project(dir string) Project {
	name := Name(f.name)
	if name == "" {
		name = Name(filepath.Base(dir))
	}
	if name == "" {
		name = "app"
	}
	p := Project{Kind: f.kind, Name: name, Build: f.build, Server: f.server, Notes: f.notes}
	if f.kept != "" {
		p.Files = []File{{"release.yaml", f.releaseYAML(name, f.kept)}}
		return p
	}
	p.Files = []File{{"release.yaml", f.releaseYAML(name, "recipe.yaml")}, {"recipe.yaml", f.recipeYAML(name)}}
	p.Files = append(p.Files, f.parts...)
	if len(f.ignore) > 0 {
		p.Files = append(p.Files, File{".releaseignore", strings.Join(f.ignore, "\n") + "\n"})
	}
	return p
}

func (f *finding) releaseYAML(name, recipe string) string {
	health := "# health: {http: {path: /healthz}}   # without it: a TCP connection to the image's first port"
	if f.health != "" {
		health = fmt.Sprintf("health: {http: {path: %s}}", f.health)
	}
	return fmt.Sprintf(`# How %[1]s runs. What is in force, with defaults: release config.
app: %[1]s
recipe: %[3]s
fleet: {size: 2}
%[2]s
route: {listen: ":8080"}
cutover:
  steps: [{percent: 10, hold: 10s}, {percent: 50, hold: 10s}, {percent: 100}]
  abort_on: {error_rate: 1%%}
  verdict: off    # with traffic to compare releases by, leave this out
environments:
  staging: {fleet: {size: 1}, route: {listen: ":8081"}}
`, name, health, recipe)
}

func (f *finding) recipeYAML(name string) string {
	return "# What goes into the image of " + name + "." + f.comment + "\nname: " + name + "\n" + f.recipe
}

var notNames = regexp.MustCompile(`[^a-z0-9]+`)

// longestName is how long the name of an app may be.
const longestName = 20

// Name makes the name of an app of any text: a-z, 0-9 and -, beginning with a letter; "" when nothing is left.
func Name(text string) string {
	s := notNames.ReplaceAllString(strings.ToLower(text), "-")
	s = strings.TrimLeft(s, "-0123456789")
	return strings.Trim(s[:min(longestName, len(s))], "-")
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// RecipeKind is the Kind of a folder whose recipe.yaml is kept. Whoever can read recipes says what it lacks.
const RecipeKind = "recipe.yaml, kept"

// ownRecipe is a folder with a recipe to which only the release.yaml is missing.
func ownRecipe(dir string) (*finding, error) {
	if !exists(dir, "recipe.yaml") || exists(dir, "release.yaml") {
		return nil, nil
	}
	return &finding{kind: RecipeKind, name: filepath.Base(dir), kept: "recipe.yaml"}, nil
}

// empty is what is proposed when nothing is known.
func empty() *finding {
	return &finding{
		kind: "nothing that is known", port: 8080,
		recipe: `base: scratch                  # or {image: registry/name:tag}, {image: ./image.tar}
# copy: [{from: ./bin/app, to: /app}]
# entrypoint: [/app]
ports: [8080]                  # the app listens here; $PORT says the same number
`,
		notes: []string{"fill in recipe.yaml: what to copy, and the entrypoint"},
	}
}

// list is YAML of a list in one line.
func list(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

var plainYAML = regexp.MustCompile(`^[A-Za-z/.][A-Za-z0-9/._-]*$`)

// quote is YAML of a text.
func quote(s string) string {
	words := []string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
	if plainYAML.MatchString(s) && !slices.Contains(words, strings.ToLower(s)) {
		return s
	}
	return fmt.Sprintf("%q", s)
}
