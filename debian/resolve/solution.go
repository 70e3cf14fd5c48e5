package resolve

import (
	"cmp"
	"slices"
	"strings"

	"github.com/bootandshoot/release/debian"
)

// need is why a package is in the plan.
type need struct {
	from   *mark // nil for a request and for what was installed
	clause *clause
	want   Want
}

// reasons walks from the goals and from what was installed along fulfilled relations, breadth first, so that chains are the shortest.
// What it does not reach is needed by nothing.
func (p *plan) reasons(goals []goal) map[*mark]need {
	found := map[*mark]need{}
	var queue []*mark
	reach := func(m *mark, why need) {
		if _, ok := found[m]; !ok && m.chosen != nil {
			found[m] = why
			queue = append(queue, m)
		}
	}
	for _, g := range goals {
		if !g.want.Not {
			reach(p.at(g.node), need{want: g.want})
		}
	}
	walk := func() {
		for len(queue) > 0 {
			m := queue[0]
			queue = queue[1:]
			clauses := p.u.relations(m.chosen).clauses
			for i := range clauses {
				if c := &clauses[i]; !c.negative() {
					p.reachTargets(c, func(to *mark) { reach(to, need{from: m, clause: c}) })
				}
			}
		}
	}
	walk()
	for _, m := range p.byPlace() {
		if m.current != nil {
			reach(m, need{})
		}
	}
	walk()
	return found
}

func (p *plan) reachTargets(c *clause, reach func(*mark)) {
	for i := range c.any {
		for _, v := range c.any[i].targets {
			if m := p.at(v.node); m.chosen == v {
				reach(m)
			}
		}
	}
}

// dropUnneeded takes out new packages that nothing leads to: what was tried on the way.
func (p *plan) dropUnneeded(goals []goal) {
	needed := p.reasons(goals)
	for _, m := range p.touched {
		if _, ok := needed[m]; !ok && m.chosen != nil {
			m.chosen, m.mode = nil, keep
		}
	}
}

func (p *plan) solution(goals []goal) *Solution {
	s := &Solution{Why: map[string][]Reason{}}
	needed := p.reasons(goals)
	for _, m := range p.byPlace() {
		switch {
		case m.chosen == nil && m.current != nil:
			s.Removed = append(s.Removed, *m.current.Package)
		case m.chosen == nil:
		default:
			s.Packages = append(s.Packages, *m.chosen.Package)
			if m.chosen != m.current {
				s.New = append(s.New, *m.chosen.Package)
				s.Why[p.u.id(m.node)] = p.chain(m, needed)
			}
		}
	}
	for _, list := range [][]debian.Package{s.Packages, s.New, s.Removed} {
		slices.SortFunc(list, byName)
	}
	return s
}

func byName(a, b debian.Package) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch))
}

// chain is the steps from a request, or from an installed package, down to m.
func (p *plan) chain(m *mark, needed map[*mark]need) []Reason {
	var chain []Reason
	for m != nil {
		why := needed[m]
		r := Reason{Package: p.u.id(m.node), Version: m.chosen.Version}
		switch {
		case why.clause != nil:
			r.Relation = why.clause.relation.String()
		case why.want.Name != "":
			r.Relation = why.want.String()
		default:
			r.Relation = "installed " + r.Package
		}
		chain = append(chain, r)
		m = why.from
	}
	slices.Reverse(chain)
	return chain
}
