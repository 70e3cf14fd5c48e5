package resolve

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/fault"
)

// world makes packages of lines "name version; Field: value; …". A line "suite N" starts another suite.
func world(t testing.TB, lines string) []debian.Package {
	t.Helper()
	var all []debian.Package
	suite := 0
	for line := range strings.Lines(lines) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if _, err := fmt.Sscanf(line, "suite %d", &suite); err == nil {
			continue
		}
		fields := strings.Split(line, ";")
		name, version, _ := strings.Cut(fields[0], " ")
		text := "Package: " + name + "\nVersion: " + version + "\n"
		if !strings.Contains(line, "Architecture:") {
			text += "Architecture: amd64\n"
		}
		for _, f := range fields[1:] {
			text += strings.TrimSpace(f) + "\n"
		}
		packages, err := debian.ParsePackages("world", text, suite)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, packages...)
	}
	return all
}

var testSuites = []Suite{
	{Name: "stable", Codename: "bookworm", Origin: "Debian"},
	{Name: "stable-security", Codename: "bookworm-security", Origin: "Debian"},
	{Name: "backports", Codename: "bookworm-backports", Origin: "Debian", NotAutomatic: true, ButAutomaticUpgrades: true},
}

func TestResolve(t *testing.T) {
	tests := []struct {
		name      string
		packages  string
		installed string
		want      string
		pins      []Pin
		recommend bool
		foreign   string
		result    string // "name version" of New, "-name" of Removed
		err       string // part of it
		hint      string
	}{
		{name: "a chain", packages: "a 1; Depends: b\nb 1; Pre-Depends: c\nc 1\nd 1", want: "a", result: "a 1, b 1, c 1"},
		{name: "the newest version", packages: "a 1\na 1.2\na 1.10", want: "a", result: "a 1.10"},
		{name: "the newest of all suites", packages: "a 1\nsuite 1\na 1+deb12u1", want: "a", result: "a 1+deb12u1"},
		{name: "an exact version", packages: "a 1\na 2", want: "a=1", result: "a 1"},
		{name: "a version pattern", packages: "a 1.1\na 1.2\na 2", want: "a=1.*", result: "a 1.2"},
		{name: "a suite", packages: "a 1\nsuite 1\na 2", want: "a/bookworm", result: "a 1"},
		{name: "a suite's dependency", packages: "a 1; Depends: b (= 1)\nb 1\nsuite 1\na 2; Depends: b (= 2)\nb 2", want: "a/stable", result: "a 1, b 1"},
		{name: "the first alternative", packages: "a 1; Depends: b | c\nb 1\nc 1", want: "a", result: "a 1, b 1"},
		{name: "the chosen alternative", packages: "a 1; Depends: b | c\nb 1\nc 1", want: "c a", result: "a 1, c 1"},
		{name: "the alternative chosen later", packages: "a 1; Depends: b | c\nb 1\nc 1", want: "a c", result: "a 1, c 1"},
		{name: "the installed alternative", packages: "a 1; Depends: b | c\nb 1\nc 1", installed: "c 1", want: "a", result: "a 1"},
		{name: "the alternative that is there", packages: "a 1; Depends: b (>= 2) | c\nb 1\nc 1", want: "a", result: "a 1, c 1"},
		{name: "the alternative that can be installed", packages: "a 1; Depends: b | c\nb 1; Depends: x\nc 1", want: "a", result: "a 1, c 1"},
		{name: "a provider", packages: "a 1; Depends: mta\nb 1; Provides: mta", want: "a", result: "a 1, b 1"},
		{name: "the package before its providers", packages: "a 1; Depends: c\nb 1; Provides: c\nc 1", want: "a", result: "a 1, c 1"},
		{name: "a provided version", packages: "a 1; Depends: v (>= 2)\nb 1; Provides: v (= 1)\nc 1; Provides: v (= 2)\nd 3; Provides: v", want: "a", result: "a 1, c 1"},
		{name: "the provider of higher priority", packages: "a 1; Depends: v\nb 1; Provides: v; Priority: optional\nc 1; Provides: v; Priority: important\nd 1; Provides: v; Priority: optional",
			want: "a", result: "a 1, c 1"},
		{name: "the provider met last", packages: "a 1; Depends: v\nb 1; Provides: v\nc 1; Provides: v", want: "a", result: "a 1, c 1"},
		{name: "a virtual request", packages: "b 1; Provides: v", want: "v", result: "b 1"},
		{name: "several providers", packages: "b 1; Provides: v\nc 1; Provides: v", want: "v", err: "v: it is provided by several packages: b, c"},
		{name: "recommended", packages: "a 1; Recommends: b, x\nb 1; Depends: c\nc 1", want: "a", recommend: true, result: "a 1, b 1, c 1"},
		{name: "not recommended", packages: "a 1; Recommends: b\nb 1", want: "a", result: "a 1"},
		{name: "recommended in vain", packages: "a 1; Recommends: b; Conflicts: c\nb 1; Depends: c\nc 1", want: "a", recommend: true, result: "a 1"},
		{name: "a conflict between requests", packages: "a 1; Conflicts: b\nb 1", want: "a b",
			err: "a and b cannot be installed together: a conflicts with b", hint: "leave out a or b"},
		{name: "a conflict with a provider", packages: "a 1; Provides: v; Conflicts: v\nb 1; Provides: v; Conflicts: v", want: "a b", err: "conflicts with v"},
		{name: "a conflict with oneself", packages: "a 1; Provides: v; Conflicts: v, a", want: "a", result: "a 1"},
		{name: "a conflict removes", packages: "a 1; Conflicts: b\nb 1", installed: "b 1", want: "a", result: "-b, a 1"},
		{name: "a break upgrades", packages: "a 1; Breaks: b (<< 2)\nb 2", installed: "b 1", want: "a", result: "a 1, b 2"},
		{name: "what is essential stays", packages: "a 1; Conflicts: b\nb 1; Essential: yes", installed: "b 1; Essential: yes", want: "a", err: "a conflicts with b"},
		{name: "an upgrade for a dependency", packages: "a 1; Depends: b (>= 2)\nb 2", installed: "b 1", want: "a", result: "a 1, b 2"},
		{name: "an upgrade by request", packages: "b 2", installed: "b 1", want: "b", result: "b 2"},
		{name: "no upgrade without need", packages: "a 1; Depends: b\nb 2", installed: "b 1", want: "a", result: "a 1"},
		{name: "an upgrade takes what needs the old one along", packages: "b 2\na 2; Depends: b (= 2)", installed: "b 1\na 1; Depends: b (= 1)", want: "b", result: "a 2, b 2"},
		{name: "an upgrade takes its source's packages along", packages: "b 2; Source: s\nc 2; Source: s", installed: "b 1; Source: s\nc 1; Source: s", want: "b", result: "b 2, c 2"},
		{name: "not wanted", packages: "a 1; Depends: b | c\nb 1\nc 1", want: "a b-", result: "a 1, c 1"},
		{name: "not wanted and needed", packages: "a 1; Depends: b\nb 1", want: "a b-", err: "a → b: b must not be installed, as b- says"},
		{name: "not wanted any more", packages: "a 1\nb 1", installed: "b 1", want: "a b-", result: "-b, a 1"},
		{name: "not wanted, unknown", packages: "a 1", want: "a nothing-", result: "a 1"},
		{name: "back to another alternative", packages: "a 1; Depends: b | c\nb 1\nc 1\nd 1; Depends: e\ne 1; Conflicts: b", want: "a d", result: "a 1, c 1, d 1, e 1"},
		{name: "an older version as a last resort", packages: "a 1; Depends: b (= 1)\nb 1\nb 2", want: "a", result: "a 1, b 1"},
		{name: "missing at the end of a chain", packages: "a 1; Depends: b (>= 1)\nb 1; Depends: c (>= 3)\nc 2.1\nc 2", want: "a",
			err: "resolve packages: a → b (>= 1): c (>= 3) is needed, the archive has 2.1 (stable), 2 (stable)"},
		{name: "missing altogether", packages: "a 1; Depends: b\nb 1; Depends: x | y", want: "a", err: "a → b: x | y is needed, the archive has no x, the archive has no y"},
		{name: "missing here", packages: "a 1; Depends: b\nb 1; Architecture: armhf", want: "a", err: "a: b is needed, the archive has b for armhf only"},
		{name: "a conflict below", packages: "a 1; Depends: x\nb 1; Depends: y\nx 1; Conflicts: y\ny 1", want: "a b",
			err: "a → x and b → y cannot be installed together: x conflicts with y", hint: "leave out a or b"},
		{name: "two versions", packages: "a 1; Depends: c (= 1)\nb 1; Depends: c (= 2)\nc 1\nc 2", want: "a b", err: "c (= 1)"},
		{name: "misspelt", packages: "nginx 1\nnginx-light 1\nnano 1", want: "ngnix", err: "resolve package ngnix: the archive has no package of that name", hint: "did you mean nginx"},
		{name: "all that is misspelt", packages: "nginx 1", want: "ngnix nignx", err: "nignx"},
		{name: "another version", packages: "a 1\nsuite 1\na 2", want: "a=3", err: "a=3: the archive has 2 (stable-security), 1 (stable)"},
		{name: "another suite", packages: "a 1", want: "a/sid", err: "a/sid: the archive has 1 (stable)"},
		{name: "only elsewhere", packages: "a 1; Architecture: armhf", want: "a", err: "a: the archive has it for armhf, not for amd64"},
		{name: "pin a version", packages: "a 1\na 2", want: "a", pins: []Pin{{Package: "a", Version: "1*", Priority: 990}}, result: "a 1"},
		{name: "pin never", packages: "a 1; Depends: b | c\nb 1\nc 1", want: "a", pins: []Pin{{Package: "b", Priority: -1}}, result: "a 1, c 1"},
		{name: "pin never what is wanted", packages: "b 1", want: "b", pins: []Pin{{Package: "b*", Priority: -1}}, err: "pins forbid all its versions: 1 (stable)"},
		{name: "pin a suite", packages: "a 1\nsuite 1\na 2", want: "a", pins: []Pin{{Package: "*", Suite: "bookworm", Priority: 990}}, result: "a 1"},
		{name: "pin a downgrade", packages: "a 1\na 2", installed: "a 2", want: "a", pins: []Pin{{Package: "a", Version: "1", Priority: 1001}}, result: "a 1"},
		{name: "no downgrade", packages: "a 1\na 2", installed: "a 2", want: "a", pins: []Pin{{Package: "a", Version: "1", Priority: 990}}, result: ""},
		{name: "backports are not taken", packages: "a 1\nsuite 2\na 2\nb 2", want: "a b", result: "a 1, b 2"},
		{name: "backports by request", packages: "a 1\nsuite 2\na 2; Depends: b (>= 2)\nsuite 0\nb 1\nsuite 2\nb 2", want: "a/backports", result: "a 2, b 2"},
		{name: "a foreign dependency", foreign: "i386", packages: "a 1; Architecture: i386; Depends: b\nb 1; Multi-Arch: foreign", want: "a:i386", result: "a:i386 1, b 1"},
		{name: "a dependency of its own architecture", foreign: "i386", packages: "a 1; Architecture: i386; Depends: b\nb 1; Architecture: i386\nb 1", want: "a:i386", result: "a:i386 1, b:i386 1"},
		{name: "any architecture", foreign: "i386", packages: "a 1; Architecture: i386; Depends: b:any\nb 1; Multi-Arch: allowed", want: "a:i386", result: "a:i386 1, b 1"},
		{name: "any, but not allowed", packages: "a 1; Depends: b:any\nb 1", want: "a", err: "b:any is needed"},
		{name: "the same in all", foreign: "i386", packages: "a 1; Multi-Arch: same\na 1; Architecture: i386; Multi-Arch: same", want: "a a:i386", result: "a 1, a:i386 1"},
		{name: "not the same in all", foreign: "i386", packages: "a 1\na 1; Architecture: i386", want: "a a:i386", err: "for one architecture only"},
		{name: "an unreadable relation", packages: "a 1; Depends: b (>> 1", want: "a", err: "a 1 cannot be installed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u := New(world(t, test.packages), "amd64", strings.Fields(test.foreign)...).WithSuites(testSuites)
			wants, err := ParseWants(strings.Fields(test.want))
			if err != nil {
				t.Fatal(err)
			}
			s, err := u.Resolve(Request{Installed: world(t, test.installed), Want: wants, Pins: test.pins, Recommends: test.recommend})
			if test.err != "" || err != nil {
				checkError(t, err, test.err, test.hint)
				return
			}
			if diff := cmp.Diff(test.result, strings.Join(actions(u, s), ", ")); diff != "" {
				t.Errorf("result:\n%s", diff)
			}
			checkSolution(t, u, s, wants)
		})
	}
}

