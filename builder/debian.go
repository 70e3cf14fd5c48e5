package builder

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/debian/archive"
	"github.com/bootandshoot/release/debian/deb"
	"github.com/bootandshoot/release/debian/resolve"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// chosen are the packages that a request needs, and from where.
type chosen struct {
	suites   []recipes.LockedSuite
	packages recipes.LockedPackages
	security []string // names of the suites that bring security updates
	kept     bool     // those to keep were
}

// chooseDebian asks the archives which packages the recipe needs. Those to keep stay at their version, but for the ones
// to be updated; where that cannot be, they too are chosen anew unless they must stay.
func (b *bake) chooseDebian(ctx context.Context, keep recipes.LockedPackages, must bool) (chosen, error) {
	sources, err := b.debianSources()
	if err != nil {
		return chosen{}, err
	}
	step := b.debianStep()
	client, err := b.archives(step)
	if err != nil {
		return chosen{}, err
	}
	defer client.Close()
	b.note(step, "reading the package lists of %s", b.recipe.Base.Debian.Suite)
	index, err := client.Update(ctx, plainSources(sources), b.debianArch())
	if err != nil {
		return chosen{}, err
	}
	if err := b.checkPins(step, index, sources); err != nil {
		return chosen{}, err
	}
	kept := len(keep.Base) > 0
	set, err := b.resolveKeeping(ctx, client, index, sources, keep)
	if err != nil && kept && !must {
		// What is wanted now may need others in newer versions.
		b.note(step, "the packages for %s do not fit the versions of the lockfile: choosing all of them anew", b.debianArch())
		kept = false
		set, err = b.resolvePackages(index.Packages, index, sources)
	}
	if err != nil {
		return chosen{}, err
	}
	c := chosen{kept: kept, packages: recipes.LockedPackages{Base: pinsOfPackages(set.base, sources), Added: pinsOfPackages(set.added, sources)}}
	for i, s := range sources {
		c.suites = append(c.suites, recipes.LockedSuite{Name: s.label, Date: index.Suites[i].Date.UTC().Truncate(time.Second)})
		if s.Security {
			c.security = append(c.security, s.label)
		}
	}
	return c, nil
}

// resolveKeeping resolves with the packages to keep at their versions.
func (b *bake) resolveKeeping(ctx context.Context, client *archive.Client, index *archive.Index, sources []debianSource, keep recipes.LockedPackages) (packageSet, error) {
	packages, err := b.keepVersions(ctx, client, sources, index.Packages, keep)
	if err != nil {
		return packageSet{}, err
	}
	return b.resolvePackages(packages, index, sources)
}

func plainSources(list []debianSource) []archive.Source {
	plain := make([]archive.Source, len(list))
	for i, s := range list {
		plain[i] = s.Source
	}
	return plain
}

func pinsOfPackages(list []debian.Package, sources []debianSource) []recipes.LockedPackage {
	var pins []recipes.LockedPackage
	for _, p := range list {
		pins = append(pins, locked(p, sources[p.Suite].label))
	}
	return pins
}

// packageSet is the base and what the recipe adds.
type packageSet struct{ base, added []debian.Package }

// resolvePackages finds the base, then what the recipe wants on top of it.
func (b *bake) resolvePackages(packages []debian.Package, index *archive.Index, sources []debianSource) (packageSet, error) {
	u := resolve.New(packages, b.debianArch()).WithSuites(resolveSuites(index, sources))
	wants, err := b.wants()
	if err != nil {
		return packageSet{}, err
	}
	base, wants, err := b.resolveBase(u, packages, wants)
	if err != nil || len(wants) == 0 {
		return packageSet{base: base}, err
	}
	s, err := u.Resolve(resolve.Request{Installed: base, Want: wants, Recommends: b.recipe.Recommends, Pins: resolvePins(b.recipe)})
	if err != nil {
		return packageSet{}, b.atPackages(err)
	}
	if err := b.leavesBase(base, s); err != nil {
		return packageSet{}, err
	}
	return packageSet{base: base, added: s.New}, nil
}

// mergedUsr is the package that says that /usr is merged, as it is in our base from the start; its alternative merges an
// old system and needs perl for that.
const mergedUsr = "usr-is-merged"

