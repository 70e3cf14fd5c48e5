package resolve

import (
	"cmp"
	"slices"
	"strings"
)

// installing is one package being installed, with what that asks for.
type installing struct {
	p         *plan
	m         *mark
	depth     int
	asked     bool // by the request, not by a dependency
	spread    bool // the package is protected, and what alone can fulfil its needs becomes so too
	needs     []*clause
	negatives []*clause
	upgrades  []*mark // conflict in their installed version only
	removals  []*mark // conflict whatever their version
	failed    bool
}

// install plans a package's candidate, and with follow what it needs, as apt's marking does: first what it conflicts with goes
// away, then each of its relations is fulfilled by the first alternative that works. A dependency that cannot be
// fulfilled undoes the package; a request stays, so that the failure can be told.
func (p *plan) install(m *mark, follow bool, depth int, asked bool) bool {
	stays := m.protected && m.mode == keep && m.candidate != nil && m.candidate == m.current
	if !stays && !p.mayChange(m, install, depth, asked) || m.candidate == nil {
		return false
	}
	if done, ok := p.alreadyInstalled(m, depth, asked); done {
		return ok
	}
	if !p.mayInstall(m, follow, asked) {
		return false
	}
	if asked {
		p.choose(m, follow, asked)
	}
	in := &installing{p: p, m: m, depth: depth, asked: asked, spread: m.protected}
	if follow {
		in.collect(m.candidate)
		if !in.note(in.clearWay()) {
			return false
		}
		in.collectBroken()
	}
	if !asked {
		p.choose(m, follow, asked)
	}
	if !follow {
		return !in.failed
	}
	return in.fulfil()
}

// fulfil does what collect found. Until it is done the package is safe from what its dependencies would do to it.
func (in *installing) fulfil() bool {
	m := in.m
	defer func(before bool) { m.protected = before }(m.protected)
	m.protected = true
	in.upgradeSiblings()
	if !in.note(in.upgradeOrRemove()) || !in.note(in.installNeeds()) {
		in.p.undo(m)
		return false
	}
	for _, r := range in.removals {
		if !in.note(in.p.drop(r, in.depth, false)) {
			in.p.undo(m)
			return false
		}
	}
	return !in.failed
}

// note takes the result of a step. It is false when the package is to be given up.
func (in *installing) note(ok bool) bool {
	in.failed = in.failed || !ok
	return ok || !in.givesUp()
}

func (in *installing) givesUp() bool { return !in.spread && !in.asked }

// alreadyInstalled reports whether nothing is left to do, and if so the result.
func (p *plan) alreadyInstalled(m *mark, depth int, asked bool) (done, ok bool) {
	if m.protected || p.lacks(m.chosen, p.follows) {
		return false, false
	}
	if m.candidate == m.current {
		if m.chosen == nil {
			return true, p.keepAsIs(m, depth+1, asked)
		}
		return true, true
	}
	return m.mode == install, true
}

// mayInstall reports whether the candidate fits what is installed for other architectures, and whether there are candidates
// for all that it needs. One that lacks something is no candidate any more.
func (p *plan) mayInstall(m *mark, follow, asked bool) bool {
	if !asked && !p.inStep(m) {
		return false
	}
	if !follow || m.candidate == m.current {
		return true
	}
	r := p.u.relations(m.candidate)
	lacks := func(c *clause) bool {
		return c.critical() && !c.negative() && !p.holds(c, (*mark).planned) && !p.holds(c, (*mark).possible)
	}
	impossible := r.err != nil
	for i := 0; i < len(r.clauses) && !impossible; i++ {
		impossible = lacks(&r.clauses[i])
	}
	if !impossible {
		return true
	}
	if !m.protected {
		m.candidate = m.current
		if m.mode != remove {
			m.mode = keep
		}
	}
	return false
}

