package resolve

import (
	"cmp"

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
