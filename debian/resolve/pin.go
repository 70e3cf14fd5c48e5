package resolve

import (
	"path"
	"strings"

	"github.com/bootandshoot/release/debian"
)

// Pin sets the priority of versions, as a record of apt_preferences(5) does. Of Version, Suite and Origin those that are set
// must all match.
type Pin struct {
	Package string // a name, or a pattern with * and ?; * alone stands for whole suites
	Version string // pattern of versions
	Suite   string // name, codename or archive name of a suite
	Origin  string
	// Priority: negative never, below 100 only what is not installed at all, 500 is what suites have by themselves, 990 before
	// others, from 1000 on even older than what is installed. 0 counts as negative.
	Priority int
}

// Priorities that versions have without a pin: of what is only installed, and of suites.
const (
	installedPriority    = 100
	upgradesPriority     = 100 // NotAutomatic, ButAutomaticUpgrades
	notAutomaticPriority = 1
	suitePriority        = 500
	downgradePriority    = 1000
)

// policy decides which version of a package is the candidate.
type policy struct {
	u      *Universe
	single []Pin // of packages, the first that matches counts
	whole  []Pin // of suites
}

func newPolicy(u *Universe, pins []Pin) policy {
	p := policy{u: u}
	for _, pin := range pins {
		if pin.Package == "" || pin.Package == "*" && pin.Version == "" {
			p.whole = append(p.whole, pin)
		} else {
			p.single = append(p.single, pin)
		}
	}
	return p
}

// candidate is the version of the highest priority, the newest of those; nil for none. An older one than the installed version
// needs a priority of 1000.
func (p policy) candidate(n *node, installed *version) *version {
	var best *version
	bestPriority := -1
	for _, v := range n.versions {
		priority := p.priority(v, v == installed)
		if priority == 0 || priority <= bestPriority {
			continue
		}
		if installed != nil && priority < downgradePriority && v.Version.Compare(installed.Version) < 0 {
			continue
		}
		best, bestPriority = v, priority
	}
	return best
}

func (p policy) priority(v *version, installed bool) int {
	for _, pin := range p.single {
		if p.matches(pin, v) {
			return pin.Priority
		}
	}
	best := -1
	if installed {
		best = installedPriority
	}
	for _, suite := range v.suites {
		if suite != statusSuite {
			best = max(best, p.suitePriority(suite))
		}
	}
	return best
}

func (p policy) suitePriority(suite int) int {
	for _, pin := range p.whole {
		if p.inSuite(pin, suite) {
			return pin.Priority
		}
	}
	if suite < 0 || suite >= len(p.u.suites) {
		return suitePriority
	}
	switch s := p.u.suites[suite]; {
	case s.ButAutomaticUpgrades:
		return upgradesPriority
	case s.NotAutomatic:
		return notAutomaticPriority
	}
	return suitePriority
}

func (p policy) matches(pin Pin, v *version) bool {
	if !matchPattern(pin.Package, v.Name) || pin.Version != "" && !matchVersion(pin.Version, v.Version) {
		return false
	}
	if pin.Suite == "" && pin.Origin == "" {
		return true
	}
	for _, suite := range v.suites {
		if p.inSuite(pin, suite) {
			return true
		}
	}
	return false
}

func (p policy) inSuite(pin Pin, suite int) bool {
	if suite < 0 || suite >= len(p.u.suites) {
		return pin.Suite == "" && pin.Origin == ""
	}
	s := p.u.suites[suite]
	return (pin.Suite == "" || s.called(pin.Suite)) && (pin.Origin == "" || matchPattern(pin.Origin, s.Origin))
}

// called reports whether a suite has the name.
func (s Suite) called(name string) bool {
	return name != "" && (name == s.Name || name == s.Codename || name == s.Archive)
}

// matchPattern compares with * and ?. A pattern that cannot be read matches itself only.
func matchPattern(pattern, s string) bool {
	if !strings.ContainsAny(pattern, "*?[") {
		return pattern == s
	}
	// path.Match keeps * from crossing a slash, which no name or version has.
	ok, err := path.Match(pattern, s)
	return ok && err == nil || pattern == s
}

func matchVersion(pattern string, v debian.Version) bool {
	return matchPattern(pattern, string(v))
}