// inStep reports whether a package that is the same in all architectures keeps step with those installed for others.
func (p *plan) inStep(m *mark) bool {
	if m.mode == install && m.chosen == m.candidate || m.candidate == m.current || m.candidate.MultiArch != "same" {
		return true
	}
	return !slices.ContainsFunc(m.node.group.nodes, func(n *node) bool {
		other := p.at(n)
		return other != m && other.current != nil && other.candidate != nil && other.candidate.MultiArch == "same" &&
			other.candidate.Version != m.candidate.Version
	})
}

// choose sets the candidate as what will be installed.
func (p *plan) choose(m *mark, follow, asked bool) {
	if m.protected && m.chosen == m.candidate {
		return
	}
	m.mode, m.chosen = install, m.candidate
	if asked && (m.isNew() || follow) {
		m.auto = false
	} else if m.isNew() {
		m.auto = true
	}
	if m.candidate == m.current {
		m.mode = keep
	}
}

// undo leaves the package as it is, and it will not be tried again in that version.
func (p *plan) undo(m *mark) {
	if m.mode == keep && m.chosen == m.candidate && m.candidate == m.current {
		return
	}
	m.mode, m.chosen = keep, m.current
	m.forgetCandidate()
}

// collect sorts out which relations are not fulfilled yet. Of a protected package all count, since what fulfils them may
// become protected.
func (in *installing) collect(v *version) {
	clauses := in.p.u.relations(v).clauses
	for i := range clauses {
		c := &clauses[i]
		if !in.p.follows(c) || in.p.holds(c, (*mark).planned) && !in.spread {
			continue
		}
		if c.negative() {
			in.negatives = append(in.negatives, c)
		} else {
			in.needs = append(in.needs, c)
		}
	}
}

// clearWay takes back what conflicts and was planned, and notes what of the installed has to be upgraded or removed.
func (in *installing) clearWay() bool {
	ok := true
	var bad []*mark
	for _, c := range in.negatives {
		for _, v := range in.p.versionsOf(c, (*mark).possible) {
			m := in.p.at(v.node)
			if m.candidate != v {
				continue
			}
			switch {
			case m.current == v:
				ok = in.removeLater(m) && ok
			case m.wanted() && !in.p.keepAsIs(m, in.depth, false):
				ok = false
			case in.spread:
				m.forgetCandidate()
				m.protected = m.protected || m.current == nil
			default:
				bad = append(bad, m)
			}
			if !ok && in.givesUp() {
				return false
			}
		}
		for _, v := range in.p.versionsOf(c, (*mark).installed) {
			m := in.p.at(v.node)
			switch {
			case m.candidate != v && m.candidate != nil && !slices.Contains(bad, m):
				in.upgrades = append(in.upgrades, m)
			case m.candidate == m.current:
			default:
				ok = in.removeLater(m) && ok
			}
			if !ok && in.givesUp() {
				return false
			}
		}
	}
	return ok
}

// removeLater plans the removal of an installed package that no upgrade helps: at once when a request forces it.
func (in *installing) removeLater(m *mark) bool {
	if in.spread {
		if m.mode != remove && !in.p.drop(m, in.depth+1, false) {
			return false
		}
		m.forgetCandidate()
		m.protected = true
		return true
	}
	if m.mode == remove {
		return true
	}
	if !in.p.mayChange(m, remove, in.depth, false) || !in.p.mayDrop(m, false) {
		return false
	}
	in.removals = append(in.removals, m)
	return true
}

// collectBroken finds installed packages that need the installed version and would be broken by the new one.
func (in *installing) collectBroken() {
	old, next := in.m.current, in.m.candidate
	if old == nil || old == next {
		return
	}
	for _, m := range in.p.byPlace() {
		if m.current == nil || m.wanted() || slices.Contains(in.upgrades, m) {
			continue
		}
		clauses := in.p.u.relations(m.current).clauses
		for i := range clauses {
			c := &clauses[i]
			if in.p.follows(c) && !c.negative() && c.targetOf(old) && !c.targetOf(next) {
				in.upgrades = append(in.upgrades, m)
				break
			}
		}
	}
}

