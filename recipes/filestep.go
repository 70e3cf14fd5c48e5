package recipes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// fileStep adds a single file.
func (l *loader) fileStep(e *fileEntry, i int, dir string) {
	where := fmt.Sprintf("files[%d]", i)
	f := File{From: e.From, Template: e.Template, Owner: e.Owner, Mode: e.Mode.perm, Dir: dir, Pos: e.Node.Pos}
	l.owner(e.Node, where, e.Owner)
	if e.Node.Get("to") != nil {
		f.To = l.target(e.Node.Locate("to"), where+".to", e.To)
		if strings.HasSuffix(e.To, "/") {
			l.fail(e.Node.Locate("to"), "%s.to %q must be the path of a file", where, e.To)
		}
	}
	switch from := e.Node.Get("from") != nil; {
	case from == (e.Content != nil):
		l.fail(e.Node.Pos, "%s needs either from or content", where)
	case from:
		f.Source = l.projectFile(e.Node.Locate("from"), where+".from", e.From, dir)
	default:
		f.Content, f.TextPos = *e.Content, e.Node.Locate("content")
	}
	l.recipe.FileEntries = append(l.recipe.FileEntries, f)
}

// projectFile finds a regular file of the project. What .releaseignore leaves out of copies counts as well: who names one
// file means it.
func (l *loader) projectFile(pos Position, where, name, dir string) string {
	abs, problem := l.inProject(dir, name)
	if problem != "" {
		l.fail(pos, "%s %s: %s", where, name, problem)
		return ""
	}
	info, err := os.Stat(abs)
	if err != nil {
		l.fail(pos, "%s %s: %s", where, name, reason(err))
		return ""
	}
	if !info.Mode().IsRegular() {
		l.fail(pos, "%s %s: is no file", where, name)
		return ""
	}
	return abs
}

// extensionStep adds a plug-in.
func (l *loader) extensionStep(e *extensionEntry, i int, dir string) {
	where := fmt.Sprintf("extensions[%d]", i)
	x := Extension{
		Name: e.Name, Version: e.Version, Source: e.Source, SHA256: strings.ToLower(e.SHA256), Ref: e.Ref, Strip: e.Strip,
		Owner: e.Owner, Dir: dir, Pos: e.Node.Pos,
	}
	l.owner(e.Node, where, e.Owner)
	if e.Node.Get("path") != nil {
		x.Path = l.target(e.Node.Locate("path"), where+".path", e.Path)
	}
	for key, value := range map[string]string{"name": e.Name, "version": e.Version} {
		if e.Node.Get(key) != nil && !partPattern.MatchString(value) {
			l.fail(e.Node.Locate(key), "%s.%s %q must be up to 63 letters, digits, dots, dashes, slashes and underscores", where, key, value)
		}
	}
	if e.Node.Get("source") != nil {
		l.extensionSource(e, &x, where)
	}
	for _, o := range l.recipe.Extensions {
		if o.Name == x.Name && x.Name != "" {
			l.fail(e.Node.Pos, "%s: there is an extension %s already, at %s:%d", where, x.Name, o.Pos.File, o.Pos.Line)
		}
	}
	l.recipe.Extensions = append(l.recipe.Extensions, x)
}

func (l *loader) extensionSource(e *extensionEntry, x *Extension, where string) {
	pos := e.Node.Locate("source")
	if strings.HasPrefix(e.Source, "./") || strings.HasPrefix(e.Source, "../") {
		l.localExtension(e, x, where)
		return
	}
	if e.Node.Get("ref") == nil {
		l.webURL(pos, where+".source", e.Source)
		if e.Node.Get("sha256") != nil && !sumPattern.MatchString(x.SHA256) {
			l.fail(e.Node.Locate("sha256"), "%s.sha256 must be 64 hex digits, not %d characters", where, len(e.SHA256))
		}
		return
	}
	l.gitURL(pos, where+".source", e.Source)
	if !refPattern.MatchString(e.Ref) || strings.Contains(e.Ref, "..") {
		l.fail(e.Node.Locate("ref"), "%s.ref %q must be a branch, a tag or a commit", where, e.Ref)
	}
	if e.Node.Get("sha256") != nil {
		l.fail(e.Node.Locate("sha256"), "%s.sha256 is of an archive; a repository is pinned by its commit", where)
	}
	if e.Strip != 0 {
		l.fail(e.Node.Locate("strip"), "%s.strip is of an archive", where)
	}
}

// localExtension is a folder or an archive of the project. Its content is an input as that of a copy; the lockfile says
// what it was.
func (l *loader) localExtension(e *extensionEntry, x *Extension, where string) {
	pos := e.Node.Locate("source")
	abs, problem := l.inProject(x.Dir, e.Source)
	if problem != "" {
		l.fail(pos, "%s.source %s: %s", where, e.Source, problem)
		return
	}
	if e.Node.Get("ref") != nil {
		l.fail(e.Node.Locate("ref"), "%s.ref is of a repository", where)
	}
	x.Local = abs
	l.errs = append(l.errs, l.recipe.Ignore.load(filepath.Dir(abs))...)
	switch info, err := os.Stat(abs); {
	case err != nil:
		l.fail(pos, "%s.source %s: %s", where, e.Source, reason(err))
	case info.IsDir():
		l.errs = append(l.errs, l.recipe.Ignore.load(abs)...)
		if rule := l.recipe.leftOut(abs, true); rule != "" {
			l.fail(pos, "%s.source %s: left out by %s", where, e.Source, rule)
		}
	case !info.Mode().IsRegular():
		l.fail(pos, "%s.source %s: is neither a file nor a folder", where, e.Source)
	}
}
