package archive

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// codenames are Debian's releases up to now, oldest first. They are only what a misspelt name is compared with: a name that is
// not among them is asked for like any other.
var codenames = []string{"buzz", "rex", "bo", "hamm", "slink", "potato", "woody", "sarge", "etch", "lenny", "squeeze", "wheezy", "jessie", "stretch",
	"buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid"}

// missing is one error about all suites that no mirror has. They are mostly those of one misspelt name.
func missing(sources []Source, errs []error) error {
	var suites []string
	var said []string
	for i, err := range errs {
		if err == nil {
			continue
		}
		suites = append(suites, sources[i].Suite)
		if _, text, ok := strings.Cut(err.Error(), releaseOf(&sources[i])+": "); ok && !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	switch len(suites) {
	case 0:
		return nil
	case 1:
		return errs[slices.IndexFunc(errs, func(err error) bool { return err != nil })]
	}
	last := len(suites) - 1
	return fault.New(fault.NotFound, "fetch release files of the suites %s and %s: %s", strings.Join(suites[:last], ", "), suites[last], strings.Join(said, "; ")).
		WithHint("%s", meant(suites[0]))
}

// meant is the next step when no mirror has a suite.
func meant(suite string) string {
	const check = "check the name of the suite and the mirror's address: dists lies below it"
	known := slices.Concat(codenames, aliases)
	if slices.Contains(known, suite) || strings.HasSuffix(suite, "/") {
		return check + "; old releases lie on mirrors of their own"
	}
	for _, name := range codenames {
		for _, end := range []string{"-updates", "-security", "-backports", "-proposed-updates"} {
			known = append(known, name+end)
		}
	}
	if near := strictyaml.Nearest(suite, known); near != "" && near != suite {
		return fmt.Sprintf("did you mean %s? Otherwise %s", near, check)
	}
	return check
}
