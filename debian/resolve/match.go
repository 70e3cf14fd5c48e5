package resolve

import (
	"github.com/bootandshoot/release/debian"
)

// kind is the field that a relation is from, in the order in which they are followed.
type kind uint8

const (
	preDepends kind = iota
	depends
	conflicts
	breaks
	recommends
)

// clause is one relation of a version.
type clause struct {
	kind     kind
	any      []choice // alternatives; one for conflicts and breaks
	relation debian.Relation
	implicit bool // follows from Multi-Arch: no field says it
}

// choice is an alternative and all versions that fulfil it, or that are hit by a conflict.
type choice struct {
	debian.Dependency
	targets []*version
}

func (c *clause) negative() bool { return c.kind == conflicts || c.kind == breaks }

// critical reports whether a package cannot be installed without.
func (c *clause) critical() bool { return c.kind != recommends }

// relations are all of a version.
type relations struct {
	clauses []clause
	err     error // a field that cannot be read
}

// relations reads those of a version once.
func (u *Universe) relations(v *version) *relations {
	if r := v.parsed.Load(); r != nil {
		return r
	}
	r := &relations{}
	for _, f := range []struct {
		kind  kind
		field string
	}{{preDepends, v.PreDepends}, {depends, v.Depends}, {conflicts, v.Conflicts}, {breaks, v.Breaks}, {recommends, v.Recommends}} {
		parsed, err := debian.ParseRelations(f.field)
		if err != nil {
			r.err = err
		}
		for _, relation := range parsed {
			r.clauses = append(r.clauses, u.clause(v, f.kind, relation))
		}
	}
	r.clauses = u.appendImplicit(r.clauses, v)
	v.parsed.Store(r)
	return r
}

func (u *Universe) clause(v *version, k kind, relation debian.Relation) clause {
	c := clause{kind: k, relation: relation, any: make([]choice, len(relation))}
	for i, d := range relation {
		c.any[i].Dependency = d
		if c.negative() {
			c.any[i].targets = u.hit(v, d)
		} else {
			c.any[i].targets = u.fulfil(v.node.arch, d)
		}
	}
	return c
}

// appendImplicit adds what Multi-Arch says: a package is installed for one architecture at a time, and one that is the same
// in all only in one version.
func (u *Universe) appendImplicit(clauses []clause, v *version) []clause {
	if len(v.node.group.nodes) < 2 {
		return clauses
	}
	var targets []*version
	for _, n := range v.node.group.nodes {
		for _, other := range n.versions {
			if n != v.node && (v.MultiArch != "same" || other.Version != v.Version) {
				targets = append(targets, other)
			}
		}
	}
	if len(targets) == 0 {
		return clauses
	}
	d := debian.Dependency{Name: v.Name}
	return append(clauses, clause{kind: conflicts, implicit: true, relation: debian.Relation{d}, any: []choice{{d, targets}}})
}

// fulfil lists the versions that fulfil a dependency of a package of some architecture: those of that name, newest first, then
// providers.
func (u *Universe) fulfil(arch string, d debian.Dependency) []*version {
	g := u.groups[d.Name]
	if g == nil {
		return nil
	}
	exact := d.Arch != "" && d.Arch != "any"
	if d.Arch == "native" {
		arch = u.arch
	} else if exact {
		arch = d.Arch
	}
	var found []*version
	for _, n := range g.nodes {
		for _, v := range n.versions {
			if u.serves(v, "", arch, d.Arch == "any", exact) && d.Accepts(v.Version) {
				found = append(found, v)
			}
		}
	}
	for _, p := range g.providers {
		if u.serves(p.by, p.arch, arch, d.Arch == "any", exact) && accepts(d, p.version) {
			found = append(found, p.by)
		}
	}
	return unique(found)
}

// serves reports whether a version can stand for a name in an architecture; qualifier is that of a provided name.
func (u *Universe) serves(v *version, qualifier, arch string, any, exact bool) bool {
	switch {
	case any:
		return v.MultiArch == "allowed" || qualifier == "any"
	case qualifier != "":
		return qualifier == arch
	case v.node.arch == arch:
		return true
	}
	return !exact && v.MultiArch == "foreign"
}

// hit lists the versions that a conflict of v hits. A package does not conflict with itself, nor with what it provides.
func (u *Universe) hit(v *version, d debian.Dependency) []*version {
	g := u.groups[d.Name]
	if g == nil {
		return nil
	}
	exact := d.Arch != "" && d.Arch != "any"
	var found []*version
	for _, n := range g.nodes {
		if n == v.node || n.group == v.node.group && v.MultiArch == "same" {
			continue
		}
		for _, other := range n.versions {
			if d.Accepts(other.Version) && u.hitArch(other, "", d, exact) {
				found = append(found, other)
			}
		}
	}
	for _, p := range g.providers {
		if p.by.node.group != v.node.group && accepts(d, p.version) && u.hitArch(p.by, p.arch, d, exact) {
			found = append(found, p.by)
		}
	}
	return unique(found)
}

func (u *Universe) hitArch(v *version, qualifier string, d debian.Dependency, exact bool) bool {
	switch {
	case d.Arch == "any":
		return v.MultiArch == "allowed" || qualifier == "any"
	case exact && d.Arch == "native":
		return v.node.arch == u.arch
	case exact:
		return v.node.arch == d.Arch
	}
	return true
}

// accepts is for provided versions: a name that is provided without one fulfils only dependencies without one.
func accepts(d debian.Dependency, provided debian.Version) bool {
	return d.Op == "" || provided != "" && d.Accepts(provided)
}

// unique drops what stands there twice and keeps the order. Lists are short.
func unique(versions []*version) []*version {
	if len(versions) < 2 {
		return versions
	}
	seen := make(map[*version]bool, len(versions))
	kept := versions[:0]
	for _, v := range versions {
		if !seen[v] {
			seen[v] = true
			kept = append(kept, v)
		}
	}
	return kept
}
