package resolve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/fault"
)

// explain tells why there is no solution. It goes the way of the first choices again, up to the first rule that cannot
// hold, and names the chains that lead there.
func (pr *problem) explain() error {
	again := newProblem(pr.p, pr.goals, pr.all)
	rule := again.setAlone()
	for rule < 0 {
		if rule = again.propagate(); rule >= 0 {
			break
		}
		choice, ok := again.choose()
		if !ok {
			return fault.New(fault.Internal, "resolve packages: the search found no solution, and going its way again did")
		}
		again.limits = append(again.limits, len(again.trail))
		again.set(choice, -1)
	}
	t := teller{pr: again}
	message, hint := t.rule(rule)
	if len(again.limits) > 0 {
		message += "; no other choice works either"
	}
	return fault.New(fault.Invalid, "resolve packages: %s", message).WithHint("%s", hint)
}

// teller puts rules that cannot hold into words.
type teller struct {
	pr   *problem
	seen map[*version]bool
}

func (t *teller) rule(n int) (message, hint string) {
	t.seen = map[*version]bool{}
	r := &t.pr.rules[n]
	switch r.origin {
	case needRule:
		if r.clause == nil {
			return t.unreadable(nil, r.by)
		}
		return t.need(t.chain(r.by), r.clause)
	case conflictRule:
		return t.conflict(nil, r)
	case oneVersion:
		return t.twoVersions(t.pr.versions[r.any[0].variable()], t.pr.versions[r.any[1].variable()])
	case essentialRule:
		return fmt.Sprintf("%s would be removed, which the system cannot be without", r.by.Name), "leave out what conflicts with " + r.by.Name
	}
	return t.goal(r.goal)
}

// goal is for a want all of whose versions are ruled out before anything is chosen.
func (t *teller) goal(i int) (message, hint string) {
	g := t.pr.goals[i]
	for _, v := range g.versions {
		if n, ok := t.pr.reasonAgainst(v); ok {
			return t.against([]string{g.want.String()}, v, n)
		}
	}
	return fmt.Sprintf("%s is wanted, and something needs or forbids it", g.want), "ask for it without what forbids it"
}

// need tells of a relation that nothing fulfils.
func (t *teller) need(chain []string, c *clause) (message, hint string) {
	targets := t.pr.targets(c)
	for _, v := range targets {
		if n, ok := t.pr.reasonAgainst(v); ok && !t.seen[v] {
			return t.against(append(chain, c.relation.String()), v, n)
		}
	}
	prefix := ""
	if len(chain) > 0 {
		prefix = strings.Join(chain, " → ") + ": "
	}
	what, hint := t.pr.p.missing(c)
	return fmt.Sprintf("%s%s is needed, %s", prefix, c.relation, what), hint
}

// against tells why a version that would do cannot be taken.
func (t *teller) against(chain []string, v *version, rule int) (message, hint string) {
	t.seen[v] = true
	r := &t.pr.rules[rule]
	switch r.origin {
	case needRule:
		if r.clause == nil {
			return t.unreadable(chain, v)
		}
		return t.need(chain, r.clause)
	case conflictRule:
		return t.conflict(chain, r)
	case oneVersion:
		other := t.pr.versions[r.any[0].variable()]
		if other == v {
			other = t.pr.versions[r.any[1].variable()]
		}
		return t.twoVersions(v, other, chain...)
	}
	return fmt.Sprintf("%s: %s must not be installed, as %s says", strings.Join(chain, " → "), v.Name, t.pr.goals[r.goal].want),
		fmt.Sprintf("leave out %s, or what needs it", t.pr.goals[r.goal].want)
}

func (t *teller) unreadable(chain []string, v *version) (message, hint string) {
	chain = append(chain, v.Name)
	return fmt.Sprintf("%s %s cannot be installed: %v", strings.Join(chain, " → "), v.Version, t.pr.p.u.relations(v).err),
		"report it to the package's maintainer, and ask for another version until then"
}

