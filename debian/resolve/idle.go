package resolve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// Idle is a pin that no package there is matches: a misspelt one does nothing, and nobody sees it.
type Idle struct {
	Pin int    // its place in the list
	Why string // "there is no package apahce2, did you mean apache2?"
	// Suite says that it names a suite that was not asked for, so that it never will match.
	Suite bool
}

// IdlePins finds those of pins that match none of the packages of the suites.
func IdlePins(pins []Pin, packages []debian.Package, suites []Suite) []Idle {
	p := newPolicy(&Universe{suites: suites}, nil)
	var list []Idle
	for i, pin := range pins {
		if why, suite := p.idle(pin, packages); why != "" {
			list = append(list, Idle{i, why, suite})
		}
	}
	return list
}

// idle says why a pin matches nothing; "" when it matches something.
func (p policy) idle(pin Pin, packages []debian.Package) (why string, suite bool) {
	if pin.Suite != "" && !slices.ContainsFunc(p.u.suites, func(s Suite) bool { return s.called(pin.Suite) }) {
		var names []string
		for _, s := range p.u.suites {
			names = append(names, s.Name)
		}
		return fmt.Sprintf("there is no suite or repository %s%s; there are %s", pin.Suite, didYouMean(pin.Suite, names), strings.Join(names, ", ")), true
	}
	var named []debian.Package
	for _, q := range packages {
		if pin.Package != "" && !matchPattern(pin.Package, q.Name) {
			continue
		}
		if p.inSuite(pin, q.Suite) && (pin.Version == "" || matchVersion(pin.Version, q.Version)) {
			return "", false
		}
		named = append(named, q)
	}
	where := ""
	if pin.Suite != "" {
		where = " in " + pin.Suite
	}
	switch pattern := strings.ContainsAny(pin.Package, "*?["); {
	case pin.Package == "*" && pin.Version == "":
		return "", false // the whole suite, which may have nothing at times
	case len(named) > 0 && pattern:
		return fmt.Sprintf("no package %s has the version %s%s", pin.Package, cmp.Or(pin.Version, "*"), where), false
	case len(named) > 0:
		return fmt.Sprintf("package %s has no version %s%s, only %s", pin.Package, cmp.Or(pin.Version, "*"), where, p.versionsOf(named)), false
	}
	var names []string
	for _, q := range packages {
		names = append(names, q.Name)
	}
	return fmt.Sprintf("there is no package %s%s", pin.Package, didYouMean(pin.Package, slices.Compact(slices.Sorted(slices.Values(names))))), false
}

func didYouMean(name string, names []string) string {
	if near := strictyaml.Nearest(name, names); near != "" {
		return ", did you mean " + near + "?"
	}
	return ""
}

// versionsOf lists versions with their suites, as "1.2 (bookworm)".
func (p policy) versionsOf(packages []debian.Package) string {
	var all []string
	for _, q := range packages {
		text := string(q.Version)
		if q.Suite >= 0 && q.Suite < len(p.u.suites) {
			text += " (" + p.u.suites[q.Suite].Name + ")"
		}
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return some(all, 4)
}
