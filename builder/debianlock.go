package builder

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/recipes"
)

// debianArch is the architecture as Debian names it, which for some is otherwise than in Go and OCI.
func (b *bake) debianArch() string {
	switch arch := b.platform.Architecture; arch {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	case "mips64le":
		return "mips64el"
	default:
		return arch
	}
}

// ociArch is the way back from a name of Debian's.
func ociArch(arch string) string {
	switch arch {
	case "i386":
		return "386"
	case "armhf":
		return "arm"
	case "ppc64el":
		return "ppc64le"
	case "mips64el":
		return "mips64le"
	}
	return arch
}

// debianRequest is all that a choice of packages depends on besides the archives' state, a line for each wish.
func debianRequest(r *recipes.Recipe) []string {
	if r.Base.Debian == nil {
		return nil
	}
	list := []string{"debian " + r.Base.Debian.Suite}
	for _, p := range r.Packages {
		list = append(list, "package "+p.Text)
	}
	if r.Recommends {
		list = append(list, "recommends")
	}
	for _, o := range r.Repositories {
		list = append(list, fmt.Sprintf("repository %s %s %s %s", o.Name, o.URL, o.Suite, strings.Join(o.Components, " ")))
	}
	for _, p := range r.Pins {
		line := "pin " + p.Package
		if p.Version != "" {
			line += " version " + p.Version
		}
		if p.Suite != "" {
			line += " suite " + p.Suite
		}
		list = append(list, fmt.Sprintf("%s priority %d", line, p.Priority))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// pinDebian keeps the pins when they were made for the same request and have this architecture. Another request for the same
// Debian release keeps the versions that it can.
func (b *bake) pinDebian(ctx context.Context, old *recipes.LockedDebian) (*recipes.LockedDebian, error) {
	request := debianRequest(b.recipe)
	if request == nil {
		return nil, nil
	}
	same := old != nil && slices.Equal(old.Request, request)
	arch := b.debianArch()
	var keep recipes.LockedPackages
	if old != nil && sameSuite(old.Request, request) {
		if keep = old.Packages[arch]; same && len(keep.Base) > 0 && len(b.update) == 0 {
			return old, nil
		}
	}
	chosen, err := b.chooseDebian(ctx, keep, same)
	if err != nil {
		return nil, b.inDebian(err)
	}
	next := &recipes.LockedDebian{Request: request, Suites: chosen.suites, Packages: map[string]recipes.LockedPackages{}}
	if same {
		maps.Copy(next.Packages, old.Packages) // those of other architectures were chosen for the same wishes
	}
	if same || chosen.kept && sameSuites(old.Suites, chosen.suites) {
		// The date that all of the image has stays: one package more or less must not touch every layer.
		next.Suites = old.Suites
	}
	next.Packages[arch] = chosen.packages
	if same || old == nil {
		return next, nil
	}
	return next, b.pinOtherArchs(ctx, next, old)
}

// pinOtherArchs chooses for the other architectures of the lockfile, too: a bake on one machine must not take away what those
// of others need. Where the versions of one do not fit any more, those of this architecture are chosen anew.
func (b *bake) pinOtherArchs(ctx context.Context, next, old *recipes.LockedDebian) error {
	for _, arch := range slices.Sorted(maps.Keys(old.Packages)) {
		if _, ok := next.Packages[arch]; ok || !sameSuite(old.Request, next.Request) {
			continue
		}
		other := *b
		other.platform = ocispec.Platform{OS: "linux", Architecture: ociArch(arch)}
		chosen, err := other.chooseDebian(ctx, old.Packages[arch], false)
		if err != nil {
			return b.inDebian(fmt.Errorf("for %s: %w", arch, err))
		}
		next.Packages[arch] = chosen.packages
	}
	return nil
}

// sameSuite reports whether two requests begin with the same Debian release.
func sameSuite(a, b []string) bool {
	release := func(line string) bool { return strings.HasPrefix(line, "debian ") }
	i, j := slices.IndexFunc(a, release), slices.IndexFunc(b, release)
	return i >= 0 && j >= 0 && a[i] == b[j]
}

// sameSuites compares the names of suites.
func sameSuites(a, b []recipes.LockedSuite) bool {
	names := func(list []recipes.LockedSuite) []string {
		var all []string
		for _, s := range list {
			all = append(all, s.Name)
		}
		slices.Sort(all)
		return all
	}
	return slices.Equal(names(a), names(b))
}

// compareDebian lists how the pinned packages differ from what the recipe asks for.
func (b *bake) compareDebian(pin *recipes.LockedDebian) []string {
	request := debianRequest(b.recipe)
	switch {
	case request == nil && pin == nil:
		return nil
	case request == nil:
		return []string{"Debian packages are pinned but the recipe has no Debian base"}
	case pin == nil:
		return []string{fmt.Sprintf("base debian %s is not pinned", b.recipe.Base.Debian.Suite)}
	}
	var diffs []string
	for _, line := range request {
		if !slices.Contains(pin.Request, line) {
			diffs = append(diffs, line+" is not in the lockfile")
		}
	}
	for _, line := range pin.Request {
		if !slices.Contains(request, line) {
			diffs = append(diffs, line+" is in the lockfile but not in the recipe")
		}
	}
	if len(pin.Packages[b.debianArch()].Base) == 0 {
		diffs = append(diffs, fmt.Sprintf("no packages for %s are pinned", b.debianArch()))
	}
	return diffs
}

// inDebian says that an error is of the Debian base.
func (b *bake) inDebian(err error) error {
	return inPart("base debian "+b.recipe.Base.Debian.Suite, b.recipe.Base.Pos, err)
}

// locked is the pin of a package of an index.
func locked(p debian.Package, suite string) recipes.LockedPackage {
	return recipes.LockedPackage{
		Name: p.Name, Version: string(p.Version), Arch: p.Arch, Suite: suite, Size: p.Size, SHA256: p.SHA256, Path: p.Filename,
	}
}

// debianPins are the packages of this architecture.
func (b *bake) debianPins() recipes.LockedPackages { return b.lock.Debian.Packages[b.debianArch()] }

func (b *bake) debianStep() string { return short("base debian " + b.recipe.Base.Debian.Suite) }
