package resolve

import (
	"cmp"
	"slices"
)

// problem is a request in clauses over variables, each a version that is installed or not. It is solved by conflict-driven clause
// learning (Marques-Silva and Sakallah, GRASP, 1996). Choices are made in the order in which the greedy way
// makes them, so that the solution is close to its.
type problem struct {
	p        *plan
	goals    []goal
	all      bool // versions that are no candidates, too
	versions []*version
	vars     map[*version]int
	rules    []rule
	watch    [][]int // rules that watch a literal, by literal
	value    []int8  // by variable: 0 open, 1 true, -1 false
	level    []int
	reason   []int // rule that set the variable, -1 for a choice
	trail    []literal
	limits   []int // trail's length at each level's begin
	done     int   // of the trail, what was propagated
	broken   int   // rule that cannot hold whatever is chosen, -1 for none
	alone    []int // rules of one literal or none
	best     map[*clause][]*version
	asked    map[*version]demand // why a version was chosen that no rule demanded
}

// demand is a relation of a version.
type demand struct {
	by     *version
	clause *clause
}

// literal is 2*variable for true, 2*variable+1 for false.
type literal int

func is(v int) literal                { return literal(2 * v) }
func isNot(v int) literal             { return literal(2*v + 1) }
func (l literal) not() literal        { return l ^ 1 }
func (l literal) variable() int       { return int(l >> 1) }
func (l literal) wants() (v int8)     { return 1 - 2*int8(l&1) }
func (pr *problem) of(l literal) int8 { return pr.value[l.variable()] * l.wants() }

// origin is what a rule comes from.
type origin uint8

const (
	learned  origin = iota
	goalRule        // one of the versions of a goal, or none of a package
	needRule        // a version's relation
	conflictRule
	oneVersion // of a package
	essentialRule
)

// rule is a clause: one of its literals holds.
type rule struct {
	any    []literal
	origin origin
	by     *version // whose relation
	clause *clause
	goal   int
}

type result uint8

const (
	unknown result = iota
	satisfiable
	unsatisfiable
)

func newProblem(p *plan, goals []goal, all bool) *problem {
	pr := &problem{p: p, goals: goals, all: all, vars: map[*version]int{}, broken: -1,
		best: map[*clause][]*version{}, asked: map[*version]demand{}}
	for i, g := range goals {
		pr.addGoal(i, g)
	}
	for _, m := range p.byPlace() {
		if m.current != nil {
			pr.addInstalled(m)
		}
	}
	for i := 0; i < len(pr.versions); i++ { // needs add versions
		pr.addNeeds(pr.versions[i])
	}
	for _, v := range pr.versions {
		pr.addConflicts(v)
	}
	pr.addOneVersion()
	return pr
}

func (pr *problem) addGoal(i int, g goal) {
	r := rule{origin: goalRule, goal: i}
	if !g.want.Not {
		for _, v := range g.versions {
			r.any = append(r.any, is(pr.variable(v)))
		}
		pr.add(r)
		return
	}
	for _, v := range g.node.versions {
		not := r
		not.any = []literal{isNot(pr.variable(v))}
		pr.add(not)
	}
}

// addInstalled lets a package stay or change its version. Essential and protected ones may not go.
func (pr *problem) addInstalled(m *mark) {
	r := rule{origin: essentialRule, by: m.current}
	for _, v := range m.node.versions {
		if pr.allowed(v) {
			r.any = append(r.any, is(pr.variable(v)))
		}
	}
	if m.node.essential || m.node.protected {
		pr.add(r)
	}
}

// variable is the number of a version's variable, a new one for a version that was not met.
func (pr *problem) variable(v *version) int {
	n, ok := pr.vars[v]
	if !ok {
		n = len(pr.versions)
		pr.vars[v] = n
		pr.versions = append(pr.versions, v)
		pr.value, pr.level, pr.reason = append(pr.value, 0), append(pr.level, 0), append(pr.reason, -1)
		pr.watch = append(pr.watch, nil, nil)
	}
	return n
}

// allowed reports whether a version may be chosen at all.
func (pr *problem) allowed(v *version) bool {
	m := pr.p.at(v.node)
	if v == m.candidate || v == m.current {
		return true
	}
	for _, g := range pr.goals {
		if slices.Contains(g.versions, v) {
			return true
		}
	}
	return pr.all && pr.p.policy.priority(v, false) > 0
}

func (pr *problem) addNeeds(v *version) {
	relations := pr.p.u.relations(v)
	if relations.err != nil {
		pr.add(rule{origin: needRule, by: v, any: []literal{isNot(pr.vars[v])}})
	}
	for i := range relations.clauses {
		c := &relations.clauses[i]
		if c.negative() || !pr.p.follows(c) {
			continue
		}
		r := rule{origin: needRule, by: v, clause: c, any: []literal{isNot(pr.vars[v])}}
		for _, target := range pr.targets(c) {
			r.any = append(r.any, is(pr.variable(target)))
		}
		if c.critical() {
			pr.add(r)
		}
	}
}

// targets are the versions that fulfil a relation and may be chosen, best first: what is installed, then candidates.
func (pr *problem) targets(c *clause) []*version {
	if found, ok := pr.best[c]; ok {
		return found
	}
	var found []*version
	for i := range c.any {
		targets := slices.DeleteFunc(slices.Clone(c.any[i].targets), func(v *version) bool { return !pr.allowed(v) })
		slices.SortStableFunc(targets, pr.p.prefer(c.any[i].Dependency))
		found = append(found, targets...)
	}
	rank := func(v *version) int {
		m := pr.p.at(v.node)
		switch {
		case m.current == v:
			return 0
		case m.current != nil:
			return 1
		case m.candidate == v:
			return 2
		}
		return 3
	}
	slices.SortStableFunc(found, func(a, b *version) int { return cmp.Compare(rank(a), rank(b)) })
	pr.best[c] = unique(found)
	return pr.best[c]
}

func (pr *problem) addConflicts(v *version) {
	relations := pr.p.u.relations(v)
	for i := range relations.clauses {
		c := &relations.clauses[i]
		if !c.negative() {
			continue
		}
		for _, target := range c.any[0].targets {
			if other, ok := pr.vars[target]; ok {
				pr.add(rule{origin: conflictRule, by: v, clause: c, any: []literal{isNot(pr.vars[v]), isNot(other)}})
			}
		}
	}
}

func (pr *problem) addOneVersion() {
	for i, v := range pr.versions {
		for _, other := range v.node.versions {
			if j, ok := pr.vars[other]; ok && j > i {
				pr.add(rule{origin: oneVersion, by: v, any: []literal{isNot(i), isNot(j)}})
			}
		}
	}
}

// add puts a rule in and watches two of its literals.
func (pr *problem) add(r rule) int {
	n := len(pr.rules)
	pr.rules = append(pr.rules, r)
	if len(r.any) < 2 {
		pr.alone = append(pr.alone, n)
		return n
	}
	pr.watch[r.any[0]] = append(pr.watch[r.any[0]], n)
	pr.watch[r.any[1]] = append(pr.watch[r.any[1]], n)
	return n
}
