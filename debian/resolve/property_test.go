package resolve

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/google/go-cmp/cmp"

	"github.com/bootandshoot/release/debian"
)

// drawUniverse draws a few packages with relations among them, some of which cannot be fulfilled.
func drawUniverse(r *rapid.T) (*Universe, []debian.Package) {
	drawRelation := func(label string) string {
		var alternatives []string
		for range rapid.IntRange(1, 2).Draw(r, label+" alternatives") {
			name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "v", "w"}).Draw(r, label)
			op := rapid.SampledFrom([]string{"", "", "", " (>= 2)", " (<< 2)", " (= 1)"}).Draw(r, label+" version")
			alternatives = append(alternatives, name+op)
		}
		return strings.Join(alternatives, " | ")
	}
	var packages []debian.Package
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		for i := range rapid.IntRange(0, 2).Draw(r, name) {
			p := debian.Package{Name: name, Version: debian.Version(fmt.Sprint(i + 1)), Arch: "amd64", Source: name}
			p.SourceVersion = p.Version
			draw := func(field string, most int, alternatives bool) string {
				var all []string
				for range rapid.IntRange(0, most).Draw(r, field) {
					relation := drawRelation(field)
					if !alternatives {
						relation, _, _ = strings.Cut(relation, " |")
					}
					all = append(all, relation)
				}
				return strings.Join(all, ", ")
			}
			p.Depends = draw("Depends", 2, true)
			p.PreDepends = draw("Pre-Depends", 1, true)
			p.Recommends = draw("Recommends", 1, true)
			p.Conflicts = draw("Conflicts", 1, false)
			p.Breaks = draw("Breaks", 1, false)
			p.Provides = rapid.SampledFrom([]string{"", "", "v", "w (= 2)", "v, w"}).Draw(r, "Provides")
			packages = append(packages, p)
		}
	}
	return New(packages, "amd64"), packages
}

func drawWants(r *rapid.T, u *Universe) []Want {
	var there []string
	for _, n := range u.nodes {
		there = append(there, n.group.name)
	}
	if len(there) == 0 {
		return nil
	}
	slices.Sort(there)
	var wants []Want
	for range rapid.IntRange(1, 3).Draw(r, "wants") {
		w := Want{Name: rapid.SampledFrom(there).Draw(r, "want"), Not: rapid.IntRange(0, 5).Draw(r, "not") == 0}
		if !slices.ContainsFunc(wants, func(o Want) bool { return o.Name == w.Name }) {
			wants = append(wants, w)
		}
	}
	return wants
}

// TestAgainstBruteForce compares with trying all sets of packages: there is an answer exactly if one of the sets is one, and the
// answer is closed, without conflicts, and has nothing that can be left out with what leads nowhere.
func TestAgainstBruteForce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		u, packages := drawUniverse(r)
		wants := drawWants(r, u)
		request := Request{Want: wants, Recommends: rapid.Bool().Draw(r, "recommends")}
		s, err := u.Resolve(request)
		possible := bruteForce(u, wants)
		if possible != (err == nil) {
			r.Fatalf("a solution exists: %v, found: %v\n%s", possible, err, show(packages))
		}
		checkShuffled(r, packages, request, s, err)
		if err != nil {
			if strings.Contains(err.Error(), "found no solution") {
				r.Fatal(err)
			}
			return
		}
		checkDrawn(r, u, s, wants)
	})
}

// checkShuffled resolves again with the lists in another order.
func checkShuffled(r *rapid.T, packages []debian.Package, request Request, s *Solution, err error) {
	seed := rapid.Uint64().Draw(r, "shuffle")
	shuffled := slices.Clone(packages)
	rand.New(rand.NewPCG(seed, 1)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	again, againErr := New(shuffled, "amd64").Resolve(request)
	if diff := cmp.Diff(s, again); diff != "" || fmt.Sprint(err) != fmt.Sprint(againErr) {
		r.Fatalf("another order of packages, another result: %v, %v\n%s", err, againErr, diff)
	}
}

// checkDrawn is checkSolution for rapid.
func checkDrawn(r *rapid.T, u *Universe, s *Solution, wants []Want) {
	chosen := map[*version]bool{}
	for i := range s.Packages {
		chosen[u.find(&s.Packages[i])] = true
	}
	if problem := consistent(u, chosen, wants); problem != "" {
		r.Fatalf("%s in %v", problem, actions(u, s))
	}
	for _, p := range s.New {
		chain := s.Why[p.Name]
		if len(chain) == 0 || chain[len(chain)-1].Package != p.Name {
			r.Fatalf("no reasons for %s: %v", p.Name, chain)
		}
		if !slices.ContainsFunc(wants, func(w Want) bool { return w.String() == chain[0].Relation }) {
			r.Fatalf("the reasons for %s begin with no request: %v", p.Name, chain)
		}
	}
}

// consistent tells what is wrong with a set of versions, "" for nothing.
func consistent(u *Universe, chosen map[*version]bool, wants []Want) string {
	for v := range chosen {
		for _, c := range u.relations(v).clauses {
			hit := c.fulfilledBy(func(t *version) bool { return chosen[t] })
			if c.critical() && hit == c.negative() {
				return fmt.Sprintf("%s %s: %s", v.Name, v.Version, c.relation)
			}
		}
	}
	for _, w := range wants {
		there := false
		for v := range chosen {
			there = there || v.Name == w.Name
		}
		if there == w.Not {
			return "not fulfilled: " + w.String()
		}
	}
	return ""
}

// bruteForce tries every choice of a version, or none, for each package. A want is fulfilled with the newest version, as a candidate is.
func bruteForce(u *Universe, wants []Want) bool {
	chosen := map[*version]bool{}
	var try func(i int) bool
	try = func(i int) bool {
		if i == len(u.nodes) {
			return consistent(u, chosen, wants) == ""
		}
		if try(i + 1) {
			return true
		}
		for k, v := range u.nodes[i].versions {
			if k > 0 && slices.ContainsFunc(wants, func(w Want) bool { return w.Name == v.Name }) {
				break
			}
			chosen[v] = true
			if try(i + 1) {
				return true
			}
			delete(chosen, v)
		}
		return false
	}
	return try(0)
}

func show(packages []debian.Package) string {
	var b strings.Builder
	for _, p := range packages {
		fmt.Fprintf(&b, "%s %s: %q %q -%q -%q p%q\n", p.Name, p.Version, p.PreDepends, p.Depends, p.Conflicts, p.Breaks, p.Provides)
	}
	return b.String()
}