func checkError(t *testing.T, err error, part, hint string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", part)
	}
	if part == "" || !strings.Contains(err.Error(), part) {
		t.Errorf("error %q, want %q", err, part)
	}
	for _, e := range fault.All(err) {
		if e.Code != fault.Invalid || e.Hint == "" || !strings.Contains(e.Hint, hint) {
			t.Errorf("code %s, hint %q, want invalid, %q", e.Code, e.Hint, hint)
		}
	}
}

// checkSolution looks at what every solution has: its relations hold, it has what is wanted, and reasons for all that is new.
func checkSolution(t testing.TB, u *Universe, s *Solution, wants []Want) {
	t.Helper()
	u = u.with(s.Packages)
	p := newPlan(u, nil, Request{})
	for i := range s.Packages {
		v := u.find(&s.Packages[i])
		if m := p.at(v.node); m.chosen != nil {
			t.Fatalf("%s is there twice", u.id(v.node))
		} else {
			m.chosen = v
		}
	}
	if m := p.anyBroken(); m != nil {
		t.Errorf("%s %s is broken", m.node.group.name, m.chosen.Version)
	}
	for i := range s.New {
		id := u.id(u.find(&s.New[i]).node)
		chain := s.Why[id]
		if len(chain) == 0 || chain[len(chain)-1].Package != id {
			t.Errorf("no chain of reasons for %s: %v", id, chain)
		}
	}
	for _, w := range wants {
		there := slices.ContainsFunc(s.Packages, func(p debian.Package) bool {
			return (p.Name == w.Name || strings.Contains(p.Provides, w.Name)) && (w.Version == "" || matchVersion(w.Version, p.Version))
		})
		if there == w.Not {
			t.Errorf("%s is not fulfilled", w)
		}
	}
}

