package builder

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
)

// templateError is a mistake in a template, at its place there.
type templateError struct {
	text, hint   string
	line, column int // from 1; column 0 when it is not known
}

// templateName is what text/template calls the text in its errors.
const templateName = "t"

var (
	templatePlace = regexp.MustCompile(`^template: ` + templateName + `:(\d+)(?::(\d+))?: (?s:(.*))$`)
	executing     = regexp.MustCompile(`^executing "[^"]*" at <(?s:.*?)>: `)
	missingKey    = regexp.MustCompile(`map has no entry for key "([^"]*)"`)
	pointerVerb   = regexp.MustCompile(`%[-+# 0-9.\[\]*]*p`)
)

var errTooLong = errors.New("the file gets larger than a template's may")

// fillTemplate is Go's text/template with a few functions. Nothing in it depends on time, place or machine, so that the same
// variables give the same bytes.
func fillTemplate(text string, vars map[string]string) ([]byte, *templateError) {
	t, err := template.New(templateName).Option("missingkey=error").Funcs(templateFunctions()).Parse(text)
	if err != nil {
		return nil, explainTemplate(err, vars)
	}
	if vars == nil {
		vars = map[string]string{}
	}
	out := &limited{}
	if err := t.Execute(out, vars); err != nil {
		return nil, explainTemplate(err, vars)
	}
	return out.Bytes(), nil
}

// limited ends a template that writes without end.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxTemplate {
		return 0, errTooLong
	}
	return l.Buffer.Write(p)
}

// explainTemplate takes the place out of an error's text and says in the recipe's words what is wrong.
func explainTemplate(err error, vars map[string]string) *templateError {
	e := &templateError{text: err.Error(), line: 1}
	if m := templatePlace.FindStringSubmatch(e.text); m != nil {
		e.text = executing.ReplaceAllString(m[3], "")
		e.line, _ = strconv.Atoi(m[1])
		if n, err := strconv.Atoi(m[2]); err == nil {
			e.column = n + 1
		}
	}
	if m := missingKey.FindStringSubmatch(e.text); m != nil {
		e.text = fmt.Sprintf("template: there is no variable %s", m[1])
		e.hint = fmt.Sprintf("add it to the recipe's vars: %s: …; %s", m[1], thereAre("vars", vars))
		return e
	}
	e.text = "template: " + e.text
	return e
}

// templateFunctions are those besides text/template's own. The value comes last, so that all fit in pipelines.
func templateFunctions() template.FuncMap {
	return template.FuncMap{
		"default": func(otherwise, value string) string {
			if value == "" {
				return otherwise
			}
			return value
		},
		"indent": func(n int, text string) string {
			return strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", min(max(n, 0), 200)))
		},
		"join":    func(sep string, list []string) string { return strings.Join(list, sep) },
		"split":   func(sep, text string) []string { return strings.Split(text, sep) },
		"lower":   strings.ToLower,
		"upper":   strings.ToUpper,
		"trim":    strings.TrimSpace,
		"quote":   strconv.Quote,
		"replace": func(old, with, text string) string { return strings.ReplaceAll(text, old, with) },
		"printf": func(format string, args ...any) (string, error) {
			if pointerVerb.MatchString(format) {
				return "", errors.New("%p would print another value each time")
			}
			return fmt.Sprintf(format, args...), nil
		},
	}
}
