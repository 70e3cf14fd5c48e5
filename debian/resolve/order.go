package resolve

import (
	"slices"
	"strings"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/fault"
)

// Order sorts packages into batches, each of which is unpacked as a whole and then configured as a whole. What a package
// pre-depends on is configured in an earlier batch or installed already; what it depends on is configured in the same batch or an
// earlier one. Batches are as large, and so as few, as that allows. In a batch a package follows what it depends on;
// cycles of dependencies are opened at the name that comes first. The architecture is the native one.
//
// It is an error if packages pre-depend on each other in a cycle, and if something that a package depends on is not among packages and
// installed.
func Order(arch string, packages, installed []debian.Package) ([][]debian.Package, error) {
	o := newOrdering(arch, packages, installed)
	var batches [][]debian.Package
	for left := o.news; len(left) > 0; {
		batch := o.next(left)
		if len(batch) == 0 {
			return nil, o.stuck(left)
		}
		sorted := o.sort(batch)
		packages := make([]debian.Package, len(sorted))
		for i, v := range sorted {
			packages[i] = *v.Package
			o.configured[v] = true
		}
		batches = append(batches, packages)
		left = slices.DeleteFunc(slices.Clone(left), func(v *version) bool { return o.configured[v] })
	}
	return batches, nil
}

type ordering struct {
	u          *Universe
	news       []*version // by name
	configured map[*version]bool
}

func newOrdering(arch string, packages, installed []debian.Package) *ordering {
	all := slices.Concat(packages, installed)
	var foreign []string
	for _, p := range all {
		if p.Arch != "all" && p.Arch != arch && !slices.Contains(foreign, p.Arch) {
			foreign = append(foreign, p.Arch)
		}
	}
	slices.Sort(foreign)
	o := &ordering{u: New(all, arch, foreign...), configured: map[*version]bool{}}
	upgraded := map[*node]bool{}
	for i := range packages {
		v := o.u.find(&packages[i])
		o.news = append(o.news, v)
		upgraded[v.node] = true
	}
	for i := range installed {
		if v := o.u.find(&installed[i]); !upgraded[v.node] {
			o.configured[v] = true
		}
	}
	slices.SortFunc(o.news, func(a, b *version) int { return byName(*a.Package, *b.Package) })
	o.news = slices.Compact(o.news)
	return o
}

// next is the largest set of packages that can be unpacked now and then configured together.
func (o *ordering) next(left []*version) []*version {
	in := map[*version]bool{}
	for _, v := range left {
		in[v] = o.holds(v, preDepends, nil)
	}
	for changed := true; changed; {
		changed = false
		for _, v := range left {
			if in[v] && !o.holds(v, depends, in) {
				in[v], changed = false, true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(left), func(v *version) bool { return !in[v] })
}

// holds reports whether all relations of a kind are fulfilled by what is configured and by a set.
func (o *ordering) holds(v *version, k kind, set map[*version]bool) bool {
	return o.unfulfilled(v, k, set) == nil
}

func (o *ordering) unfulfilled(v *version, k kind, set map[*version]bool) *clause {
	clauses := o.u.relations(v).clauses
	for i := range clauses {
		c := &clauses[i]
		if c.kind == k && !c.fulfilledBy(func(t *version) bool { return o.configured[t] || set[t] }) {
			return c
		}
	}
	return nil
}

func (c *clause) fulfilledBy(has func(*version) bool) bool {
	return slices.ContainsFunc(c.any, func(d choice) bool { return slices.ContainsFunc(d.targets, has) })
}

// sort puts packages behind what they depend on, depth first by name.
func (o *ordering) sort(batch []*version) []*version {
	in, done := map[*version]bool{}, map[*version]bool{}
	for _, v := range batch {
		in[v] = true
	}
	sorted := make([]*version, 0, len(batch))
	var visit func(v *version)
	visit = func(v *version) {
		if done[v] || !in[v] {
			return
		}
		done[v] = true
		for _, t := range o.targets(v) {
			visit(t)
		}
		sorted = append(sorted, v)
	}
	for _, v := range batch {
		visit(v)
	}
	return sorted
}

// targets are the packages that fulfil what a version depends on, by name.
func (o *ordering) targets(v *version) []*version {
	var found []*version
	clauses := o.u.relations(v).clauses
	for i := range clauses {
		if c := &clauses[i]; c.kind == preDepends || c.kind == depends {
			for _, d := range c.any {
				found = append(found, d.targets...)
			}
		}
	}
	found = unique(found)
	slices.SortFunc(found, func(a, b *version) int { return byName(*a.Package, *b.Package) })
	return found
}

// stuck tells why no further package can be unpacked.
func (o *ordering) stuck(left []*version) error {
	set := map[*version]bool{}
	for _, v := range left {
		set[v] = true
	}
	for _, v := range left {
		for _, k := range []kind{preDepends, depends} {
			if c := o.unfulfilled(v, k, set); c != nil {
				return fault.New(fault.Invalid, "order packages: %s needs %s, which is neither installed nor among the packages", v.Name, c.relation).
					WithHint("resolve the packages together, so that all they need is there")
			}
		}
	}
	return fault.New(fault.Invalid, "order packages: %s: each must be configured before the next one, in a cycle with a pre-dependency in it",
		strings.Join(o.cycle(left[0], set), " → ")).
		WithHint("install one of them in an image of its own first, or take versions without the cycle")
}

// cycle follows what holds up a package until it comes back to one that it met, and names the packages from there on.
func (o *ordering) cycle(v *version, left map[*version]bool) []string {
	var names []string
	var way []*version
	for !slices.Contains(way, v) {
		way = append(way, v)
		v = o.blocker(v, left)
	}
	for _, w := range append(way[slices.Index(way, v):], v) {
		names = append(names, w.Name)
	}
	slices.Reverse(names)
	return names
}

// blocker is a package that is not configured and has to be before v, or together with it.
func (o *ordering) blocker(v *version, left map[*version]bool) *version {
	c := o.unfulfilled(v, preDepends, nil)
	if c == nil {
		c = o.blockedDepends(v, left)
	}
	for _, d := range c.any {
		for _, t := range d.targets {
			if left[t] {
				return t
			}
		}
	}
	return v
}

// blockedDepends is a dependency that waits for a package that cannot be unpacked yet, or for what leads to one.
func (o *ordering) blockedDepends(v *version, left map[*version]bool) *clause {
	ready := map[*version]bool{}
	for w := range left {
		ready[w] = o.holds(w, preDepends, nil)
	}
	// Take away what depends on something not ready, in rounds: v leaves because of the clause that is told.
	for {
		var gone []*version
		for w, in := range ready {
			if in && !o.holds(w, depends, ready) {
				gone = append(gone, w)
			}
		}
		if c := o.unfulfilled(v, depends, ready); c != nil {
			return c
		}
		for _, w := range gone {
			ready[w] = false
		}
	}
}
