package resolve

// choose takes the next choice: goals first, then that what is installed stays, then what chosen versions need. It is false
// when all is chosen. Versions that nothing needs are never chosen.
func (pr *problem) choose() (literal, bool) {
	for i := range pr.goals {
		if l, ok := pr.open(pr.goals[i].versions); ok && !pr.goals[i].want.Not {
			return l, true
		}
	}
	for _, m := range pr.p.byPlace() {
		if m.current == nil {
			continue
		}
		if n := pr.vars[m.current]; pr.value[n] == 0 && !pr.replaced(m.node) {
			return is(n), true
		}
	}
	queue, queued := pr.roots()
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		clauses := pr.p.u.relations(v).clauses
		for i := range clauses {
			c := &clauses[i]
			if c.negative() || !pr.p.follows(c) {
				continue
			}
			targets := pr.targets(c)
			if l, ok := pr.open(targets); ok {
				pr.asked[pr.versions[l.variable()]] = demand{by: v, clause: c}
				return l, true
			}
			for _, t := range targets {
				if pr.value[pr.vars[t]] > 0 && !queued[t] {
					queued[t] = true
					queue = append(queue, t)
				}
			}
		}
	}
	return 0, false
}

// roots are the versions that are there for themselves: goals, and what was installed.
func (pr *problem) roots() (queue []*version, queued map[*version]bool) {
	queued = map[*version]bool{}
	add := func(v *version) {
		if n, ok := pr.vars[v]; ok && pr.value[n] > 0 && !queued[v] {
			queued[v] = true
			queue = append(queue, v)
		}
	}
	for _, g := range pr.goals {
		for _, v := range g.versions {
			add(v)
		}
	}
	for _, m := range pr.p.byPlace() {
		if m.current != nil {
			for _, v := range m.node.versions {
				add(v)
			}
		}
	}
	return queue, queued
}

// open is the first version that is still open, unless one of them is chosen already.
func (pr *problem) open(versions []*version) (literal, bool) {
	found, ok := literal(0), false
	for _, v := range versions {
		n, known := pr.vars[v]
		switch {
		case !known:
		case pr.value[n] > 0:
			return 0, false
		case pr.value[n] == 0 && !ok:
			found, ok = is(n), true
		}
	}
	return found, ok
}

// replaced reports whether another version of a package is chosen.
func (pr *problem) replaced(n *node) bool {
	for _, v := range n.versions {
		if i, ok := pr.vars[v]; ok && pr.value[i] > 0 {
			return true
		}
	}
	return false
}
