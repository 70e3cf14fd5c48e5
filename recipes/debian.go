package recipes

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	suitePattern   = regexp.MustCompile(`^[a-z][a-z0-9.-]{0,62}$`)
	packagePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[A-Za-z0-9.+:~*-]+|/[A-Za-z0-9.-]+)?$`)
	partPattern    = regexp.MustCompile(`^[A-Za-z0-9._/-]{1,63}$`)
)

// debianBase reads a base that is a Debian release.
func (l *loader) debianBase(e *baseEntry, dir string) *Debian {
	d := &Debian{Suite: e.Debian, Mirrors: e.Mirrors, SecurityMirrors: e.Security, AllowExpired: e.Expired}
	if !suitePattern.MatchString(e.Debian) {
		l.fail(e.Node.Locate("debian"), "base.debian %q must be the code name of a release, such as bookworm", e.Debian)
	}
	for key, list := range map[string][]string{"mirrors": e.Mirrors, "security_mirrors": e.Security} {
		for i, address := range list {
			l.webURL(e.Node.Locate(key, i), fmt.Sprintf("base.%s[%d]", key, i), address)
		}
	}
	if e.Keyring != "" {
		d.Keyring = l.keyring(e.Node.Locate("keyring"), "base.keyring", e.Keyring, dir)
	}
	return d
}

func (l *loader) keyring(pos Position, where, name, dir string) string {
	abs, problem := l.inProject(dir, name)
	if problem != "" {
		l.fail(pos, "%s %s: %s", where, name, problem)
	}
	return abs
}

// debian adds what the file says of packages and where they are from.
func (l *loader) debian(f *file, dir string) {
	r := l.recipe
	for i, text := range f.Packages {
		pos := f.Node.Locate("packages", i)
		if !packagePattern.MatchString(text) {
			l.badPackage(pos, i, text)
		}
		if !slices.ContainsFunc(r.Packages, func(p Package) bool { return p.Text == text }) {
			r.Packages = append(r.Packages, Package{Text: text, Pos: pos})
		}
	}
	if f.Recommends != nil {
		r.Recommends = *f.Recommends
	}
	for i := range f.Repos {
		if f.Repos[i].Node != nil {
			l.repository(&f.Repos[i], i, dir)
		}
	}
	for i, p := range f.Pins {
		if p.Node == nil {
			continue
		}
		if p.Node.Get("version") == nil && p.Node.Get("suite") == nil {
			l.fail(p.Node.Pos, "pins[%d] needs version or suite", i)
		}
		r.Pins = append(r.Pins, Pin{Package: p.Package, Version: p.Version, Suite: p.Suite, Priority: p.Priority, Pos: p.Node.Pos})
	}
}

func (l *loader) badPackage(pos Position, i int, text string) {
	name, rest, _ := strings.Cut(strings.TrimSpace(text), "=")
	meant := strings.ToLower(name)
	if rest != "" {
		meant += "=" + rest
	}
	if meant != text && packagePattern.MatchString(meant) {
		l.fail(pos, "packages[%d] %q: names of packages are in lower case, without blanks", i, text).WithHint("did you mean %s?", meant)
		return
	}
	l.fail(pos, "packages[%d] %q must be name, name=version, name/suite or name-", i, text)
}

func (l *loader) repository(e *repoEntry, i int, dir string) {
	where := fmt.Sprintf("repositories[%d]", i)
	r := Repository{Name: e.Name, URL: e.URL, Suite: e.Suite, Components: e.Components, Pos: e.Node.Pos}
	if len(r.Components) == 0 {
		r.Components = []string{"main"}
	}
	if e.Node.Get("url") != nil {
		l.webURL(e.Node.Locate("url"), where+".url", e.URL)
	}
	if e.Node.Get("name") != nil && !validName(e.Name) {
		l.fail(e.Node.Locate("name"), "%s.name %q must be 1 to 63 of a-z, 0-9, dot, - and _", where, e.Name)
	}
	for _, part := range append([]string{e.Suite}, e.Components...) {
		if part != "" && (!partPattern.MatchString(part) || strings.Contains(part, "..")) {
			l.fail(e.Node.Pos, "%s: %q is no name of a suite or component", where, part)
		}
	}
	if e.Node.Get("keyring") != nil {
		r.Keyring = l.keyring(e.Node.Locate("keyring"), where+".keyring", e.Keyring, dir)
	}
	if slices.ContainsFunc(l.recipe.Repositories, func(o Repository) bool { return o.Name == r.Name }) {
		l.fail(e.Node.Pos, "%s: there is a repository %s already", where, r.Name)
	}
	l.recipe.Repositories = append(l.recipe.Repositories, r)
}

// wholeDebian refuses packages for a base that has no package database of ours.
func (l *loader) wholeDebian() {
	r := l.recipe
	if r.Base.Debian != nil || r.Base.Pos == (Position{}) {
		return
	}
	const hint = "base: {debian: bookworm}; on another base, install them in a run step with network: true"
	switch {
	case len(r.Packages) > 0:
		l.fail(r.Packages[0].Pos, "packages need a Debian release as base").WithHint(hint)
	case len(r.Repositories) > 0:
		l.fail(r.Repositories[0].Pos, "repositories need a Debian release as base").WithHint(hint)
	case len(r.Pins) > 0:
		l.fail(r.Pins[0].Pos, "pins need a Debian release as base").WithHint(hint)
	}
}