// conflict tells of two packages and how each is asked for; chain is the way to one of them, if that is known.
func (t *teller) conflict(chain []string, r *rule) (message, hint string) {
	v, other := r.by, t.pr.versions[r.any[0].variable()]
	if other == v {
		other = t.pr.versions[r.any[1].variable()]
	}
	first, second := t.chain(v), t.chain(other)
	if chain != nil && t.pr.value[t.pr.vars[v]] > 0 {
		second = chain
	} else if chain != nil {
		first = chain
	}
	says := fmt.Sprintf("%s conflicts with %s", v.Name, r.clause.relation)
	if r.clause.kind == breaks {
		says = fmt.Sprintf("%s breaks %s", v.Name, r.clause.relation)
	}
	if r.clause.implicit {
		says = fmt.Sprintf("%s can be installed for one architecture only, or in one version for all", v.Name)
	}
	if name, _, _ := strings.Cut(r.clause.relation.String(), " "); name != other.Name {
		says += fmt.Sprintf(" (%s provides it)", other.Name)
	}
	return together(first, second, says)
}

func (t *teller) twoVersions(v, other *version, chain ...string) (message, hint string) {
	first, second := t.chain(v), t.chain(other)
	if len(chain) > 0 {
		first = chain
	}
	return together(first, second, fmt.Sprintf("%s would be needed in versions %s and %s", v.Name, v.Version, other.Version))
}

func together(first, second []string, says string) (message, hint string) {
	a, b := strings.Join(first, " → "), strings.Join(second, " → ")
	if first[0] == second[0] {
		return fmt.Sprintf("%s and %s cannot be installed together: %s", a, b, says), "leave out " + first[0] + ", or take another version of it"
	}
	return fmt.Sprintf("%s and %s cannot be installed together: %s", a, b, says), fmt.Sprintf("leave out %s or %s", first[0], second[0])
}

// chain is the way from a request down to a version that was chosen, in the words of the relations.
func (t *teller) chain(v *version) []string {
	var chain []string
	for seen := map[*version]bool{}; v != nil && !seen[v]; {
		seen[v] = true
		var by *version
		by, text := t.pr.cause(v)
		chain = append(chain, text)
		v = by
	}
	slices.Reverse(chain)
	return chain
}

// cause is what asked for a version: another one with its relation, or a request.
func (pr *problem) cause(v *version) (by *version, text string) {
	n, ok := pr.vars[v]
	if ok && pr.value[n] > 0 && pr.reason[n] >= 0 {
		switch r := &pr.rules[pr.reason[n]]; r.origin {
		case needRule:
			return r.by, named(r.clause, v)
		case goalRule:
			return nil, pr.goals[r.goal].asks(v)
		}
	}
	for _, g := range pr.goals {
		if slices.Contains(g.versions, v) {
			return nil, g.asks(v)
		}
	}
	if asked, ok := pr.asked[v]; ok {
		return asked.by, named(asked.clause, v)
	}
	if pr.p.at(v.node).current == v {
		return nil, "installed " + v.Name
	}
	return nil, v.Name
}

// asks is the request, with the package that fulfils it if it has another name.
func (g goal) asks(v *version) string {
	if g.want.Name == v.Name {
		return g.want.String()
	}
	return fmt.Sprintf("%s (%s)", g.want, v.Name)
}

// named is a relation, with the package that fulfils it if its name is not the only one in it.
func named(c *clause, v *version) string {
	if len(c.any) == 1 && c.any[0].Name == v.Name {
		return c.relation.String()
	}
	return fmt.Sprintf("%s (%s)", c.relation, v.Name)
}

// reasonAgainst is the rule that rules a version out.
func (pr *problem) reasonAgainst(v *version) (rule int, ok bool) {
	n, known := pr.vars[v]
	if !known || pr.value[n] >= 0 || pr.reason[n] < 0 {
		return 0, false
	}
	r := &pr.rules[pr.reason[n]]
	// A rule of another version that became unfulfillable says nothing of this one.
	if r.origin == needRule && r.by != v {
		return 0, false
	}
	return pr.reason[n], true
}

