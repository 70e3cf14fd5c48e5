package resolve

import (
	"cmp"
	"slices"

	"github.com/bootandshoot/release/debian"
)

// Base is the system that others are built on: all essential packages, those of priority required, apt, and what they
// need. It is what mmdebstrap --variant=minbase selects for the same lists.
//
// Extra names come first, so that they decide where the base has a choice: with usr-is-merged, for a file system that has
// its /usr merged from the start, the base does not have usrmerge and the perl that it needs.
func (u *Universe) Base(extra ...string) (*Solution, error) {
	return u.BaseWith(Request{}, extra...)
}

// BaseWith is Base with the pins, recommendations and limit of a request. Its wants come before those of the base.
func (u *Universe) BaseWith(request Request, extra ...string) (*Solution, error) {
	wants, err := ParseWants(extra)
	if err != nil {
		return nil, err
	}
	request.Want = append(slices.Clone(request.Want), wants...)
	required := u.required(request)
	if request.Installed == nil {
		request.Installed = []debian.Package{}
	}
	request.Want = append(request.Want, required...)
	return u.Resolve(request)
}

// required are the packages of a base by name: essential ones first, then apt, then those of priority required.
func (u *Universe) required(request Request) []Want {
	p := newPlan(u, nil, request)
	var essential, apt, rest []Want
	for _, n := range u.nodesByName() {
		c := p.at(n).candidate
		if c == nil || n.arch != u.arch {
			continue
		}
		w := Want{Name: n.group.name}
		switch {
		case slices.ContainsFunc(request.Want, func(o Want) bool { return o.Name == w.Name }):
		case c.Essential:
			essential = append(essential, w)
		case w.Name == "apt":
			apt = append(apt, w)
		case c.Priority == "required":
			rest = append(rest, w)
		}
	}
	return slices.Concat(essential, apt, rest)
}

// nodesByName lists those nodes that may belong to a base.
func (u *Universe) nodesByName() []*node {
	var found []*node
	for _, n := range u.nodes {
		if n.essential || n.group.name == "apt" || slices.ContainsFunc(n.versions, func(v *version) bool { return v.Priority == "required" }) {
			found = append(found, n)
		}
	}
	slices.SortFunc(found, func(a, b *node) int { return cmp.Compare(a.place, b.place) })
	return found
}
