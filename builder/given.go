package builder

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bootandshoot/release/builder/secrets"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// AnnotationVars holds, as JSON, the variables that were given with the bake instead of the recipe's own.
const AnnotationVars = "release.vars"

// given is what a bake makes of its recipe's and its caller's values before it begins.
type given struct {
	allow   []allowance
	vars    map[string]string // the recipe's, those of the caller laid over them
	values  *secrets.Values   // of the build secrets
	brought map[images.Digest]step

	baseExtensions []Extension // that the base has
}

// take checks what was given.
func (b *bake) take() error {
	b.brought = map[images.Digest]step{}
	b.values = secrets.NewValues(b.o.Secrets)
	b.vars = overlay(b.recipe.Vars, b.o.Vars)
	var errs fault.List
	for _, name := range slices.Sorted(maps.Keys(b.o.Vars)) {
		if _, ok := b.recipe.Vars[name]; !ok {
			errs = append(errs, fault.New(fault.Invalid, "set %s: the recipe has no variable of this name", name).
				WithHint("%s", thereAre("vars", b.recipe.Vars)))
		}
	}
	allow, err := allowed(b.recipe.Allow)
	b.allow = allow
	return append(errs, fault.All(err)...).Err()
}

// thereAre lists names for a hint.
func thereAre(key string, names map[string]string) string {
	if len(names) == 0 {
		return fmt.Sprintf("the recipe has no %s", key)
	}
	return fmt.Sprintf("%s has: %s", key, strings.Join(slices.Sorted(maps.Keys(names)), ", "))
}

// varsAnnotation is the text of AnnotationVars, "" for none.
func varsAnnotation(vars map[string]string) string {
	if len(vars) == 0 {
		return ""
	}
	data, err := json.Marshal(vars)
	if err != nil {
		panic(fmt.Sprintf("builder: encode vars: %v", err)) // texts only
	}
	return string(data)
}
