package builder

import (
	"context"
	"slices"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/debian/resolve"
	"github.com/bootandshoot/release/internal/fault"
)

// fulfilled holds the pinned packages against what the recipe asks for. A lockfile from which a line was lost, by hand or in a
// merge, still has the recipe's request in it, and would give an image without what it names.
func (in *debianInstall) fulfilled(ctx context.Context) error {
	b := in.b
	wants, err := b.wants()
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, p := range b.debianPins().All() {
		names[p.Name] = true
	}
	for i, w := range wants {
		if w.Not == names[w.Name] {
			ok, err := in.provided(ctx, w)
			if err != nil {
				return err
			}
			if !ok {
				pos := b.recipe.Packages[i].Pos
				return fault.New(fault.Invalid, "the lockfile has pins that do not fit the recipe's package %s: it was changed by hand or in a merge", b.recipe.Packages[i].Text).
					At(pos.File, pos.Line, pos.Column).WithHint("make the pins anew: release lock --update")
			}
		}
	}
	return nil
}

// provided reports whether a pinned package is what is wanted under another name. Only the packages themselves tell.
func (in *debianInstall) provided(ctx context.Context, w resolve.Want) (bool, error) {
	if w.Not {
		return false, nil
	}
	if err := in.bring(ctx, in.b.debianStep()); err != nil {
		return false, err
	}
	for _, item := range in.items {
		list, err := debian.ParseProvides(item.Package.Provides)
		if err == nil && slices.ContainsFunc(list, func(d debian.Dependency) bool { return d.Name == w.Name }) {
			return true, nil
		}
	}
	return false, nil
}
