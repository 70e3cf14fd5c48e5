package resolve

import (
	"cmp"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// goals finds what each want means. The error has all wants that mean nothing.
func (p *plan) goals(wants []Want) ([]goal, error) {
	goals := make([]goal, 0, len(wants))
	var wrong fault.List
	for _, w := range wants {
		g, err := p.goal(w)
		switch {
		case err != nil:
			wrong = append(wrong, err)
		case g.node != nil:
			goals = append(goals, g)
		}
	}
	return goals, wrong.Err()
}

// goal is without a node for a package that must not be there and does not exist anyway.
func (p *plan) goal(w Want) (goal, *fault.Error) {
	arch := cmp.Or(w.Arch, p.u.arch)
	if arch == "all" || arch == "native" {
		arch = p.u.arch
	}
	g := p.u.groups[w.Name]
	n := g.of(arch)
	if w.Not {
		return goal{want: w, node: n}, nil
	}
	if n == nil && w.Arch == "" && g != nil && len(g.nodes) > 0 { // only a foreign architecture has it
		n = g.nodes[0]
	}
	if n == nil {
		return p.virtualGoal(w, g, arch)
	}
	found := goal{want: w, node: n}
	if w.Version == "" && w.Suite == "" {
		if c := p.at(n).candidate; c != nil {
			found.versions = []*version{c}
		} else {
			return p.virtualOr(w, g, arch, p.u.pinnedAway(w, n))
		}
		return found, nil
	}
	for _, v := range n.versions {
		if w.accepts(p.u, v) {
			found.versions = append(found.versions, v)
		}
	}
	if len(found.versions) == 0 {
		return goal{}, p.u.noSuchVersion(w, n)
	}
	return found, nil
}

// accepts reports whether a version of the package is one that is asked for.
func (w Want) accepts(u *Universe, v *version) bool {
	if w.Version != "" && !matchVersion(w.Version, v.Version) {
		return false
	}
	return w.Suite == "" || slices.ContainsFunc(v.suites, func(suite int) bool {
		return suite >= 0 && suite < len(u.suites) && u.suites[suite].called(w.Suite)
	})
}

func (p *plan) virtualOr(w Want, g *group, arch string, otherwise *fault.Error) (goal, *fault.Error) {
	if found, err := p.virtualGoal(w, g, arch); err == nil {
		return found, nil
	}
	return goal{}, otherwise
}

// virtualGoal takes the one package that provides the name; with several the user has to choose.
func (p *plan) virtualGoal(w Want, g *group, arch string) (goal, *fault.Error) {
	if g == nil || len(g.providers) == 0 || w.Version != "" || w.Suite != "" {
		return goal{}, p.u.unknown(w)
	}
	var found []*version
	for _, provider := range g.providers {
		v := provider.by
		if p.u.serves(v, provider.arch, arch, false, w.Arch != "") && p.at(v.node).candidate == v && !slices.Contains(found, v) {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return goal{}, p.u.unknown(w)
	case 1:
		return goal{want: w, node: found[0].node, versions: found}, nil
	}
	names := make([]string, len(found))
	for i, v := range found {
		names[i] = p.u.id(v.node)
	}
	slices.Sort(names)
	return goal{}, fault.New(fault.Invalid, "resolve package %s: it is provided by several packages: %s", w, some(names, 8)).
		WithHint("ask for one of them by its own name")
}

// some lists the first names, and how many more there are.
func some(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + ", …"
}
