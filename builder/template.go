package builder

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"text/template"
	"time"
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

var (
	errTooLong = errors.New("the file gets larger than a template's may")
	errNoEnd   = errors.New("it does not end: look at its loops")
)

// templateTime is how long a template may run. Filling a file takes milliseconds; loops in loops can take years, and nothing
// else would end them.
const templateTime = 20 * time.Second

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
	ended := make(chan error, 1)
	go func() { ended <- t.Execute(out, vars) }() // text/template cannot be stopped: it ends with the program, or at what it writes next
	select {
	case err := <-ended:
		if err != nil {
			return nil, explainTemplate(err, vars)
		}
		return out.Bytes(), nil
	case <-time.After(templateTime):
		out.stopped.Store(true)
		return nil, explainTemplate(errNoEnd, vars)
	}
}

// limited ends a template that writes without end.
type limited struct {
	bytes.Buffer
	stopped atomic.Bool
}

func (l *limited) Write(p []byte) (int, error) {
	if l.stopped.Load() {
		return 0, errNoEnd
	}
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
		"indent": func(n int, text string) (string, error) {
			return replaceAll("\n", "\n"+strings.Repeat(" ", min(max(n, 0), 200)), text)
		},
		"join":    func(sep string, list []string) (string, error) { return notTooLong(strings.Join(list, sep)) },
		"split":   func(sep, text string) []string { return strings.Split(text, sep) },
		"lower":   strings.ToLower,
		"upper":   strings.ToUpper,
		"trim":    strings.TrimSpace,
		"quote":   func(text string) (string, error) { return notTooLong(strconv.Quote(text)) },
		"replace": replaceAll,
		"print":   func(args ...any) (string, error) { return notTooLong(fmt.Sprint(args...)) },
		"println": func(args ...any) (string, error) { return notTooLong(fmt.Sprintln(args...)) },
		"js":      func(args ...any) (string, error) { return notTooLong(template.JSEscaper(args...)) },
		"printf": func(format string, args ...any) (string, error) {
			if pointerVerb.MatchString(format) {
				return "", errors.New("%p would print another value each time")
			}
			return notTooLong(fmt.Sprintf(format, args...))
		},
	}
}

func replaceAll(old, with, text string) (string, error) {
	if strings.Count(text, old)*(len(with)-len(old))+len(text) > maxTemplate {
		return "", errTooLong
	}
	return strings.ReplaceAll(text, old, with), nil
}

// notTooLong ends a template that makes a text longer and longer without writing it.
func notTooLong(text string) (string, error) {
	if len(text) > maxTemplate {
		return "", errTooLong
	}
	return text, nil
}