// targetOf reports whether an alternative that names the version's package takes it.
func (c *clause) targetOf(v *version) bool {
	return slices.ContainsFunc(c.any, func(c choice) bool { return c.Name == v.Name && slices.Contains(c.targets, v) })
}

// byPlace is what is known of packages so far, in a fixed order.
func (p *plan) byPlace() []*mark {
	marks := slices.Clone(p.touched)
	slices.SortFunc(marks, func(a, b *mark) int { return cmp.Compare(a.node.place, b.node.place) })
	return marks
}

// upgradeSiblings brings installed packages of the same source to the version of the one being installed.
func (in *installing) upgradeSiblings() {
	next := in.m.candidate
	var siblings []*mark
	for _, m := range in.p.byPlace() {
		v := m.candidate
		if m == in.m || m.current == nil || v == nil || m.current == v || v.Source != next.Source || v.SourceVersion != next.SourceVersion {
			continue
		}
		if !(m.wanted() && m.chosen == v) {
			siblings = append(siblings, m)
		}
	}
	for _, follow := range []bool{false, true} {
		for _, m := range siblings {
			in.p.install(m, follow, in.depth+1, false)
		}
	}
}

func (in *installing) upgradeOrRemove() bool {
	ok := true
	for _, m := range in.upgrades {
		if m.wanted() || in.p.install(m, true, in.depth+1, false) {
			continue
		}
		if !in.p.drop(m, in.depth+1, false) {
			if ok = false; in.givesUp() {
				return false
			}
		} else if in.spread {
			m.protected = true
		}
	}
	return ok
}

func (in *installing) installNeeds() bool {
	ok := true
	for _, c := range in.needs {
		done := in.p.holds(c, (*mark).planned)
		switch {
		case done && !in.spread:
		case done:
			ok = in.spreadTo(c) && ok
		case in.oldRecommendation(c):
		default:
			if !in.installFirst(c) && c.critical() {
				if ok = false; in.givesUp() {
					return false
				}
			}
		}
	}
	return ok
}

// spreadTo protects the one package that can fulfil a relation and does.
func (in *installing) spreadTo(c *clause) bool {
	if !c.critical() {
		return true
	}
	var only []*version
	for _, which := range []func(*mark) *version{(*mark).possible, (*mark).installed} {
		for _, v := range in.p.versionsOf(c, which) {
			if !slices.Contains(only, v) {
				only = append(only, v)
			}
		}
	}
	if len(only) != 1 || in.p.at(only[0].node).protected {
		return true
	}
	m := in.p.at(only[0].node)
	m.protected = true
	return in.p.install(m, true, in.depth+1, false)
}

// oldRecommendation reports whether an installed package recommended the same before in vain: an upgrade does not bring it.
func (in *installing) oldRecommendation(c *clause) bool {
	if in.m.current == nil || c.critical() {
		return false
	}
	old := in.p.u.relations(in.m.current).clauses
	known := false
	for i := range old {
		o := &old[i]
		if !o.critical() && slices.ContainsFunc(o.any, func(d choice) bool { return strings.EqualFold(d.Name, c.any[0].Name) }) {
			known = true
			if in.p.holds(o, (*mark).installed) {
				return false
			}
		}
	}
	return known
}

// installFirst fulfils a relation with the first version that can be installed.
func (in *installing) installFirst(c *clause) bool {
	versions := in.p.versionsOf(c, (*mark).possible)
	for _, v := range versions {
		m := in.p.at(v.node)
		if m.candidate != v {
			continue
		}
		if in.spread && c.critical() && len(versions) == 1 {
			if !in.p.install(m, false, in.depth+1, false) {
				continue
			}
			m.protected = true
		}
		if in.p.install(m, true, in.depth+1, false) {
			return true
		}
	}
	return false
}
