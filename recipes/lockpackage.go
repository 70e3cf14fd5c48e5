package recipes

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// MarshalText gives the line. What could not be read again, such as a package that its archive gives no hash for, is an error:
// a lockfile with it would stop every later bake.
func (p LockedPackage) MarshalText() ([]byte, error) {
	text := []byte(p.line())
	if err := new(LockedPackage).UnmarshalText(text); err != nil {
		return nil, fault.New(fault.Failed, "package %s %s of %s cannot be pinned: %w", p.Name, p.Version, p.Suite, err).
			WithHint("its archive's index says so: leave the package out, take it from another archive, or tell who keeps that one")
	}
	return text, nil
}

func (p LockedPackage) line() string {
	return fmt.Sprintf("%s %s %s %s %d %s %s", p.Name, p.Version, p.Arch, p.Suite, p.Size, p.SHA256, p.Path)
}

// UnmarshalText reads the line.
func (p *LockedPackage) UnmarshalText(text []byte) error {
	f := strings.Split(string(text), " ")
	if len(f) != 7 {
		return fmt.Errorf("%q is not a package: name version architecture suite size sha256 path", text)
	}
	size, err := strconv.ParseInt(f[4], 10, 64)
	switch {
	case slices.Contains(f, ""):
		return fmt.Errorf("%q is not a package: a part is empty", text)
	case err != nil || size <= 0 || f[4] != strconv.FormatInt(size, 10):
		return fmt.Errorf("%q is not the size of a package", f[4])
	case !sumPattern.MatchString(f[5]):
		return fmt.Errorf("%q is not a sha256 of 64 hex digits", f[5])
	case path.Clean(f[6]) != f[6] || path.IsAbs(f[6]) || strings.HasPrefix(f[6], ".."):
		return fmt.Errorf("%q is not a path below an archive's address", f[6])
	}
	*p = LockedPackage{Name: f[0], Version: f[1], Arch: f[2], Suite: f[3], Size: size, SHA256: f[5], Path: f[6]}
	return nil
}

// compare orders by name, then architecture.
func (p LockedPackage) compare(o LockedPackage) int {
	return cmp.Or(cmp.Compare(p.Name, o.Name), cmp.Compare(p.Arch, o.Arch))
}

// All lists the packages of an architecture, base first.
func (p LockedPackages) All() []LockedPackage { return slices.Concat(p.Base, p.Added) }

// sort orders the parts of a Debian base.
func (d *LockedDebian) sort() {
	slices.Sort(d.Request)
	slices.SortFunc(d.Suites, func(a, b LockedSuite) int { return cmp.Compare(a.Name, b.Name) })
	for i := range d.Suites {
		d.Suites[i].Date = seconds(d.Suites[i].Date)
	}
	for arch, p := range d.Packages {
		p.Base = lastOfEach(p.Base, LockedPackage.compare)
		p.Added = lastOfEach(p.Added, LockedPackage.compare)
		d.Packages[arch] = p
	}
}

// check reports packages that are pinned twice.
func (d *LockedDebian) check(c *lockChecker) {
	for arch, p := range d.Packages {
		seen := map[string]bool{}
		for i, q := range p.Base {
			c.unique(seen, q.Name+":"+q.Arch, "debian", "packages", arch, "base", i)
		}
		for i, q := range p.Added {
			c.unique(seen, q.Name+":"+q.Arch, "debian", "packages", arch, "added", i)
		}
	}
}
