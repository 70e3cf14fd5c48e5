package resolve

import (
	"cmp"
	"slices"

	"github.com/bootandshoot/release/internal/fault"
)

// search looks for a solution among all combinations. It first takes candidates only, as apt does, then all versions that no
// pin forbids.
func search(u *Universe, installed []*version, request Request, goals []goal) (*plan, error) {
	var first *problem
	for _, all := range []bool{false, true} {
		p := newPlan(u, installed, request)
		for _, g := range goals {
			if !g.want.Not && g.versions != nil {
				p.at(g.node).candidate = g.versions[0]
			}
		}
		pr := newProblem(p, goals, all)
		result := pr.solve(cmp.Or(request.Limit, DefaultLimit))
		if result == satisfiable {
			pr.apply()
			return p, nil
		}
		if result == unknown {
			return nil, fault.New(fault.Failed, "resolve packages: no solution was found within %d conflicts, and none was ruled out",
				cmp.Or(request.Limit, DefaultLimit)).WithHint("ask for fewer packages at once, or name the versions that are to be used (name=version)")
		}
		if first == nil {
			first = pr
		}
	}
	return nil, first.explain()
}

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

// solve looks for values that make all rules hold, up to a number of conflicts.
func (pr *problem) solve(limit int) result {
	if pr.broken = pr.setAlone(); pr.broken >= 0 {
		return unsatisfiable
	}
	for count := 0; ; {
		conflict := pr.propagate()
		switch {
		case conflict >= 0 && len(pr.limits) == 0:
			pr.broken = conflict
			return unsatisfiable
		case conflict >= 0:
			if count++; count > limit {
				return unknown
			}
			pr.learn(conflict)
		default:
			choice, ok := pr.choose()
			if !ok {
				return satisfiable
			}
			pr.limits = append(pr.limits, len(pr.trail))
			pr.set(choice, -1)
		}
	}
}

// setAlone sets what rules of one literal demand. It gives a rule that cannot hold, or -1.
func (pr *problem) setAlone() int {
	for _, n := range pr.alone {
		any := pr.rules[n].any
		if len(any) == 0 || pr.of(any[0]) < 0 {
			return n
		}
		if pr.of(any[0]) == 0 {
			pr.set(any[0], n)
		}
	}
	return -1
}

func (pr *problem) set(l literal, reason int) {
	v := l.variable()
	pr.value[v], pr.level[v], pr.reason[v] = l.wants(), len(pr.limits), reason
	pr.trail = append(pr.trail, l)
}

// propagate sets all that follows. It gives a rule that cannot hold, or -1.
func (pr *problem) propagate() int {
	for ; pr.done < len(pr.trail); pr.done++ {
		falsified := pr.trail[pr.done].not()
		watching := pr.watch[falsified]
		kept := watching[:0]
		for i, n := range watching {
			switch pr.visit(n, falsified) {
			case moved:
				continue
			case violated:
				pr.watch[falsified] = append(kept, watching[i:]...)
				return n
			}
			kept = append(kept, n)
		}
		pr.watch[falsified] = kept
	}
	return -1
}

type visited uint8

const (
	stays visited = iota
	moved
	violated
)

// visit looks for another literal that a rule may watch; if there is none, the last one must hold.
func (pr *problem) visit(n int, falsified literal) visited {
	any := pr.rules[n].any
	if any[0] == falsified {
		any[0], any[1] = any[1], any[0]
	}
	if pr.of(any[0]) > 0 {
		return stays
	}
	for k := 2; k < len(any); k++ {
		if pr.of(any[k]) >= 0 {
			any[1], any[k] = any[k], any[1]
			pr.watch[any[1]] = append(pr.watch[any[1]], n)
			return moved
		}
	}
	if pr.of(any[0]) < 0 {
		return violated
	}
	pr.set(any[0], n)
	return stays
}

// learn finds the rule that the conflict comes down to at the last choice (the first unique implication point), goes back to where it
// says something new and sets that.
func (pr *problem) learn(conflict int) {
	seen := map[int]bool{}
	var others []literal
	open, at := 0, len(pr.trail)-1
	look := func(n int, except int) {
		for _, l := range pr.rules[n].any {
			v := l.variable()
			if v == except || seen[v] || pr.level[v] == 0 {
				continue
			}
			seen[v] = true
			if pr.level[v] == len(pr.limits) {
				open++
			} else {
				others = append(others, l)
			}
		}
	}
	look(conflict, -1)
	var last literal
	for {
		for !seen[pr.trail[at].variable()] {
			at--
		}
		last = pr.trail[at]
		at--
		if open--; open == 0 {
			break
		}
		look(pr.reason[last.variable()], last.variable())
	}
	back := 0
	for i, l := range others {
		if level := pr.level[l.variable()]; level > back {
			back = level
			others[0], others[i] = others[i], others[0]
		}
	}
	pr.undo(back)
	any := append([]literal{last.not()}, others...)
	n := pr.add(rule{origin: learned, any: any})
	pr.set(any[0], n)
}

// undo goes back to a level.
func (pr *problem) undo(level int) {
	for len(pr.limits) > level {
		start := pr.limits[len(pr.limits)-1]
		for _, l := range pr.trail[start:] {
			pr.value[l.variable()] = 0
		}
		pr.trail = pr.trail[:start]
		pr.limits = pr.limits[:len(pr.limits)-1]
	}
	pr.done = min(pr.done, len(pr.trail))
}

// apply puts the solution into the plan.
func (pr *problem) apply() {
	for _, m := range pr.p.touched {
		m.chosen = nil
	}
	for i, v := range pr.versions {
		if pr.value[i] > 0 {
			m := pr.p.at(v.node)
			m.chosen = v
		}
	}
}
