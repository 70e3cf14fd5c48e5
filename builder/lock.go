package builder

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
	"github.com/bootandshoot/release/recipes"
)

// LockOptions say what becomes of pins that are there.
type LockOptions struct {
	// Update drops pins, so that they are made anew: those that Names name, all of them without Names.
	Update bool
	// Names are of packages or the source packages that they are built from, extensions, base images, addresses of downloads and repositories, or the last part of one.
	Names []string
	// Platforms to pin packages for, "linux/arm64"; none are those of the lockfile and that of the bake.
	Platforms []string
}

// Change is a pin that is new, gone or another one. From is "" for a new one, To for one that is gone.
type Change struct {
	Kind string `json:"kind"` // "package", "machine", "extension", "base", "fetch", "git"
	Name string `json:"name"`
	Arch string `json:"arch,omitempty"` // of a package, as Debian names it
	From string `json:"from"`
	To   string `json:"to"`
}

// Locked is what Lock did.
type Locked struct {
	Path    string   `json:"path"`
	Changed bool     `json:"changed"` // the lockfile was written
	Changes []Change `json:"changes"`
}

// Lock brings a recipe's lockfile up to date without baking. Pins that still serve stay unless they are to be updated.
func Lock(ctx context.Context, o Options, l LockOptions) (Locked, error) {
	o.Locked = false
	lockPath := cmp.Or(o.LockPath, recipes.LockPath(o.Recipe.Path))
	load := recipes.LoadLock
	if l.Update && len(l.Names) == 0 {
		load = recipes.LoadLockAsIs // what of it is wrong is made anew
	}
	old, err := orNew(load(lockPath))
	if err != nil {
		return Locked{}, err
	}
	if o.Machine == nil && (o.Recipe.Machine != nil || old.Machine != nil) {
		o.Machine = &Machine{}
	}
	release, err := o.Store.Hold(ctx)
	if err != nil {
		return Locked{}, err
	}
	defer release()
	next, err := relock(ctx, o, l, old)
	if err != nil {
		return Locked{}, err
	}
	res := Locked{Path: lockPath, Changed: !unchanged(old, next), Changes: changes(old, next)}
	if !res.Changed {
		return res, nil
	}
	return res, next.Save(lockPath)
}

// relock makes the new lock, one platform after the other.
func relock(ctx context.Context, o Options, l LockOptions, old *recipes.Lock) (*recipes.Lock, error) {
	start, update, err := dropped(old, l)
	if err != nil {
		return nil, err
	}
	platforms := l.Platforms
	if len(platforms) == 0 {
		platforms = lockedPlatforms(old, cmp.Or(o.Platform, defaultPlatform()))
	}
	for _, platform := range platforms {
		o.Platform = platform
		b, err := newBake(o)
		if err != nil {
			return nil, err
		}
		b.update = update
		if start, err = b.pins(ctx, start); err != nil {
			return nil, err
		}
	}
	return start, nil
}

// lockedPlatforms is the bake's own platform and those that the lockfile has packages for.
func lockedPlatforms(l *recipes.Lock, own string) []string {
	list := []string{own}
	if l.Debian == nil {
		return list
	}
	for _, arch := range slices.Sorted(maps.Keys(l.Debian.Packages)) {
		if platform := "linux/" + ociArch(arch); platform != own {
			list = append(list, platform)
		}
	}
	return list
}

// dropped is the lock without the pins to be made anew. Packages stay in it: update names those that may change, for
// they are chosen together.
func dropped(old *recipes.Lock, l LockOptions) (rest *recipes.Lock, update map[string]bool, err error) {
	if !l.Update {
		return old, nil, nil
	}
	if len(l.Names) == 0 {
		return &recipes.Lock{Schema: recipes.LockSchema}, nil, nil
	}
	next := *old
	update = map[string]bool{}
	for _, name := range l.Names {
		found := false
		named := func(key string) bool {
			hit := key == name || path.Base(strings.TrimSuffix(key, ".git")) == name
			found = found || hit
			return hit
		}
		next.Fetch = slices.DeleteFunc(slices.Clone(next.Fetch), func(f recipes.LockedURL) bool { return named(f.URL) })
		next.Git = slices.DeleteFunc(slices.Clone(next.Git), func(g recipes.LockedGit) bool { return named(g.URL) })
		next.Extensions = slices.DeleteFunc(slices.Clone(next.Extensions), func(x recipes.LockedExtension) bool { return named(x.Name) })
		if next.Base != nil && named(next.Base.Image) {
			next.Base = nil
		}
		if next.Machine != nil && slices.ContainsFunc(next.Machine.Packages, func(p recipes.LockedPackage) bool { return named(p.Name) || named(sourceOf(p)) }) {
			next.Machine = nil // kernel and stub are chosen anew
		}
		for _, p := range packagesOf(next.Debian, name) {
			found, update[p] = true, true
		}
		if !found {
			return nil, nil, notPinned(old, name)
		}
	}
	return &next, update, nil
}

