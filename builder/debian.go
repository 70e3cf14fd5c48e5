package builder

import (
	"context"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// chosen are the packages that a request needs, and from where.
type chosen struct {
	suites   []recipes.LockedSuite
	packages recipes.LockedPackages
}

// chooseDebian asks the archives which packages the recipe needs. Those to keep stay at their version, but for the ones
// to be updated.
func (b *bake) chooseDebian(ctx context.Context, keep recipes.LockedPackages) (chosen, error) {
	return chosen{}, fault.New(fault.Unsupported, "this version cannot choose packages")
}
