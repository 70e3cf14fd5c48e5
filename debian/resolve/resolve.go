package resolve

import (
	"slices"
	"strings"

	"github.com/bootandshoot/release/debian"
)

// Request asks for packages.
type Request struct {
	// Installed is what is there already, such as a base. It stays unless something that is wanted conflicts with it.
	Installed []debian.Package
	// Want is what must be there, or with Not must not be, in the end.
	Want []Want
	// Recommends also follows recommendations, as far as they can be fulfilled.
	Recommends bool
	Pins       []Pin
	// Limit bounds the search, in conflicts that it learns from; 0 is DefaultLimit.
	Limit int
}

// DefaultLimit is some seconds of search at most. Real requests need a few conflicts, if any.
const DefaultLimit = 20000

// Solution is the answer to a request. All lists are sorted by name, then architecture.
type Solution struct {
	Packages []debian.Package // all that is installed in the end
	New      []debian.Package // of Packages, what was not installed before in that version
	Removed  []debian.Package // was installed and has to go
	// Why has a chain of reasons for each new package, from the request down to the package itself. Its keys are names,
	// with the architecture ("name:arch") for foreign packages.
	Why map[string][]Reason
	// Searched tells that the first choices led to a conflict, and others had to be found.
	Searched bool
}

// Reason is one step of a chain: a package, and what asks for it.
type Reason struct {
	Package string
	Version debian.Version
	// Relation is the relation of the package before that this one fulfils, such as "libc6 (>= 2.36)"; for the first step it is the
	// request.
	Relation string
}

// Chain is the chain of reasons of a package in one line.
func (s *Solution) Chain(id string) string {
	var b strings.Builder
	for i, r := range s.Why[id] {
		if i > 0 {
			b.WriteString(" → ")
		}
		b.WriteString(r.Relation)
		if name, _, _ := strings.Cut(r.Package, ":"); !strings.HasPrefix(r.Relation, name) || strings.Contains(r.Relation, "|") {
			b.WriteString(" (" + r.Package + ")")
		}
	}
	return b.String()
}

// Resolve finds what a request needs. What cannot be is a fault.Invalid that says why: all names that do not exist, or the first
// chain of relations that ends in nothing, or the two chains of a conflict.
func (u *Universe) Resolve(request Request) (*Solution, error) {
	u = u.with(request.Installed)
	installed := make([]*version, 0, len(request.Installed))
	for i := range request.Installed {
		if v := u.find(&request.Installed[i]); v != nil {
			installed = append(installed, v)
		}
	}
	p := newPlan(u, installed, request)
	goals, err := p.goals(request.Want)
	if err != nil {
		return nil, err
	}
	if p.greedy(goals) {
		p.dropUnneeded(goals)
		return p.solution(goals), nil
	}
	found, err := search(u, installed, request, goals)
	if err != nil {
		return nil, err
	}
	found.dropUnneeded(goals)
	s := found.solution(goals)
	s.Searched = true
	return s, nil
}

// with gives a universe that has the installed packages too: itself if it has them all.
func (u *Universe) with(installed []debian.Package) *Universe {
	var missing []debian.Package
	for i := range installed {
		if u.nodeArch(installed[i].Arch) != "" && u.find(&installed[i]) == nil {
			p := installed[i]
			p.Suite = statusSuite
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return u
	}
	return New(slices.Concat(u.packages, missing), u.arch, u.foreign...).WithSuites(u.suites)
}

// find is the version that a package is, nil for none.
func (u *Universe) find(p *debian.Package) *version {
	n := u.groups[p.Name].of(u.nodeArch(p.Arch))
	if n == nil {
		return nil
	}
	var same *version
	for _, v := range n.versions {
		if v.Version != p.Version {
			continue
		}
		if same == nil || v.SHA256 == p.SHA256 {
			same = v
		}
	}
	return same
}

// goal is a want with what it means.
type goal struct {
	want     Want
	node     *node
	versions []*version // that would do, best first
}

// greedy makes choices one after the other, none taken back. It reports whether all relations are fulfilled in the end.
func (p *plan) greedy(goals []goal) bool {
	for _, g := range goals {
		if g.want.Not {
			m := p.at(g.node)
			m.protected = true
			p.drop(m, 0, true)
		}
	}
	var later []*mark
	for _, g := range goals {
		if g.want.Not {
			continue
		}
		m := p.at(g.node)
		m.candidate = g.versions[0]
		m.protected = true
		p.install(m, false, 0, true)
		later = append(later, m)
	}
	for _, m := range later {
		p.install(m, true, 0, true)
	}
	return p.fulfils(goals) && p.anyBroken() == nil
}

// fulfils reports whether every goal is met.
func (p *plan) fulfils(goals []goal) bool {
	for _, g := range goals {
		chosen := p.at(g.node).chosen
		if g.want.Not != (chosen == nil) || chosen != nil && !slices.Contains(g.versions, chosen) {
			return false
		}
	}
	return true
}
