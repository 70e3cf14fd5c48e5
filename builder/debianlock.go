package builder

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/fault"
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

// pinDebian keeps the pins when they were made for the same request and have this architecture, else chooses anew.
func (b *bake) pinDebian(ctx context.Context, old *recipes.LockedDebian) (*recipes.LockedDebian, error) {
	request := debianRequest(b.recipe)
	if request == nil {
		return nil, nil
	}
	same := old != nil && slices.Equal(old.Request, request)
	if same && len(old.Packages[b.debianArch()].Base) > 0 {
		return old, nil
	}
	chosen, err := b.chooseDebian(ctx)
	if err != nil {
		return nil, b.inDebian(err)
	}
	next := &recipes.LockedDebian{Request: request, Suites: chosen.suites, Packages: map[string]recipes.LockedPackages{b.debianArch(): chosen.packages}}
	if same {
		// The other architectures' packages were chosen for the same wishes and stay.
		for arch, p := range old.Packages {
			next.Packages[arch] = p
		}
		next.Packages[b.debianArch()] = chosen.packages
	}
	return next, nil
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
	e := *fault.All(err)[0]
	e.Message, e.Cause = fmt.Sprintf("base debian %s: %s", b.recipe.Base.Debian.Suite, e.Message), err
	if pos := b.recipe.Base.Pos; e.File == "" {
		e.File, e.Line, e.Column = pos.File, pos.Line, pos.Column
	}
	return &e
}

// locked is the pin of a package of an index.
func locked(p debian.Package, suite string) recipes.LockedPackage {
	return recipes.LockedPackage{
		Name: p.Name, Version: string(p.Version), Arch: p.Arch, Suite: suite, Size: p.Size, SHA256: p.SHA256, Path: p.Filename,
	}
}
