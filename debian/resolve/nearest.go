package resolve

import (
	"cmp"
	"slices"
	"strings"
)

// nearest lists up to three names that a misspelt one may stand for, the nearest first.
func (u *Universe) nearest(name string) []string {
	type near struct {
		name string
		far  int
	}
	most := 1 + len(name)/4
	var found []near
	for other, g := range u.groups {
		if len(g.nodes) == 0 {
			continue
		}
		far := most + 1
		if d := len(other) - len(name); d <= most && -d <= most {
			far = distance(name, other, most)
		}
		if len(name) >= 3 && (strings.HasPrefix(other, name+"-") || strings.HasSuffix(other, "-"+name)) { // default-mysql-server
			far = min(far, most, 2)
		}
		if far <= most {
			found = append(found, near{other, far})
		}
	}
	slices.SortFunc(found, func(a, b near) int { return cmp.Or(cmp.Compare(a.far, b.far), strings.Compare(a.name, b.name)) })
	names := make([]string, 0, 3)
	for _, n := range found[:min(3, len(found))] {
		names = append(names, n.name)
	}
	return names
}

// distance is how many letters differ, are missing, are too many or have changed places with their neighbour (optimal
// string alignment). Beyond most it is only known to be more.
func distance(a, b string, most int) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			same := 1
			if a[i] == b[j] {
				same = 0
			}
			row[j+1] = min(last[j]+same, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
			least = min(least, row[j+1])
		}
		if least > most {
			return most + 1
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
