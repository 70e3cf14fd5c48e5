package debian

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRelations(t *testing.T) {
	tests := []struct {
		field string
		want  []Relation
	}{
		{"", nil},
		{" \n ", nil},
		{"libc6", []Relation{{{Name: "libc6"}}}},
		{"libc6 (>= 2.36), perl:any | perl-base ( = 5.36 ) ,\n g++:amd64(<<1:2-3)", []Relation{
			{{Name: "libc6", Op: ">=", Version: "2.36"}},
			{{Name: "perl", Arch: "any"}, {Name: "perl-base", Op: "=", Version: "5.36"}},
			{{Name: "g++", Arch: "amd64", Op: "<<", Version: "1:2-3"}}}},
		{"a (> 1), b (< 1), c (1),", []Relation{
			{{Name: "a", Op: ">=", Version: "1"}}, {{Name: "b", Op: "<=", Version: "1"}}, {{Name: "c", Op: "=", Version: "1"}}}},
		{"a:kfreebsd-amd64\t(>>1)", []Relation{{{Name: "a", Arch: "kfreebsd-amd64", Op: ">>", Version: "1"}}}},
	}
	for _, test := range tests {
		got, err := ParseRelations(test.field)
		if err != nil {
			t.Errorf("%q: %v", test.field, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q: %s", test.field, diff)
		}
	}
}

func TestParseRelationsRefuses(t *testing.T) {
	for _, field := range []string{"a |", "| a", "a (", "a ()", "a (>= )", "a (>= 1", "a (=> 1)", "a (>= 1) b", "a b", "a: (>= 1)", "-a", "a/b",
		"a [amd64]", "a <!nocheck>", "a (>= 1) [amd64]", "a (>= 1 2)", "a (>= (1))", "a:@", "ä"} {
		if got, err := ParseRelations(field); err == nil {
			t.Errorf("%q is read as %v", field, got)
		} else if !strings.Contains(err.Error(), "read relation") {
			t.Errorf("%q: %v", field, err)
		}
	}
}

func TestParseProvides(t *testing.T) {
	got, err := ParseProvides("mail-transport-agent, libfoo (= 2:1.0), bar:any")
	want := []Dependency{{Name: "mail-transport-agent"}, {Name: "libfoo", Op: "=", Version: "2:1.0"}, {Name: "bar", Arch: "any"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for _, field := range []string{"a | b", "a (>= 1)"} {
		if _, err := ParseProvides(field); err == nil {
			t.Errorf("%q is taken", field)
		}
	}
}

func TestAccepts(t *testing.T) {
	for op, want := range map[string][3]bool{ // older, equal, newer
		"": {true, true, true}, "<<": {true, false, false}, "<=": {true, true, false}, "=": {false, true, false},
		">=": {false, true, true}, ">>": {false, false, true}, "?": {},
	} {
		d := Dependency{Name: "a", Op: op, Version: "1.0-1"}
		got := [3]bool{d.Accepts("1.0-1~"), d.Accepts("0:1.00-1"), d.Accepts("1.0-1+b1")}
		if got != want {
			t.Errorf("%q: %v, want %v", op, got, want)
		}
	}
}

func FuzzRelations(f *testing.F) {
	f.Add("libc6 (>= 2.36), perl:any | perl-base ( = 5.36 ) , g++:amd64(<<1:2-3)")
	f.Add("a [amd64] <!nocheck>, b | ")
	f.Fuzz(func(t *testing.T, field string) {
		relations, err := ParseRelations(field)
		if err != nil {
			return
		}
		texts := make([]string, len(relations))
		for i, r := range relations {
			texts[i] = r.String()
		}
		again, err := ParseRelations(strings.Join(texts, ", "))
		if diff := cmp.Diff(relations, again); diff != "" && len(relations)+len(again) > 0 || err != nil {
			t.Errorf("%q is read otherwise when it is written: %v %s", field, err, diff)
		}
	})
}