// missing tells what the lists have of what a relation names.
func (p *plan) missing(c *clause) (what, hint string) {
	parts := make([]string, 0, len(c.any))
	hint = "add the suite or component that has it, or leave out what needs it"
	for i := range c.any {
		parts = append(parts, p.has(c.any[i].Dependency))
	}
	return strings.Join(parts, ", "), hint
}

// has tells which versions of a package there are.
func (p *plan) has(d debian.Dependency) string {
	g := p.u.groups[d.Name]
	if g == nil || len(g.nodes) == 0 && len(g.providers) == 0 {
		if arch := p.u.elsewhere[d.Name]; arch != "" {
			return fmt.Sprintf("the archive has %s for %s only", d.Name, arch)
		}
		return "the archive has no " + d.Name
	}
	var versions []string
	for _, n := range g.nodes {
		for _, v := range n.versions {
			versions = append(versions, p.u.described(v))
		}
	}
	for _, provider := range g.providers {
		versions = append(versions, strings.TrimSpace(fmt.Sprintf("%s from %s", provider.version, provider.by.Name)))
	}
	text := "the archive has " + some(versions, 4)
	if p.pinned(g) {
		text += ", which a pin forbids"
	}
	return text
}

// pinned reports whether all versions of a name are forbidden.
func (p *plan) pinned(g *group) bool {
	for _, n := range g.nodes {
		if p.at(n).candidate != nil {
			return false
		}
	}
	return len(g.nodes) > 0 && len(g.providers) == 0
}

// described is a version with where it is from.
func (u *Universe) described(v *version) string {
	text := string(v.Version)
	var suites []string
	for _, s := range v.suites {
		if name := u.suiteName(s); name != "" && !slices.Contains(suites, name) {
			suites = append(suites, name)
		}
		if s == statusSuite {
			suites = append(suites, "installed")
		}
	}
	if len(suites) > 0 {
		text += " (" + strings.Join(suites, ", ") + ")"
	}
	return text
}

// unknown is for a want whose name no package has.
func (u *Universe) unknown(w Want) *fault.Error {
	if arch := u.elsewhere[w.Name]; arch != "" {
		return fault.New(fault.Invalid, "resolve package %s: the archive has it for %s, not for %s", w, arch, cmp.Or(w.Arch, u.arch)).
			WithHint("ask for an architecture that has it, or leave it out")
	}
	if g := u.groups[w.Name]; g != nil && len(g.nodes) > 0 {
		var archs []string
		for _, n := range g.nodes {
			archs = append(archs, n.arch)
		}
		slices.Sort(archs)
		return fault.New(fault.Invalid, "resolve package %s: the archive has it for %s, not for %s", w,
			strings.Join(archs, ", "), cmp.Or(w.Arch, u.arch)).
			WithHint("ask for an architecture that has it, or leave it out")
	}
	err := fault.New(fault.Invalid, "resolve package %s: the archive has no package of that name", w)
	if near := u.nearest(w.Name); len(near) > 0 {
		return err.WithHint("did you mean %s?", strings.Join(near, ", "))
	}
	return err.WithHint("check the name, and whether a component or suite that has it is among the sources")
}

func (u *Universe) pinnedAway(w Want, n *node) *fault.Error {
	var versions []string
	for _, v := range n.versions {
		versions = append(versions, u.described(v))
	}
	return fault.New(fault.Invalid, "resolve package %s: pins forbid all its versions: %s", w, some(versions, 4)).
		WithHint("change the pin, or ask for a version by name (%s=%s)", w.Name, n.versions[0].Version)
}

func (u *Universe) noSuchVersion(w Want, n *node) *fault.Error {
	var versions []string
	for _, v := range n.versions {
		versions = append(versions, u.described(v))
	}
	return fault.New(fault.Invalid, "resolve package %s: the archive has %s", w, some(versions, 4)).
		WithHint("ask for one of these versions, or add the suite that has another one under repositories:")
}