func TestChain(t *testing.T) {
	u := New(world(t, "a 1; Depends: b (>= 1), v\nb 1; Depends: x | c\nc 1\nd 1; Provides: v"), "amd64")
	s, err := u.Resolve(Request{Want: []Want{{Name: "a"}}})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"c": "a → b (>= 1) → x | c (c)", "d": "a → v (d)", "a": "a"} {
		if got := s.Chain(id); got != want {
			t.Errorf("chain of %s: %q, want %q", id, got, want)
		}
	}
}

func TestParseWant(t *testing.T) {
	for text, want := range map[string]Want{
		"a":          {Name: "a"},
		"g++":        {Name: "g++"},
		"a:i386":     {Name: "a", Arch: "i386"},
		"a=1:2-3":    {Name: "a", Version: "1:2-3"},
		"a:i386=1.*": {Name: "a", Arch: "i386", Version: "1.*"},
		"a/bookworm": {Name: "a", Suite: "bookworm"},
		"a-":         {Name: "a", Not: true},
		"a=1-":       {Name: "a", Version: "1-"},
		"":           {}, "a=": {}, "a/": {}, "a:": {}, "a b": {}, "-a": {},
	} {
		got, err := ParseWant(text)
		if got != want || (err != nil) != (want == Want{}) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if err == nil && got.String() != text {
			t.Errorf("%q is written as %q", text, got)
		}
	}
}
