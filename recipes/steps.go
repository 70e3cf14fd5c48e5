package recipes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
)

func (l *loader) base(f *file, dir string) {
	if f.Base == nil || f.Base.Node == nil {
		return
	}
	b := Base{Scratch: f.Base.Scratch, Pos: f.Base.Node.Pos}
	if n := f.Base.Node.Get("debian"); f.Base.Debian != "" || n != nil && n.Kind != strictyaml.Text {
		b.Debian = l.debianBase(f.Base, dir)
	}
	image := f.Base.Image
	pos := f.Base.Node.Locate("image")
	switch {
	case image == "":
	case strings.HasPrefix(image, "./"), strings.HasPrefix(image, "../"), strings.HasPrefix(image, "/"), image == ".", image == "..":
		b.Path = l.localImage(pos, image, dir)
	default:
		b.Reference = l.reference(pos, image)
	}
	l.recipe.Base = b
}

// localImage may lie outside the project: its content is pinned by the lockfile.
func (l *loader) localImage(pos Position, image, dir string) string {
	abs := image
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(dir, image)
	}
	info, err := os.Stat(abs)
	if err != nil {
		l.fail(pos, "base.image %s: %s", image, reason(err))
		return ""
	}
	switch _, err := os.Stat(filepath.Join(abs, "oci-layout")); {
	case info.IsDir() && err != nil:
		l.fail(pos, "base.image %s: the folder is not an OCI layout: it has no file oci-layout", image)
	case !info.IsDir() && !info.Mode().IsRegular():
		l.fail(pos, "base.image %s: is neither a file nor a folder", image)
	}
	return abs
}

func (l *loader) reference(pos Position, image string) string {
	_, err := name.ParseReference(image)
	last := image[strings.LastIndex(image, "/")+1:]
	switch {
	case err != nil:
		l.fail(pos, "base.image %q is not a registry reference", image).
			WithHint("write name:tag or name@sha256:…, or a path that begins with ./ for a local image")
		return ""
	case !strings.ContainsAny(last, ":@"):
		l.fail(pos, "base.image %q has neither tag nor digest", image).
			WithHint("write %s:TAG, or ./%s if it is a local image", image, image)
		return ""
	}
	return image
}

func (l *loader) copyStep(e *copyEntry, i int, dir string) {
	where := fmt.Sprintf("copy[%d]", i)
	c := Copy{From: e.From, Owner: e.Owner, Mode: e.Mode.perm, Dir: dir, Pos: e.Node.Pos}
	l.owner(e.Node, where, e.Owner)
	if e.Node.Get("to") != nil {
		c.To = l.target(e.Node.Locate("to"), where+".to", e.To)
	}
	if e.Node.Get("from") != nil {
		l.source(&c, e, where)
	}
	l.recipe.Copy = append(l.recipe.Copy, c)
}

// source finds what the step copies.
func (l *loader) source(c *Copy, e *copyEntry, where string) {
	pos := e.Node.Locate("from")
	abs, problem := l.inProject(c.Dir, e.From)
	if problem != "" {
		l.fail(pos, "%s.from %s: %s", where, e.From, problem)
		return
	}
	info, err := os.Stat(abs)
	if err != nil {
		l.fail(pos, "%s.from %s: %s", where, e.From, reason(err))
		return
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		l.fail(pos, "%s.from %s: is neither a file nor a folder", where, e.From)
		return
	}
	c.Source = abs
	if !info.IsDir() && strings.HasSuffix(e.To, "/") && c.To != "" {
		c.To = path.Join(c.To, filepath.Base(e.From))
	}
	folder := abs
	if !info.IsDir() {
		folder = filepath.Dir(abs)
	}
	l.errs = append(l.errs, l.recipe.Ignore.load(folder)...)
	if rule := l.recipe.leftOut(abs, info.IsDir()); rule != "" {
		l.fail(pos, "%s.from %s: left out by %s", where, e.From, rule)
	}
}

// inProject resolves a path of a recipe file in dir, or says why it cannot.
func (l *loader) inProject(dir, name string) (abs, problem string) {
	switch {
	case name == "":
		return "", "the path is empty"
	case filepath.IsAbs(name):
		return "", "the path is absolute; it must be relative to the recipe and stay in the project " + l.recipe.Root
	case !within(l.recipe.Root, filepath.Join(dir, name)):
		return "", "the path leaves the project " + l.recipe.Root
	}
	abs, err := filepath.EvalSymlinks(filepath.Join(dir, name))
	if err != nil {
		return "", reason(err)
	}
	if !within(l.recipe.Root, abs) {
		return "", "a link on the path leaves the project " + l.recipe.Root
	}
	return abs, ""
}

func within(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// reason is an error of the file system without the path, which the message has already.
func reason(err error) string {
	var p *fs.PathError
	var f *fault.Error
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file or folder"
	case errors.As(err, &p):
		return p.Err.Error()
	case errors.As(err, &f) && f.Cause != nil:
		return f.Cause.Error()
	}
	return err.Error()
}

