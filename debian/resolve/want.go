package resolve

import (
	"strings"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/fault"
)

// Want is one item of a request.
type Want struct {
	Name    string
	Arch    string // "" is the native one
	Version string // exact, or a pattern with *; "" for any
	Suite   string // name, codename or archive name of the suite to take it from; "" for any
	Not     bool   // it must not be installed
}

// ParseWant reads a request in apt's words: name, name:arch, name=version, name/suite, and name- for what must not be there.
func ParseWant(text string) (Want, error) {
	w := Want{Name: strings.TrimSpace(text)}
	if rest, ok := strings.CutSuffix(w.Name, "-"); ok && !strings.ContainsAny(rest, "=/") {
		w.Name, w.Not = rest, true
	}
	if name, version, ok := strings.Cut(w.Name, "="); ok {
		w.Name, w.Version = name, version
		if version == "" {
			return Want{}, badWant(text, "no version follows the =")
		}
	} else if name, suite, ok := strings.Cut(w.Name, "/"); ok {
		w.Name, w.Suite = name, suite
		if suite == "" {
			return Want{}, badWant(text, "no suite follows the /")
		}
	}
	if name, arch, ok := strings.Cut(w.Name, ":"); ok {
		w.Name, w.Arch = name, arch
		if arch == "" {
			return Want{}, badWant(text, "no architecture follows the colon")
		}
	}
	d, err := debian.ParseDependency(w.Name)
	if err != nil || d.Op != "" {
		return Want{}, badWant(text, "%q is no package name", w.Name)
	}
	return w, nil
}

// ParseWants reads a list of requests; the error has all that is wrong with it.
func ParseWants(texts []string) ([]Want, error) {
	wants := make([]Want, 0, len(texts))
	var wrong fault.List
	for _, text := range texts {
		w, err := ParseWant(text)
		if err != nil {
			wrong = append(wrong, fault.All(err)...)
		}
		wants = append(wants, w)
	}
	return wants, wrong.Err()
}

func badWant(text, format string, args ...any) error {
	return fault.New(fault.Invalid, "read package request %q: "+format, append([]any{text}, args...)...).
		WithHint("write name, name:arch, name=version, name/suite or name-")
}

// String is the request as ParseWant reads it.
func (w Want) String() string {
	s := w.Name
	if w.Arch != "" {
		s += ":" + w.Arch
	}
	switch {
	case w.Version != "":
		s += "=" + w.Version
	case w.Suite != "":
		s += "/" + w.Suite
	}
	if w.Not {
		s += "-"
	}
	return s
}
