package builder

import (
	"cmp"
	"context"
	"slices"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// Newer is a pin for which there is something else by now.
type Newer struct {
	Kind      string `json:"kind"` // "package", "base", "git", "extension"
	Name      string `json:"name"`
	Arch      string `json:"arch,omitempty"` // of a package, as Debian names it
	Locked    string `json:"locked"`         // "" for a package that comes in addition
	Available string `json:"available"`      // "" for a package that is needed no more
	Suite     string `json:"suite,omitempty"`
	Security  bool   `json:"security"` // it comes from a security archive
}

// Outdated says what a new lockfile would pin otherwise: packages for the platforms of the lockfile, the base image's tag,
// branches of repositories and of extensions. Downloads and extensions from an address are not asked for: what is pinned is their content.
// Nothing is written.
func Outdated(ctx context.Context, o Options) ([]Newer, error) {
	if o.Offline {
		return nil, fault.New(fault.Invalid, "look for newer versions: --offline is given")
	}
	old, err := loadLock(cmp.Or(o.LockPath, recipes.LockPath(o.Recipe.Path)))
	if err != nil {
		return nil, err
	}
	release, err := o.Store.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	list := []Newer{}
	for _, platform := range lockedPlatforms(old, cmp.Or(o.Platform, defaultPlatform())) {
		other := o
		other.Platform = platform
		b, err := newBake(other)
		if err != nil {
			return nil, err
		}
		newer, err := b.newerPackages(ctx, old.Debian)
		if err != nil {
			return nil, b.inDebian(err)
		}
		list = append(list, newer...)
	}
	b, err := newBake(o)
	if err != nil {
		return nil, err
	}
	others, err := b.newerPins(ctx, old)
	return append(list, others...), err
}

// newerPackages compares the packages for this architecture with those that would be chosen today.
func (b *bake) newerPackages(ctx context.Context, old *recipes.LockedDebian) ([]Newer, error) {
	if b.recipe.Base.Debian == nil || old == nil || len(old.Packages[b.debianArch()].Base) == 0 {
		return nil, nil
	}
	now, err := b.chooseDebian(ctx, recipes.LockedPackages{}, false)
	if err != nil {
		return nil, err
	}
	had := map[string]recipes.LockedPackage{}
	for _, p := range old.Packages[b.debianArch()].All() {
		had[p.Name] = p
	}
	var list []Newer
	for _, p := range now.packages.All() {
		was, ok := had[p.Name]
		delete(had, p.Name)
		if ok && was.Version == p.Version {
			continue
		}
		list = append(list, Newer{
			Kind: "package", Name: p.Name, Arch: b.debianArch(), Locked: was.Version, Available: p.Version, Suite: p.Suite,
			Security: slices.Contains(now.security, p.Suite),
		})
	}
	for _, p := range had {
		list = append(list, Newer{Kind: "package", Name: p.Name, Arch: b.debianArch(), Locked: p.Version})
	}
	slices.SortFunc(list, func(a, c Newer) int { return cmp.Compare(a.Name, c.Name) })
	return list, nil
}

// newerPins asks what the base image's tag and the branches are today.
func (b *bake) newerPins(ctx context.Context, old *recipes.Lock) ([]Newer, error) {
	var list []Newer
	if old.Base != nil && b.recipe.Base.Reference != "" {
		now, err := b.store.RemoteDigest(ctx, b.recipe.Base.Reference, platformText(b.platform))
		if err != nil {
			return nil, b.inBase(err)
		}
		if string(now) != old.Base.Digest {
			list = append(list, Newer{Kind: "base", Name: old.Base.Image, Locked: old.Base.Digest, Available: string(now)})
		}
	}
	for _, g := range uniqueGits(b.recipe) {
		pin := old.Commit(g.URL, g.Ref)
		if pin == nil {
			continue
		}
		now, err := b.pinGit(ctx, g, nil)
		if err != nil {
			return nil, err
		}
		if now.Commit != pin.Commit {
			list = append(list, Newer{Kind: groupGit, Name: g.URL + " " + g.Ref, Locked: pin.Commit, Available: now.Commit})
		}
	}
	for _, e := range b.recipe.Extensions {
		pin := old.Extension(e.Name)
		if e.Ref == "" || !sameSource(e, pin) {
			continue
		}
		now, err := b.resolveGit(ctx, (&extensionStep{Extension: e}).git())
		if err != nil {
			return nil, err
		}
		if now.Commit != pin.Commit {
			list = append(list, Newer{Kind: "extension", Name: e.Name, Locked: pin.Commit, Available: now.Commit})
		}
	}
	return list, nil
}