// target is the clean form of an absolute path in the image, "" if it is none.
func (l *loader) target(pos Position, where, to string) string {
	switch {
	case !strings.HasPrefix(to, "/"):
		l.fail(pos, "%s %q must be an absolute path in the image", where, to)
	case slices.Contains(strings.Split(to, "/"), ".."):
		l.fail(pos, "%s %q must not contain ..", where, to)
	case strings.IndexFunc(to, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0:
		l.fail(pos, "%s %q must not contain control characters", where, to)
	default:
		return path.Clean(to)
	}
	return ""
}

func (l *loader) fetchStep(e *fetchEntry, i int, dir string) {
	where := fmt.Sprintf("fetch[%d]", i)
	f := Fetch{URL: e.URL, SHA256: strings.ToLower(e.SHA256), Owner: e.Owner, Mode: e.Mode.perm, Dir: dir, Pos: e.Node.Pos}
	if e.Node.Get("url") != nil {
		l.webURL(e.Node.Locate("url"), where+".url", e.URL)
	}
	if e.Node.Get("sha256") != nil && !sumPattern.MatchString(f.SHA256) {
		l.fail(e.Node.Locate("sha256"), "%s.sha256 must be 64 hex digits, not %d characters", where, len(e.SHA256))
	}
	if e.Node.Get("to") == nil && e.Node.Get("unpack") == nil {
		l.fail(e.Node.Pos, "%s needs to or unpack", where)
	}
	if e.Node.Get("to") != nil {
		f.To = l.target(e.Node.Locate("to"), where+".to", e.To)
		if strings.HasSuffix(e.To, "/") {
			l.fail(e.Node.Locate("to"), "%s.to %q must be the path of a file", where, e.To)
		}
	}
	if e.Node.Get("unpack") != nil {
		f.Unpack = l.target(e.Node.Locate("unpack"), where+".unpack", e.Unpack)
	}
	l.owner(e.Node, where, e.Owner)
	l.recipe.Fetch = append(l.recipe.Fetch, f)
}

func (l *loader) gitStep(e *gitEntry, i int, dir string) {
	where := fmt.Sprintf("git[%d]", i)
	g := Git{URL: e.URL, Ref: e.Ref, Dir: dir, Pos: e.Node.Pos}
	if e.Node.Get("url") != nil {
		l.gitURL(e.Node.Locate("url"), where+".url", e.URL)
	}
	if e.Node.Get("ref") != nil && (!refPattern.MatchString(e.Ref) || strings.Contains(e.Ref, "..")) {
		l.fail(e.Node.Locate("ref"), "%s.ref %q must be a branch, a tag or a commit", where, e.Ref)
	}
	if e.Node.Get("to") != nil {
		g.To = l.target(e.Node.Locate("to"), where+".to", e.To)
	}
	l.recipe.Git = append(l.recipe.Git, g)
}

func (l *loader) runStep(e *runEntry, i int, dir string) {
	where := fmt.Sprintf("run[%d]", i)
	r := Run{Cmd: e.Cmd, Network: e.Network, Env: e.Env, User: e.User, Dir: dir, Pos: e.Node.Pos}
	l.envNames(e.Node, e.Env, where+".env")
	if e.User != "" {
		l.user(e.Node.Locate("user"), where+".user", e.User)
	}
	if e.Node.Get("dir") != nil {
		r.Workdir = l.target(e.Node.Locate("dir"), where+".dir", e.Dir)
	}
	for j, name := range e.Secrets {
		switch {
		case !validName(name):
			l.fail(e.Node.Locate("secrets", j), "%s.secrets[%d] %q must be 1 to 63 of a-z, 0-9, dot, - and _", where, j, name)
		case !slices.Contains(r.Secrets, name):
			r.Secrets = append(r.Secrets, name)
		}
	}
	l.recipe.Run = append(l.recipe.Run, r)
}

func (l *loader) ports(f *file) {
	for i, port := range f.Ports {
		switch {
		case slices.Index(f.Ports, port) < i && port != 0:
			l.fail(f.Node.Locate("ports", i), "ports[%d] %d is given twice", i, port)
		case !slices.Contains(l.recipe.Ports, port):
			l.recipe.Ports = append(l.recipe.Ports, port)
		}
	}
}

// program adds services and the entrypoint; one file has either.
func (l *loader) program(f *file) {
	r := l.recipe
	if f.Entrypoint != nil && len(f.Services) > 0 {
		l.fail(f.Node.LocateKey("entrypoint"), "entrypoint and services exclude each other")
	}
	if f.Entrypoint != nil {
		if len(f.Entrypoint) == 0 || f.Entrypoint[0] == "" && f.Node.Get("entrypoint").Items[0].Kind == strictyaml.Text {
			l.fail(f.Node.Locate("entrypoint"), "entrypoint must begin with a program")
		}
		r.Entrypoint, r.Services = f.Entrypoint, nil
	}
	if f.Services == nil {
		return
	}
	r.Entrypoint = nil
	for _, e := range f.Node.Get("services").Entries {
		l.service(e, f.Services[e.Key])
	}
}
