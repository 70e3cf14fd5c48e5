package builder

import (
	"fmt"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// TestUpdateBySource takes names of source packages for all that is built from them, and says what was likely meant.
func TestUpdateBySource(t *testing.T) {
	pin := func(name, at string) recipes.LockedPackage {
		return recipes.LockedPackage{Name: name, Path: at + "/" + name + "_1_amd64.deb"}
	}
	l := &recipes.Lock{
		Fetch: []recipes.LockedURL{{URL: "https://example.com/tool.tgz"}},
		Debian: &recipes.LockedDebian{Packages: map[string]recipes.LockedPackages{
			"amd64": {Base: []recipes.LockedPackage{pin("libssl3", "pool/main/o/openssl"), pin("libc6", "pool/main/g/glibc")}},
			"arm64": {Added: []recipes.LockedPackage{pin("libssl-dev", "pool/updates/main/o/openssl"), pin("nginx", "pool/main/n/nginx"), pin("nginx-common", "pool/main/n/nginx"),
				pin("libxml2", "pool/main/libx/libxml2"), pin("flat", "pool/main"), pin("odd", "packages/openssl")}},
		}},
	}
	for name, want := range map[string]string{
		"openssl": "map[libssl-dev:true libssl3:true]", "libssl3": "map[libssl3:true]", "nginx": "map[nginx:true]", "libxml2": "map[libxml2:true]",
	} {
		if _, update, err := dropped(l, LockOptions{Update: true, Names: []string{name}}); err != nil || fmt.Sprint(update) != want {
			t.Errorf("%s: %v %v, want %s", name, update, err, want)
		}
	}
	for name, want := range map[string]string{
		"libssl4": "did you mean libssl3? ", "opensl": "did you mean openssl? ", "tool.tar": "did you mean tool.tgz? ", "main": "", "somethingelse": "",
	} {
		_, _, err := dropped(l, LockOptions{Update: true, Names: []string{name}})
		if e := fault.All(err); len(e) != 1 || e[0].Code != fault.NotFound || e[0].Hint != want+"release lock --update without names updates everything" {
			t.Errorf("%s: %v, hint %q", name, err, hints(e))
		}
	}
}

func hints(list []*fault.Error) (all []string) {
	for _, e := range list {
		all = append(all, e.Hint)
	}
	return all
}

func TestNamesOfTests(t *testing.T) {
	for want, cmd := range map[string][]string{"test -z x": {"test", "-z", "x"}, "test nginx -t": {"nginx", "-t"}, "test testing": {"testing"}} {
		if got := testName(recipes.Test{Cmd: cmd}); got != want {
			t.Errorf("%v: %q, want %q", cmd, got, want)
		}
	}
}
