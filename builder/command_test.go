package builder_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
)

// TestCommandIsInTheImage finds users and programs that the image has not before a node does.
func TestCommandIsInTheImage(t *testing.T) {
	p := newProject(t)
	p.write("etc/passwd", "root:x:0:0::/:/bin/sh\nshop:x:7:7::/:/bin/sh\n", 0o644)
	p.write("bin/web", "x", 0o755)
	p.write("bin/sub/x", "x", 0o755)
	const head = "base: scratch\ncopy:\n  - {from: etc, to: /etc}\n  - {from: bin, to: /usr/local/bin}\n"
	for _, good := range []string{
		"user: shop\nentrypoint: [/usr/local/bin/web]\n", "user: \"1000\"\n", "entrypoint: [web]\n", "entrypoint: [/run/made/later]\n",
		"services: {a: {cmd: [/usr/local/bin/web]}, b: {cmd: [/usr/local/bin/sub/x], user: shop}}\n",
	} {
		p.bake(head + good)
	}
	for _, c := range []struct {
		text, at, says, hint string
	}{
		{"user: bob\n", "app.yaml:5:7", `user: the image has no user "bob"`, "root, shop"},
		{"user: shop:staff\n", "app.yaml:5:7", `user: the image has no group "staff"`, "number"},
		{"entrypoint: [/usr/local/bin/wep]\n", "app.yaml:5:13", "entrypoint: the image has no /usr/local/bin/wep", "did you mean /usr/local/bin/web?"},
		{"entrypoint: [/usr/sbin/web]\n", "app.yaml:5:13", "the image has no /usr/sbin/web", "did you mean /usr/local/bin/web?"},
		{"entrypoint: [/usr/local/bin/sub]\n", "app.yaml:5:13", "/usr/local/bin/sub is a folder of the image", ""},
		{"services:\n  one: {cmd: [/nothing]}\n", "app.yaml:6:3", "services.one.cmd: the image has no /nothing", "copy it"},
		{"services:\n  one: {cmd: [/usr/local/bin/web]}\n  two: {cmd: [/nothing]}\n", "app.yaml:7:3", "services.two.cmd: the image has no /nothing", ""},
	} {
		_, err := p.try(head + c.text)
		e := fault.All(err)
		if len(e) != 1 || e[0].Code != fault.Invalid || filepath.Base(e[0].Position()) != c.at || !strings.Contains(e[0].Message, c.says) || !strings.Contains(e[0].Hint, c.hint) {
			t.Errorf("%q: %v, hint %q, want %s %s", c.text, err, hintOf(e), c.at, c.says)
		}
	}
	if _, err := p.try(head + "user: bob\nentrypoint: [/nothing]\n"); len(fault.All(err)) != 2 {
		t.Errorf("two mistakes: %v", err)
	}
}

func hintOf(list []*fault.Error) string {
	if len(list) == 0 {
		return ""
	}
	return list[0].Hint
}
