package debian

import (
	"fmt"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// ParseRelations reads a relation field of a binary package, such as Depends: relations separated by commas, each of
// alternatives separated by bars. An empty item, as a comma at the end leaves, does not count; an empty field has no
// relations. Architecture and build profile restrictions belong to source packages and are an error here.
func ParseRelations(field string) ([]Relation, error) {
	if strings.TrimSpace(field) == "" {
		return nil, nil
	}
	relations := make([]Relation, 0, strings.Count(field, ",")+1)
	for rest, more := field, true; more; {
		var item string
		item, rest, more = strings.Cut(rest, ",")
		if strings.TrimSpace(item) == "" {
			continue
		}
		relation, err := parseRelation(item)
		if err != nil {
			return nil, err
		}
		relations = append(relations, relation)
	}
	return relations, nil
}

// ParseProvides reads a Provides field: names, each with the version (Op "=") that it is provided in or without.
func ParseProvides(field string) ([]Dependency, error) {
	relations, err := ParseRelations(field)
	if err != nil {
		return nil, err
	}
	provided := make([]Dependency, 0, len(relations))
	for _, r := range relations {
		if len(r) != 1 {
			return nil, fault.New(fault.Failed, "read provided package %q: it has alternatives", r)
		}
		if d := r[0]; d.Op != "" && d.Op != "=" {
			return nil, fault.New(fault.Failed, "read provided package %q: a version is provided with = only", d)
		}
		provided = append(provided, r[0])
	}
	return provided, nil
}

func parseRelation(item string) (Relation, error) {
	relation := make(Relation, 0, strings.Count(item, "|")+1)
	for rest, more := item, true; more; {
		var alternative string
		alternative, rest, more = strings.Cut(rest, "|")
		d, err := ParseDependency(alternative)
		if err != nil {
			return nil, err
		}
		relation = append(relation, d)
	}
	return relation, nil
}

// ParseDependency reads one alternative: name[:arch] [(op version)].
func ParseDependency(text string) (Dependency, error) {
	text = trim(text)
	end := strings.IndexAny(text, ":( \t\n\r[<")
	if end < 0 {
		end = len(text)
	}
	d, rest := Dependency{Name: text[:end]}, text[end:]
	if err := checkName(d.Name); err != nil {
		return Dependency{}, wrong(text, err.Error())
	}
	if strings.HasPrefix(rest, ":") {
		end := 1
		for end < len(rest) && (isLetter(rest[end]) || isDigit(rest[end]) || rest[end] == '-') {
			end++
		}
		if d.Arch, rest = rest[1:end], rest[end:]; d.Arch == "" {
			return Dependency{}, wrong(text, "no architecture follows the colon")
		}
	}
	if rest = trim(rest); rest == "" {
		return d, nil
	}
	return parseVersioned(d, text, rest)
}

// parseVersioned reads the version in brackets, all that may follow a name.
func parseVersioned(d Dependency, text, rest string) (Dependency, error) {
	switch rest[0] {
	case '(':
	case '[', '<':
		return Dependency{}, wrong(text, "restrictions in [] and <> belong to source packages")
	default:
		return Dependency{}, wrong(text, "more follows the name than a version in brackets")
	}
	inner, after, ok := strings.Cut(rest[1:], ")")
	if !ok {
		return Dependency{}, wrong(text, "the bracket is not closed")
	}
	if after = trim(after); after != "" {
		return Dependency{}, wrong(text, "something follows the version")
	}
	inner = trim(inner)
	version := strings.TrimLeft(inner, "<>=")
	op, ok := operator(inner[:len(inner)-len(version)])
	if !ok {
		return Dependency{}, wrong(text, "a version is compared with << <= = >= or >>")
	}
	d.Op, d.Version = op, Version(trim(version))
	if d.Version == "" || strings.ContainsAny(string(d.Version), " \t\r\n(") {
		return Dependency{}, wrong(text, "that is no version")
	}
	return d, nil
}

// operator gives the comparison; < and > are old forms of <= and >=, none is =.
func operator(s string) (string, bool) {
	switch s {
	case "<<", "<=", "=", ">=", ">>":
		return s, true
	case "<":
		return "<=", true
	case ">":
		return ">=", true
	case "":
		return "=", true
	}
	return "", false
}

func wrong(text, why string) error {
	return fault.New(fault.Failed, "read relation %q: %s", text, why)
}

// checkName takes what dpkg takes as a package name, which is a little more than Policy 5.6.1 allows.
func checkName(name string) error {
	if name == "" {
		return fmt.Errorf("the package name is empty")
	}
	for i := range len(name) {
		c := name[i]
		if !isLetter(c) && !isDigit(c) && (i == 0 || c != '-' && c != '+' && c != '.' && c != '_') {
			return fmt.Errorf("%q is no package name", name)
		}
	}
	return nil
}

// trim is strings.TrimSpace for the blanks of control files.
func trim(s string) string { return strings.Trim(s, " \t\r\n") }

// Accepts reports whether a version satisfies the dependency. Name and Arch are the caller's to compare.
func (d Dependency) Accepts(v Version) bool {
	switch d.Op {
	case "":
		return true
	case "<<":
		return v.Compare(d.Version) < 0
	case "<=":
		return v.Compare(d.Version) <= 0
	case "=":
		return v.Compare(d.Version) == 0
	case ">=":
		return v.Compare(d.Version) >= 0
	case ">>":
		return v.Compare(d.Version) > 0
	}
	return false
}

// String is the dependency as a control file has it.
func (d Dependency) String() string {
	s := d.Name
	if d.Arch != "" {
		s += ":" + d.Arch
	}
	if d.Op != "" {
		s += " (" + d.Op + " " + string(d.Version) + ")"
	}
	return s
}

// String is the relation as a control file has it.
func (r Relation) String() string {
	texts := make([]string, len(r))
	for i, d := range r {
		texts[i] = d.String()
	}
	return strings.Join(texts, " | ")
}
