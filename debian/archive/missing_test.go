package archive

import (
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
)

// A name that was misspelt is missing in all of its suites: one error names them, the mirrors, and the name that was likely meant.
func TestMissingSuites(t *testing.T) {
	s := newSite(t)
	other := newSite(t)
	sources, err := Suites("bookwrom", []string{s.URL}, []string{other.URL}, public(t, s.Keys...))
	if err != nil {
		t.Fatal(err)
	}
	_, err = update(client(t, Options{}), sources...)
	refused(t, err, fault.NotFound, "the suites bookwrom, bookwrom-updates and bookwrom-security", s.URL+": the server answers 404", other.URL+": the server answers 404")
	if hint := fault.All(err)[0].Hint; !strings.HasPrefix(hint, "did you mean bookworm? ") {
		t.Errorf("the hint is %q", hint)
	}
	_, err = update(client(t, Options{}), s.source(), Source{Name: "debian", Mirrors: []string{s.URL}, Suite: "bookworm-backportz", Components: []string{"main"}, Keyring: public(t, s.Keys...)})
	refused(t, err, fault.NotFound, "fetch release file of debian bookworm-backportz: "+s.URL)
	if hint := fault.All(err)[0].Hint; !strings.HasPrefix(hint, "did you mean bookworm-backports? ") {
		t.Errorf("the hint is %q", hint)
	}
	_, err = update(client(t, Options{Offline: true}), sources...)
	refused(t, err, fault.NotFound, "offline", "never fetched")
}

func TestMeant(t *testing.T) {
	for suite, want := range map[string]string{
		"bokworm": "did you mean bookworm?", "trixi": "did you mean trixie?", "bookworm-update": "did you mean bookworm-updates?", "stabel": "did you mean stable?",
		"bookworm": "check the name", "noble": "check the name", "./": "check the name", "kali-rolling": "check the name",
	} {
		if got := meant(suite); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", suite, got)
		}
	}
}
