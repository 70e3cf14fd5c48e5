// Package nodename finds nodes by what people call them: a name in full, its beginning, or its last part.
package nodename

import (
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// shown is how many names a message lists.
const shown = 10

// Means says whether a node may be meant by a name.
func Means(name, node string) bool {
	return name != "" && (strings.HasPrefix(node, name) || strings.HasSuffix(node, "-"+name))
}

// Find is the index of the node that is meant among those of an app, which where names. Errors: fault.NotFound when it is none,
// fault.Invalid when it may be several, with their names.
func Find(where, name string, nodes []string) (int, error) {
	var found []int
	for i, node := range nodes {
		if node == name {
			return i, nil
		}
		if Means(name, node) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 0:
		return -1, fault.New(fault.NotFound, "%s has no node named %q", where, name).WithHint("release status lists the nodes")
	case 1:
		return found[0], nil
	}
	var list []string
	for _, i := range found[:min(len(found), shown)] {
		list = append(list, nodes[i])
	}
	if len(found) > shown {
		list = append(list, "…")
	}
	first := list[0]
	return -1, fault.New(fault.Invalid, "%q may be any of %d nodes of %s: %s", name, len(found), where, strings.Join(list, ", ")).
		WithHint("name one in full, or by its last part, such as %s", first[strings.LastIndexByte(first, '-')+1:])
}
