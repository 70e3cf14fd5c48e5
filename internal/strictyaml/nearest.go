package strictyaml

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// Nearest is the word that a person most likely meant: the one with the smallest edit distance if that is small for its
// length, else "". Of several it is the one of the same length.
func Nearest(word string, words []string) string {
	best, distance := "", 1000
	for _, w := range slices.Sorted(slices.Values(words)) {
		d := editDistance(strings.ToLower(word), strings.ToLower(w))
		if len(w) > 2 && (strings.HasSuffix(word, w) || strings.HasPrefix(word, w) || strings.HasPrefix(w, word) && len(word) > 2) {
			d = min(d, 2)
		}
		sooner := d == distance && len(w) == len(word) && len(best) != len(word) // letters swapped, not left out
		if d < distance || sooner {
			best, distance = w, d
		}
	}
	if distance > max(1, min(len(word), 12)/3) && distance > 2 || distance >= len(word) {
		return ""
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
func editDistance(a, b string) int {
	s, t := []rune(a), []rune(b)
	if len(s) > 64 || len(t) > 64 {
		return 1000
	}
	var beforeLast []int
	last := make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := range s {
		row := make([]int, len(t)+1)
		row[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				row[j+1] = min(row[j+1], beforeLast[j-1]+1)
			}
		}
		beforeLast, last = last, row
	}
	return last[len(t)]
}

// UnknownName is the error for a name that is none of the valid ones: what is the kind of name, where the place in
// words ("in fleet", or ""). It names the nearest and hints all.
func UnknownName(pos Pos, what, name, where string, valid []string) *fault.Error {
	message := fmt.Sprintf("unknown %s %q", what, name)
	if where != "" {
		message += " " + where
	}
	if near := Nearest(name, valid); near != "" {
		message += fmt.Sprintf(", did you mean %q?", near)
	}
	err := pos.Errorf("%s", message)
	if len(valid) == 0 {
		return err.WithHint("take it out: nothing is valid here")
	}
	return err.WithHint("valid here: %s", strings.Join(valid, ", "))
}
