package builder

import (
	"context"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/debian/install"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// A lockfile that lost a line gives no image without the package.
func TestPinsFulfilTheRecipe(t *testing.T) {
	b := &bake{platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, recipe: &recipes.Recipe{}, lock: &recipes.Lock{Debian: &recipes.LockedDebian{
		Packages: map[string]recipes.LockedPackages{"amd64": {Base: []recipes.LockedPackage{{Name: "perl-base"}}, Added: []recipes.LockedPackage{{Name: "jq"}}}}}}}
	b.recipe.Base.Debian = &recipes.Debian{Suite: "bookworm"}
	in := &debianInstall{b: b, items: map[string]install.Item{"a": {Package: debian.Package{Name: "perl-base", Provides: "perlapi-5.36.0, libfile-path-perl (= 2)"}}}}
	for text, good := range map[string]bool{
		"jq": true, "perl-base": true, "jq=1.6*": true, "jq/bookworm": true, "gawk-": true, "perlapi-5.36.0": true, "libfile-path-perl": true,
		"gawk": false, "jq-": false, "perlapi-5.38": false,
	} {
		b.recipe.Packages = []recipes.Package{{Text: text, Pos: recipes.Position{File: "r.yaml", Line: 3, Column: 12}}}
		err := in.fulfilled(context.Background())
		if good != (err == nil) || !good && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "r.yaml:3:12: ") || !strings.Contains(err.Error(), text)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
