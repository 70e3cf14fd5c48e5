package sqlcheck

import (
	"regexp"
	"slices"
	"strings"
)

// acceptance is a comment that accepts one finding.
type acceptance struct {
	at   int
	rule Rule
	why  string // why it cannot accept anything; "" if it can
	used bool
}

var acceptForm = regexp.MustCompile(`^release: ?accept ([a-z-]+): ?\S`)

// accepting reads a comment; nil for one that is not about findings.
func accepting(t token, text string) *acceptance {
	if !strings.HasPrefix(text, "release: accept") && !strings.HasPrefix(text, "release:accept") {
		return nil
	}
	a := &acceptance{at: t.at}
	m := acceptForm.FindStringSubmatch(text)
	switch {
	case m == nil:
		a.why = "the comment accepts nothing: want release: accept RULE: REASON"
	case !slices.Contains(Rules(), Rule(m[1])):
		a.why = "the comment accepts nothing: there is no rule " + m[1]
	case Rule(m[1]) == Unreadable || Rule(m[1]) == Accept:
		a.why = m[1] + " cannot be accepted"
	default:
		a.rule = Rule(m[1])
	}
	return a
}

// accept takes the findings away that a statement's comments accept, one each, and adds those on comments that accept nothing.
func (c *checker) accept(s *statement, findings []located) []located {
	var left []located
	for _, f := range findings {
		i := slices.IndexFunc(s.accepts, func(a *acceptance) bool { return a.rule == f.rule && !a.used })
		if i >= 0 {
			s.accepts[i].used = true
			continue
		}
		left = append(left, f)
	}
	for _, a := range s.accepts {
		switch {
		case a.why != "":
			left = append(left, located{at: a.at, rule: Accept, message: a.why, instead: "the rules are: " + ruleNames()})
		case !a.used:
			left = append(left, located{at: a.at, rule: Accept, instead: "take the comment away, or put it right before the statement",
				message: "the comment accepts nothing: there is no such finding in the statement (" + string(a.rule) + ")"})
		}
	}
	return left
}

func ruleNames() string {
	var names []string
	for _, r := range Rules() {
		if r != Unreadable && r != Accept {
			names = append(names, string(r))
		}
	}
	return strings.Join(names, ", ")
}
