package recipes

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// maxFiles bounds how many recipes one recipe is composed of.
const maxFiles = 100

// Load reads a recipe and all it includes and validates the whole. The error is a fault.List with all problems and
// their places, or fault.NotFound when there is no such file.
func Load(path string) (*Recipe, error) {
	l, err := newLoader(path)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, fault.New(fault.Invalid, "read %s: it is a folder, not a recipe", path).
			WithHint("name the file in it, such as %s", filepath.Join(path, "recipe.yaml"))
	}
	root, err := strictyaml.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noRecipe(path)
	}
	l.compose(path, l.recipe.Path, root, err)
	l.whole()
	if err := strictyaml.Sort(l.errs).Err(); err != nil {
		return nil, err
	}
	return l.recipe, nil
}

func noRecipe(path string) error {
	return fault.New(fault.NotFound, "read recipe %s: %w", path, fs.ErrNotExist).WithHint("check the path; release init writes a recipe")
}

// loader composes one recipe.
type loader struct {
	recipe *Recipe
	top    *file             // the recipe itself
	chain  []included        // files being read, outermost first
	seen   map[string]bool   // absolute paths of all files read
	told   map[Position]bool // values of another kind than wanted
	errs   fault.List
}

type included struct {
	shown string // path as the user would write it
	abs   string
}

func newLoader(path string) (*loader, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.New(fault.Invalid, "read %s: %w", path, err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noRecipe(path)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "read %s: %w", path, err)
	}
	r := &Recipe{Path: filepath.Join(dir, filepath.Base(abs)), Dir: dir, Root: projectRoot(dir)}
	r.Ignore = newIgnore(r.Root)
	return &loader{recipe: r, seen: map[string]bool{}, told: map[Position]bool{}}, nil
}

