package strictyaml

import (
	"cmp"
	"slices"

	"github.com/bootandshoot/release/internal/fault"
)

// Sort orders errors by place, files in the order they first appear, and takes out repetitions.
func Sort(errs fault.List) fault.List {
	rank := map[string]int{}
	for _, e := range errs {
		if _, ok := rank[e.File]; !ok {
			rank[e.File] = len(rank)
		}
	}
	sorted := slices.Clone(errs)
	slices.SortStableFunc(sorted, func(a, b *fault.Error) int {
		return cmp.Or(cmp.Compare(rank[a.File], rank[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	seen := map[string]bool{}
	return slices.DeleteFunc(sorted, func(e *fault.Error) bool {
		text := e.Error()
		repeated := seen[text]
		seen[text] = true
		return repeated
	})
}