// resolveBase finds the base. Wishes for a version of one of its packages are fulfilled there; the others are left.
func (b *bake) resolveBase(u *resolve.Universe, packages []debian.Package, wants []resolve.Want) (base []debian.Package, rest []resolve.Want, err error) {
	var extra []string
	if slices.ContainsFunc(packages, func(p debian.Package) bool { return p.Name == mergedUsr }) {
		extra = append(extra, mergedUsr)
	}
	r := resolve.Request{Pins: resolvePins(b.recipe)}
	s, err := u.BaseWith(r, extra...)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range wants {
		if (w.Version != "" || w.Suite != "") && !w.Not && slices.ContainsFunc(s.Packages, func(p debian.Package) bool { return p.Name == w.Name }) {
			r.Want = append(r.Want, w)
		} else {
			rest = append(rest, w)
		}
	}
	if len(r.Want) > 0 {
		if s, err = u.BaseWith(r, extra...); err != nil {
			return nil, nil, b.atPackages(err)
		}
	}
	return s.Packages, rest, nil
}

// leavesBase refuses packages that would change the base: it is installed and configured before them.
func (b *bake) leavesBase(base []debian.Package, s *resolve.Solution) error {
	var names []string
	for _, p := range s.Removed {
		names = append(names, p.Name)
	}
	for _, p := range s.New {
		if slices.ContainsFunc(base, func(o debian.Package) bool { return o.Name == p.Name }) {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	pos := b.recipe.Packages[0].Pos
	return fault.New(fault.Invalid, "the packages need others of the base changed or removed: %s", strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), ", ")).
		At(pos.File, pos.Line, pos.Column).WithHint("name the version of a base package that they need, such as %s=VERSION, or leave out what conflicts", names[0])
}

func (b *bake) wants() ([]resolve.Want, error) {
	var wants []resolve.Want
	for _, p := range b.recipe.Packages {
		w, err := resolve.ParseWant(p.Text)
		if err != nil {
			return nil, fault.All(err)[0].At(p.Pos.File, p.Pos.Line, p.Pos.Column)
		}
		wants = append(wants, w)
	}
	return wants, nil
}

// atPackages gives errors about packages their places in the recipe.
func (b *bake) atPackages(err error) error {
	var list fault.List
	for _, cause := range fault.All(err) {
		e := *cause
		if e.File == "" {
			pos := b.atFault(e.Message)
			e.File, e.Line, e.Column = pos.File, pos.Line, pos.Column
		}
		list = append(list, &e)
	}
	return list.Err()
}

// atFault is the place of the entry that a message about packages names first, else of the first entry.
func (b *bake) atFault(message string) recipes.Position {
	pos, first := b.recipe.Packages[0].Pos, len(message)
	words := strings.FieldsFunc(message, func(r rune) bool { return strings.ContainsRune(" :,;()", r) })
	for _, p := range b.recipe.Packages {
		if i := slices.Index(words, p.Text); i >= 0 && i < first {
			pos, first = p.Pos, i
		}
	}
	return pos
}

func resolveSuites(index *archive.Index, sources []debianSource) []resolve.Suite {
	suites := make([]resolve.Suite, len(sources))
	for i, s := range index.Suites {
		suites[i] = resolve.Suite{Name: sources[i].label, Codename: s.Codename, Archive: s.Suite, Origin: s.Origin, Label: s.Label,
			NotAutomatic: s.NotAutomatic, ButAutomaticUpgrades: s.ButAutomaticUpgrades}
	}
	return suites
}

// checkPins tells of pins that match nothing. A package or version may not be there yet, or any more; a suite that the
// recipe does not use is a mistake.
func (b *bake) checkPins(step string, index *archive.Index, sources []debianSource) error {
	if len(b.recipe.Pins) == 0 {
		return nil
	}
	for _, idle := range resolve.IdlePins(resolvePins(b.recipe), index.Packages, resolveSuites(index, sources)) {
		pos := b.recipe.Pins[idle.Pin].Pos
		if idle.Suite {
			return fault.New(fault.Invalid, "pins: %s", idle.Why).At(pos.File, pos.Line, pos.Column).
				WithHint("name a suite of the recipe's base or one of its repositories")
		}
		b.note(step, "%s:%d:%d: a pin that changes nothing: %s", pos.File, pos.Line, pos.Column, idle.Why)
	}
	return nil
}

