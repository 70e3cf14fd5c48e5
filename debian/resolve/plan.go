package resolve

import (
	"slices"
)

// statusSuite is the Suite of packages that are only installed.
const statusSuite = 1 << 30

// maxDepth is where following dependencies ends, as in apt.
const maxDepth = 3000

// mode is what is to happen to a package.
type mode uint8

const (
	keep mode = iota
	install
	remove
)

// mark is the state of one package in a plan.
type mark struct {
	node      *node
	current   *version // installed now
	chosen    *version // to be installed in the end
	candidate *version
	mode      mode
	fresh     bool // was not installed when the plan began
	protected bool // a request, or all that a request can be fulfilled with: only a request changes it
	auto      bool // nobody asked for it
}

// plan is a set of choices in the making: which version of each package is to be installed.
type plan struct {
	u          *Universe
	policy     policy
	recommends bool
	marks      []*mark // by node.index; made when first asked for
	touched    []*mark
}

func newPlan(u *Universe, installed []*version, request Request) *plan {
	p := &plan{u: u, policy: newPolicy(u, request.Pins), recommends: request.Recommends, marks: make([]*mark, len(u.nodes))}
	for _, v := range installed {
		m := &mark{node: v.node, current: v, chosen: v}
		m.candidate = p.policy.candidate(v.node, v)
		p.add(m)
	}
	return p
}

func (p *plan) add(m *mark) {
	p.marks[m.node.index] = m
	p.touched = append(p.touched, m)
}

func (p *plan) at(n *node) *mark {
	m := p.marks[n.index]
	if m == nil {
		m = &mark{node: n, candidate: p.policy.candidate(n, nil), fresh: true}
		p.add(m)
	}
	return m
}

// Which version of a package counts.
func (m *mark) installed() *version { return m.current }
func (m *mark) planned() *version   { return m.chosen }
func (m *mark) possible() *version  { return m.candidate }

// matches reports whether one of the targets is the version that which gives.
func (p *plan) matches(c *choice, which func(*mark) *version) bool {
	for _, v := range c.targets {
		if which(p.at(v.node)) == v {
			return true
		}
	}
	return false
}

// holds reports whether a relation is fulfilled by the versions that which gives.
func (p *plan) holds(c *clause, which func(*mark) *version) bool {
	for i := range c.any {
		if p.matches(&c.any[i], which) {
			return !c.negative()
		}
	}
	return c.negative()
}

// follows reports whether a relation is to be fulfilled.
func (p *plan) follows(c *clause) bool { return c.critical() || p.recommends }

// broken reports whether a version lacks something in the plan that it cannot be without.
func (p *plan) broken(v *version) bool {
	return p.lacks(v, (*clause).critical)
}

func (p *plan) lacks(v *version, counts func(*clause) bool) bool {
	if v == nil {
		return false
	}
	r := p.u.relations(v)
	if r.err != nil {
		return true
	}
	for i := range r.clauses {
		if c := &r.clauses[i]; counts(c) && !p.holds(c, (*mark).planned) {
			return true
		}
	}
	return false
}

// anyBroken is the first package in the plan, by place, that lacks something; nil for none.
func (p *plan) anyBroken() *mark {
	var found *mark
	for i := 0; i < len(p.touched); i++ { // looking may add to touched
		m := p.touched[i]
		if m.chosen != nil && (found == nil || m.node.place < found.node.place) && p.broken(m.chosen) {
			found = m
		}
	}
	return found
}

// mayChange reports whether a package's mode may be changed to another one.
func (p *plan) mayChange(m *mark, to mode, depth int, asked bool) bool {
	switch {
	case depth > maxDepth:
		return false
	case asked || m.mode == to:
		return true
	case m.protected:
		return false
	}
	return to != remove || !m.node.essential && !m.node.protected
}

// keepAsIs takes back what was planned for a package.
func (p *plan) keepAsIs(m *mark, depth int, asked bool) bool {
	if !p.mayChange(m, keep, depth, asked) {
		return false
	}
	m.mode, m.chosen = keep, m.current
	return true
}

// drop plans a package's removal.
func (p *plan) drop(m *mark, depth int, asked bool) bool {
	if !p.mayChange(m, remove, depth, asked) {
		return false
	}
	if m.chosen == nil {
		return true
	}
	if !p.mayDrop(m, asked) {
		return false
	}
	if m.mode = remove; m.current == nil {
		m.mode = keep
	}
	m.chosen = nil
	return true
}

// mayDrop reports whether a package may go that is new: not if it was asked for.
func (p *plan) mayDrop(m *mark, asked bool) bool {
	return asked || m.current != nil || m.chosen == nil || !m.isNew() || m.auto
}

// isNew reports whether the candidate would be a new package, not an upgrade.
func (m *mark) isNew() bool { return m.current == nil }

// forgetCandidate leaves the package what it has in the plan.
func (m *mark) forgetCandidate() { m.candidate = m.chosen }

// versionsOf lists the versions that a package's relations can be fulfilled with, or that they hit, in order of preference: those of
// installed packages first, then those of new ones; within an alternative as prefer says.
func (p *plan) versionsOf(c *clause, which func(*mark) *version) []*version {
	var old, fresh []*version
	for i := range c.any {
		found := p.current(&c.any[i], which)
		slices.SortStableFunc(found, p.prefer(c.any[i].Dependency))
		for _, v := range found {
			if p.at(v.node).current != nil {
				old = append(old, v)
			} else {
				fresh = append(fresh, v)
			}
		}
	}
	found := unique(append(old, fresh...))
	if c.negative() {
		return found
	}
	return slices.DeleteFunc(found, func(v *version) bool { return p.at(v.node).refused() })
}

// current lists the targets of an alternative that which gives.
func (p *plan) current(c *choice, which func(*mark) *version) []*version {
	var found []*version
	for _, v := range c.targets {
		if which(p.at(v.node)) == v {
			found = append(found, v)
		}
	}
	return found
}

// refused reports whether a request forbids the package.
func (m *mark) refused() bool {
	return m.protected && (m.mode == remove || m.mode == keep && m.current == nil)
}

// wanted reports whether the plan installs or upgrades the package.
func (m *mark) wanted() bool { return m.mode == install }