// packagesOf names the pinned packages of a name: the one that has it, else those that are built from a source of that name.
func packagesOf(d *recipes.LockedDebian, name string) []string {
	var built []string
	if d == nil {
		return nil
	}
	for _, arch := range slices.Sorted(maps.Keys(d.Packages)) {
		for _, p := range d.Packages[arch].All() {
			if p.Name == name {
				return []string{name}
			}
			if sourceOf(p) == name {
				built = append(built, p.Name)
			}
		}
	}
	return built
}

// sourceOf is the source package by the place in the archive's pool, pool/main/o/openssl/libssl3_3.0.deb; "" for another
// order of files.
func sourceOf(p recipes.LockedPackage) string {
	dir := path.Dir(p.Path)
	source, letter := path.Base(dir), path.Base(path.Dir(dir))
	if strings.HasPrefix(source, letter) && (len(letter) == 1 || len(letter) == 4 && strings.HasPrefix(letter, "lib")) {
		return source
	}
	return ""
}

// notPinned names what was likely meant.
func notPinned(l *recipes.Lock, name string) error {
	var names []string
	for key := range pinsOf(l) {
		address, _, _ := strings.Cut(key.name, " ")
		names = append(names, path.Base(strings.TrimSuffix(address, ".git")))
	}
	if l.Debian != nil {
		for _, p := range l.Debian.Packages {
			for _, q := range p.All() {
				if source := sourceOf(q); source != "" {
					names = append(names, source)
				}
			}
		}
	}
	err := fault.New(fault.NotFound, "update %s: the lockfile pins nothing of that name", name)
	if near := strictyaml.Nearest(name, names); near != "" {
		return err.WithHint("did you mean %s? release lock --update without names updates everything", near)
	}
	return err.WithHint("release lock --update without names updates everything")
}

// changes lists how two locks differ, by kind and name.
func changes(old, next *recipes.Lock) []Change {
	list := []Change{}
	before, after := pinsOf(old), pinsOf(next)
	for key, to := range after {
		if from := before[key]; from != to {
			list = append(list, Change{Kind: key.kind, Name: key.name, Arch: key.arch, From: from, To: to})
		}
	}
	for key, from := range before {
		if _, ok := after[key]; !ok {
			list = append(list, Change{Kind: key.kind, Name: key.name, Arch: key.arch, From: from})
		}
	}
	slices.SortFunc(list, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch))
	})
	return list
}

// pinKey names a pinned thing.
type pinKey struct{ kind, name, arch string }

// pinsOf gives what each thing is pinned to, as people tell versions apart.
func pinsOf(l *recipes.Lock) map[pinKey]string {
	all := map[pinKey]string{}
	if l.Base != nil {
		all[pinKey{"base", l.Base.Image, ""}] = l.Base.Digest
	}
	for _, f := range l.Fetch {
		all[pinKey{groupFetch, f.URL, ""}] = f.SHA256
	}
	for _, g := range l.Git {
		all[pinKey{groupGit, g.URL + " " + g.Ref, ""}] = g.Commit
	}
	for _, x := range l.Extensions {
		all[pinKey{"extension", x.Name, ""}] = fmt.Sprintf("%s %s", x.Version, cmp.Or(x.Commit, x.SHA256))
	}
	if l.Machine != nil {
		for _, p := range l.Machine.Packages {
			all[pinKey{"machine", p.Name, p.Arch}] = p.Version
		}
	}
	if l.Debian != nil {
		for arch, p := range l.Debian.Packages {
			for _, q := range p.All() {
				all[pinKey{"package", q.Name, arch}] = q.Version
			}
		}
	}
	return all
}