func resolvePins(r *recipes.Recipe) []resolve.Pin {
	var pins []resolve.Pin
	for _, p := range r.Pins {
		pins = append(pins, resolve.Pin{Package: p.Package, Version: p.Version, Suite: p.Suite, Priority: p.Priority})
	}
	return pins
}

// keepVersions leaves of the packages to keep only the pinned version. One that the archives list no more is described
// by the package itself.
func (b *bake) keepVersions(ctx context.Context, client *archive.Client, sources []debianSource, packages []debian.Package, keep recipes.LockedPackages) ([]debian.Package, error) {
	if len(keep.Base) == 0 {
		return packages, nil
	}
	kept := map[string]recipes.LockedPackage{}
	moving := sourcesOf(packages, b.update)
	for _, p := range keep.All() {
		kept[p.Name] = p
	}
	listed := map[string]bool{}
	var list []debian.Package
	for _, p := range packages {
		pin, ok := kept[p.Name]
		switch {
		case !ok || moving[p.Source]:
			list = append(list, p)
		case p.SHA256 == pin.SHA256:
			list, listed[p.Name] = append(list, p), true
		}
		if moving[p.Source] {
			listed[p.Name] = true
		}
	}
	var gone []recipes.LockedPackage
	for _, p := range keep.All() {
		if !listed[p.Name] && !b.update[p.Name] {
			gone = append(gone, p)
		}
	}
	old, err := b.described(ctx, client, sources, gone)
	return append(list, old...), err
}

// sourcesOf names the source packages of the binary ones: what is built together changes together.
func sourcesOf(packages []debian.Package, names map[string]bool) map[string]bool {
	sources := map[string]bool{}
	for _, p := range packages {
		if names[p.Name] {
			sources[p.Source] = true
		}
	}
	return sources
}

// described reads what pinned packages say of themselves.
func (b *bake) described(ctx context.Context, client *archive.Client, sources []debianSource, pins []recipes.LockedPackage) ([]debian.Package, error) {
	paths, err := client.Fetch(ctx, downloads(pins, sources))
	if err != nil {
		return nil, err
	}
	list := make([]debian.Package, len(pins))
	for i, pin := range pins {
		if list[i], err = describePackage(ctx, paths[i], pin); err != nil {
			return nil, err
		}
		list[i].Suite = slices.IndexFunc(sources, func(s debianSource) bool { return s.label == pin.Suite })
		list[i].Suite = max(list[i].Suite, 0)
	}
	return list, nil
}

// describePackage reads a package's control file and checks it against its pin.
func describePackage(ctx context.Context, path string, pin recipes.LockedPackage) (debian.Package, error) {
	p, err := readControl(ctx, path)
	if err != nil {
		return p, fmt.Errorf("read package %s %s: %w", pin.Name, pin.Version, err)
	}
	if p.Name != pin.Name || string(p.Version) != pin.Version || p.Arch != pin.Arch {
		return p, fault.New(fault.Invalid, "package %s %s %s is pinned as %s %s %s", p.Name, p.Version, p.Arch, pin.Name, pin.Version, pin.Arch).
			WithHint("the lockfile was changed by hand: release lock --update %s", pin.Name)
	}
	p.Filename, p.Size, p.SHA256 = pin.Path, pin.Size, pin.SHA256
	return p, nil
}

func readControl(ctx context.Context, path string) (debian.Package, error) {
	f, err := os.Open(path)
	if err != nil {
		return debian.Package{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return debian.Package{}, err
	}
	d, err := deb.Open(f, info.Size(), deb.Limits{})
	if err != nil {
		return debian.Package{}, err
	}
	files, err := d.Control(ctx)
	if err != nil {
		return debian.Package{}, err
	}
	p, _, err := debian.ParseControl(path, string(files["control"].Data))
	return p, err
}

// downloads are the files of pinned packages.
func downloads(pins []recipes.LockedPackage, sources []debianSource) []archive.Download {
	mirrors := map[string][]string{}
	for _, s := range sources {
		mirrors[s.label] = s.Mirrors
	}
	list := make([]archive.Download, len(pins))
	for i, p := range pins {
		list[i] = archive.Download{Name: p.Name + " " + p.Version, Mirrors: mirrors[p.Suite], Path: p.Path, Size: p.Size, SHA256: p.SHA256}
	}
	return list
}
