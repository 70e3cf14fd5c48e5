package builder

import (
	"context"
	"fmt"
	"strings"

	"github.com/bootandshoot/release/builder/secrets"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// ParseAllow reads PATH[:RULE]=REASON, an entry of a recipe's allow list where there is no recipe. What stands after the last
// colon is part of the path unless a rule has that name. Errors: fault.Invalid without a path or a reason.
func ParseAllow(text string) (recipes.Allow, error) {
	place, reason, _ := strings.Cut(text, "=")
	a := recipes.Allow{Path: place, Reason: strings.TrimSpace(reason)}
	if i := strings.LastIndexByte(place, ':'); i >= 0 {
		if _, known := secrets.Describe(place[i+1:]); known {
			a.Path, a.Rule = place[:i], place[i+1:]
		}
	}
	if a.Path == "" || a.Reason == "" {
		return a, fault.New(fault.Invalid, "%q is not PATH[:RULE]=REASON", text).
			WithHint("such as '/etc/x.key:private-key=a public test key'")
	}
	return a, nil
}

// CheckSecrets searches an image of the store that no bake made, listed or not, as bakes search theirs: all layers and the
// configuration. The error is one for each place that allow does not let pass, fault.Denied; unused is what of allow fits
// nothing. A layer that was searched before is not read again.
func CheckSecrets(ctx context.Context, s *images.Store, d images.Digest, allow []recipes.Allow) (unused []recipes.Allow, err error) {
	passing, err := allowed(allow)
	if err != nil {
		return nil, err
	}
	img, err := s.Get(d)
	if err != nil {
		return nil, err
	}
	c, err := openCache(s)
	if err != nil {
		return nil, err
	}
	// Not by the layer's history: that may have the secret in it.
	brought := func(i int) (string, recipes.Position) {
		return fmt.Sprintf("layer %d of %d", i+1, len(img.Layers)), recipes.Position{}
	}
	st := &state{store: s, layers: img.Layers}
	list, err := search{cache: c, broughtBy: brought}.layers(ctx, st)
	if err != nil {
		return nil, err
	}
	for _, f := range findInConfig(img) {
		list = append(list, finding{Finding: f})
	}
	list, unused = pass(list, passing)
	return unused, secretErrors(ctx, st, list, allowByFlag)
}

func allowByFlag(f secrets.Finding) string {
	return fmt.Sprintf("leave it out of the image, as with .dockerignore; if it is no secret: --allow '%s:%s=REASON'", f.Path, f.Rule)
}
