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

// chooseDebian asks the archives which packages the recipe needs.
func (b *bake) chooseDebian(ctx context.Context) (chosen, error) {
	return chosen{}, fault.New(fault.Unsupported, "this version cannot choose packages")
}
