package resolve

import (
	"cmp"
	"slices"

	"github.com/bootandshoot/release/debian"
)

// prefer compares two versions that fulfil the same dependency: negative when the first is the better choice.
func (p *plan) prefer(d debian.Dependency) func(a, b *version) int {
	target := p.u.groups[d.Name]
	return func(a, b *version) int {
		if a.node == b.node {
			return 0
		}
		x, y := p.at(a.node), p.at(b.node)
		return cmp.Or(
			first(x.protected, y.protected),
			first(p.siblingInstalled(a), p.siblingInstalled(b)),
			first(x.current != nil, y.current != nil),
			first(a.node.group == target, b.node.group == target),
			first(a.node.essential, b.node.essential),
			first(a.node.protected, b.node.protected),
			cmp.Compare(p.u.rank(a.node.arch), p.u.rank(b.node.arch)),
			cmp.Compare(priorityRank(a.Priority), priorityRank(b.Priority)),
			cmp.Compare(b.node.place, a.node.place),
		)
	}
}

// first puts what has something before what has it not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// siblingInstalled reports whether a package that is the same in all architectures is installed in some.
func (p *plan) siblingInstalled(v *version) bool {
	return v.MultiArch == "same" && slices.ContainsFunc(v.node.group.nodes, func(n *node) bool { return p.at(n).current != nil })
}

// priorityRank orders the values of Priority; unknown ones are as good as extra, a missing one is first.
func priorityRank(priority string) int {
	if priority == "" {
		return 0
	}
	if i := slices.Index([]string{"required", "important", "standard", "optional"}, priority); i >= 0 {
		return i + 1
	}
	return 5
}