// projectRoot is the nearest folder from dir upward that holds release.yaml or .git, else dir.
func projectRoot(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		for _, mark := range []string{"release.yaml", ".git"} {
			if _, err := os.Lstat(filepath.Join(at, mark)); err == nil {
				return at
			}
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

// fail reports a mistake. What is wrong with the meaning of a value of the wrong kind is no second mistake.
func (l *loader) fail(pos Position, format string, args ...any) *fault.Error {
	err := pos.Errorf(format, args...)
	if !l.told[pos] {
		l.errs = append(l.errs, err)
	}
	return err
}

// collect keeps the errors of reading one file.
func (l *loader) collect(err error) {
	for _, e := range fault.All(err) {
		l.errs = append(l.errs, e)
	}
}

// compose adds one file to the recipe: what it includes, then its own keys.
func (l *loader) compose(shown, abs string, root *strictyaml.Node, err error) {
	l.seen[abs] = true
	l.collect(err)
	if root == nil {
		return
	}
	var f file
	strictyaml.Defaults(&f)
	for _, err := range strictyaml.Decode(root, &f) {
		l.errs = append(l.errs, err)
		if errors.Is(err, strictyaml.ErrKind) {
			l.told[Position{File: err.File, Line: err.Line, Column: err.Column}] = true
		}
	}
	f.Node = root
	if l.top == nil {
		l.top = &f
	}
	l.chain = append(l.chain, included{shown, abs})
	for i, name := range f.Include {
		l.include(f.Node.Locate("include", i), name)
	}
	l.add(&f, filepath.Dir(abs))
	l.chain = l.chain[:len(l.chain)-1]
}

// include reads the file that the innermost file of the chain names.
func (l *loader) include(pos Position, name string) {
	from := l.chain[len(l.chain)-1]
	abs, problem := l.inProject(filepath.Dir(from.abs), name)
	if problem != "" {
		l.fail(pos, "include %s: %s", name, problem)
		return
	}
	shown := filepath.Join(filepath.Dir(from.shown), name)
	if i := slices.IndexFunc(l.chain, func(c included) bool { return c.abs == abs }); i >= 0 {
		var names []string
		for _, c := range l.chain[i:] {
			names = append(names, c.shown)
		}
		l.fail(pos, "include cycle: %s", strings.Join(append(names, shown), " -> "))
		return
	}
	if l.seen[abs] {
		return
	}
	if len(l.seen) >= maxFiles {
		l.fail(pos, "include %s: more than %d files", name, maxFiles)
		return
	}
	root, err := strictyaml.Read(shown)
	if e := fault.All(err); root == nil && e[0].Line == 0 {
		l.fail(pos, "include %s: %s", name, reason(err)) // it cannot be read at all
		return
	}
	l.compose(shown, abs, root, err)
}

// add appends a file's steps and lays its single values over what is there. An entry without a node was no mapping, which
// is reported already.
func (l *loader) add(f *file, dir string) {
	r := l.recipe
	r.Files = append(r.Files, f.Node.Pos.File)
	l.base(f, dir)
	l.debian(f, dir)
	for i := range f.Files {
		if f.Files[i].Node != nil {
			l.fileStep(&f.Files[i], i, dir)
		}
	}
	for i := range f.Copy {
		if f.Copy[i].Node != nil {
			l.copyStep(&f.Copy[i], i, dir)
		}
	}
	for i := range f.Fetch {
		if f.Fetch[i].Node != nil {
			l.fetchStep(&f.Fetch[i], i, dir)
		}
	}
	for i := range f.Git {
		if f.Git[i].Node != nil {
			l.gitStep(&f.Git[i], i, dir)
		}
	}
	for i := range f.Extensions {
		if f.Extensions[i].Node != nil {
			l.extensionStep(&f.Extensions[i], i, dir)
		}
	}
	for i := range f.Run {
		if f.Run[i].Node != nil {
			l.runStep(&f.Run[i], i, dir)
		}
	}
	l.envNames(f.Node, f.Env, "env")
	l.places(f)
	r.Env = merged(r.Env, f.Env)
	r.Vars = merged(r.Vars, f.Vars)
	l.labelNames(f)
	r.Labels = merged(r.Labels, f.Labels)
	l.ports(f)
	if f.User != "" {
		l.user(f.Node.Locate("user"), "user", f.User)
		r.User = f.User
	}
	if f.Workdir != "" {
		r.Workdir = l.target(f.Node.Locate("workdir"), "workdir", f.Workdir)
	}
	l.machine(f)
	l.program(f)
	l.tests(f)
	l.allow(f)
}

// places keeps where a file says its single values.
func (l *loader) places(f *file) {
	if l.recipe.Places == nil {
		l.recipe.Places = Places{}
	}
	for key, name := range map[string]string{"user": "user", "entrypoint": "command"} {
		if f.Node.Get(key) != nil {
			l.recipe.Places[name] = f.Node.Locate(key)
		}
	}
	for key, kind := range map[string]string{"env": "env:", "labels": "label:"} {
		for _, e := range entries(f.Node, key) {
			l.recipe.Places[kind+e.Key] = e.KeyPos
		}
	}
}

func merged[V any](into, from map[string]V) map[string]V {
	if into == nil {
		into = map[string]V{}
	}
	maps.Copy(into, from)
	return into
}

// whole checks what only the composed recipe shows.
func (l *loader) whole() {
	if l.top == nil {
		return
	}
	r := l.recipe
	start := l.top.Node.Pos
	if b := r.Base; l.top.Node.Kind == strictyaml.Map && !b.Scratch && b.Path == "" && b.Reference == "" && b.Pos == (Position{}) {
		l.fail(start, "base is missing").WithHint("base: scratch, base: {debian: bookworm}, or base: {image: ./base.tar}")
	}
	l.wholeDebian()
	l.wholeServices()
	l.wholeTests()
	l.name()
}

func (l *loader) name() {
	r := l.recipe
	r.Name = l.top.Name
	if n := l.top.Node.Get("name"); n == nil {
		r.Name = nameOfFile(r.Path)
	} else if n.Kind == strictyaml.Text && !validName(r.Name) {
		l.fail(n.Pos, "name %q must be 1 to 63 of a-z, 0-9, dot, - and _, beginning and ending with a letter or digit", r.Name)
	}
}
