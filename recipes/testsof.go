package recipes

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
)

// tests adds the file's tests.
func (l *loader) tests(f *file) {
	for i := range f.Tests {
		e := &f.Tests[i]
		if e.Node == nil {
			continue
		}
		where := fmt.Sprintf("tests[%d]", i)
		t := Test{Cmd: e.Cmd, User: e.User, Within: e.Within.or(defaultWithin), Pos: e.Node.Pos}
		if (e.Node.Get("cmd") == nil) == (e.Node.Get("http") == nil) {
			l.fail(e.Node.Pos, "%s needs either cmd or http", where)
		}
		if e.User != "" {
			l.user(e.Node.Locate("user"), where+".user", e.User)
		}
		if e.HTTP != nil {
			t.HTTP = l.httpTest(e.HTTP, where+".http")
		}
		l.recipe.Tests = append(l.recipe.Tests, t)
	}
}

func (l *loader) httpTest(e *httpTestEntry, where string) *HTTPTest {
	t := &HTTPTest{Path: cmp.Or(e.Path, "/"), Port: e.Port, Host: cmp.Or(e.Host, "localhost"), Status: cmp.Or(e.Status, 200)}
	if !strings.HasPrefix(t.Path, "/") || strings.ContainsAny(t.Path, " #\r\n") {
		l.fail(e.Node.Locate("path"), "%s.path %q must be a path such as /healthz", where, e.Path)
	}
	if e.Body == "" {
		return t
	}
	body, err := regexp.Compile(e.Body)
	if err != nil {
		l.fail(e.Node.Locate("body"), "%s.body is no regular expression: %s", where, err)
	}
	t.Body = body
	return t
}

// wholeTests gives requests the image's port.
func (l *loader) wholeTests() {
	for _, t := range l.recipe.Tests {
		if t.HTTP == nil || t.HTTP.Port != 0 {
			continue
		}
		if len(l.recipe.Ports) == 0 {
			l.fail(t.Pos, "the test's http needs a port: the recipe has no ports")
			continue
		}
		t.HTTP.Port = l.recipe.Ports[0]
	}
}

func (l *loader) allow(f *file) {
	for i, e := range f.Allow {
		if e.Node == nil {
			continue
		}
		if e.Node.Get("path") != nil && !allowPattern.MatchString(e.Path) {
			l.fail(e.Node.Locate("path"), "allow[%d].path %q must be an absolute path in the image, or env:NAME, label:NAME, annotation:NAME, command or history", i, e.Path)
		}
		if e.Node.Get("reason") != nil && strings.TrimSpace(e.Reason) == "" {
			l.fail(e.Node.Locate("reason"), "allow[%d].reason must say why this is no secret", i)
		}
		l.recipe.Allow = append(l.recipe.Allow, Allow{Path: e.Path, Rule: e.Rule, Reason: e.Reason, Pos: e.Node.Pos})
	}
}
