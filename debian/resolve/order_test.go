package resolve

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bootandshoot/release/debian"
)

func TestOrder(t *testing.T) {
	tests := []struct {
		name, packages, installed string
		batches                   string // of names, "a b | c"
		err                       string
	}{
		{name: "what it depends on comes first", packages: "a 1; Depends: b\nb 1; Depends: c\nc 1", batches: "c b a"},
		{name: "nothing to do", batches: ""},
		{name: "by name", packages: "b 1\na 1\nc 1", batches: "a b c"},
		{name: "a pre-dependency is a batch before", packages: "a 1; Pre-Depends: b\nb 1; Depends: c\nc 1", batches: "c b | a"},
		{name: "what depends on it waits with it", packages: "a 1; Pre-Depends: b\nb 1\nd 1; Depends: a", batches: "b | a d"},
		{name: "installed already", packages: "a 1; Pre-Depends: b (>= 1)", installed: "b 1", batches: "a"},
		{name: "installed, too old", packages: "a 1; Pre-Depends: b (>= 2)\nb 2", installed: "b 1", batches: "b | a"},
		{name: "a provided name", packages: "a 1; Pre-Depends: v\nb 1; Provides: v", batches: "b | a"},
		{name: "either alternative", packages: "a 1; Pre-Depends: b | c\nb 1; Pre-Depends: a\nc 1", batches: "c | a | b"},
		{name: "a cycle of dependencies", packages: "a 1; Depends: b\nb 1; Depends: a", batches: "b a"},
		{name: "a chain of batches", packages: "a 1; Pre-Depends: b\nb 1; Pre-Depends: c\nc 1", batches: "c | b | a"},
		{name: "a cycle of pre-dependencies", packages: "a 1; Pre-Depends: b\nb 1; Pre-Depends: a\nz 1", err: "a → b → a"},
		{name: "a cycle with a pre-dependency", packages: "a 1; Pre-Depends: b\nb 1; Depends: c\nc 1; Depends: a", err: "a → c → b → a"},
		{name: "behind a cycle", packages: "0 1; Depends: a\na 1; Pre-Depends: b\nb 1; Depends: a", err: "a → b → a"},
		{name: "not there", packages: "a 1; Depends: b", err: "a needs b, which is neither installed nor among the packages"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			batches, err := Order("amd64", world(t, test.packages), world(t, test.installed))
			if test.err != "" || err != nil {
				checkError(t, err, test.err, "")
				return
			}
			var text []string
			for _, b := range batches {
				text = append(text, names(b))
			}
			if got := strings.Join(text, " | "); got != test.batches {
				t.Errorf("batches %q, want %q", got, test.batches)
			}
		})
	}
}

func names(packages []debian.Package) string {
	all := make([]string, len(packages))
	for i, p := range packages {
		all[i] = p.Name
	}
	return strings.Join(all, " ")
}

// TestOrderHolds checks the promise of Order on drawn systems: at each batch all that it needs is configured.
func TestOrderHolds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		u, _ := drawUniverse(r)
		s, err := u.Resolve(Request{Want: drawWants(r, u)})
		if err != nil {
			return
		}
		batches, err := Order("amd64", s.New, nil)
		if err != nil {
			if !strings.Contains(err.Error(), "cycle") {
				r.Fatal(err)
			}
			return
		}
		done := map[*version]bool{}
		count := 0
		for _, batch := range batches {
			before := map[*version]bool{}
			for v := range done {
				before[v] = true
			}
			for i := range batch {
				done[u.find(&batch[i])] = true
				count++
			}
			for i := range batch {
				for _, c := range u.relations(u.find(&batch[i])).clauses {
					if c.kind == preDepends && !c.fulfilledBy(func(v *version) bool { return before[v] }) ||
						c.kind == depends && !c.fulfilledBy(func(v *version) bool { return done[v] }) {
						r.Fatalf("%s: %s does not hold", batch[i].Name, c.relation)
					}
				}
			}
		}
		if count != len(s.New) {
			r.Fatalf("%d of %d packages are ordered", count, len(s.New))
		}
	})
}
