package recipes_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

const lockText = `# Pins of what the recipe gets from elsewhere, written by release. Commit this file.
schema: 2
base:
  image: debian:bookworm-slim
  digest: sha256:` + sum + `
  date: 2024-02-03T04:05:06Z
fetch:
  - url: https://example.org/a?b=c&d
    sha256: ` + sum + `
  - url: https://example.org/x
    sha256: ` + sum + `
    size: 12
    date: 2024-03-01T00:00:00Z
git:
  - url: git@example.org:app.git
    ref: main
    commit: ` + commit + `
  - url: git@example.org:app.git
    ref: "1.10"
    commit: ` + commit + `
`

func lock() *recipes.Lock {
	at := time.Date(2024, 2, 3, 4, 5, 6, 789, time.FixedZone("", 3600)).Add(time.Hour)
	return &recipes.Lock{
		Base: &recipes.LockedBase{Image: "debian:bookworm-slim", Digest: "sha256:" + sum, Date: at},
		Fetch: []recipes.LockedURL{
			{URL: "https://example.org/x", SHA256: strings.Repeat("0", 64)},
			{URL: "https://example.org/x", SHA256: sum, Size: 12, Date: time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)},
			{URL: "https://example.org/a?b=c&d", SHA256: sum},
		},
		Git: []recipes.LockedGit{{URL: "git@example.org:app.git", Ref: "main", Commit: commit}, {URL: "git@example.org:app.git", Ref: "1.10", Commit: commit}},
	}
}

func TestLockRoundTrip(t *testing.T) {
	path := recipes.LockPath(filepath.Join(t.TempDir(), "shop.yaml"))
	l := lock()
	if err := l.Save(path); err != nil {
		t.Fatal(err)
	}
	if filepath.Base(path) != "shop.yaml.lock" {
		t.Errorf("saved as %s", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(lockText, "  - url: git@example.org:app.git\n    ref: main\n    commit: "+commit+"\n  - url: git@example.org:app.git\n    ref: \"1.10\"\n    commit: "+commit+"\n",
		"  - url: git@example.org:app.git\n    ref: \"1.10\"\n    commit: "+commit+"\n  - url: git@example.org:app.git\n    ref: main\n    commit: "+commit+"\n", 1)
	for _, u := range []string{"https://example.org/a?b=c&d"} {
		want = strings.Replace(want, u, `"`+u+`"`, 1)
	}
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Error(diff)
	}
	got, err := recipes.LoadLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if want := time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC); !got.Newest().Equal(want) {
		t.Errorf("newest is %v", got.Newest())
	}
	if u := got.URL("https://example.org/x"); u == nil || u.Size != 12 || got.URL("x") != nil {
		t.Errorf("pin of the download is %+v", u)
	}
	if g := got.Commit("git@example.org:app.git", "main"); g == nil || g.Commit != commit || got.Commit("git@example.org:app.git", "x") != nil {
		t.Errorf("pin of the repository is %+v", g)
	}
}

// A lockfile that says the same already is not touched.
func TestLockSaveUnchanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	if err := lock().Save(path); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock().Save(path); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("written again (%v)", err)
	}
	empty := &recipes.Lock{}
	if err := empty.Save(path); err != nil || !empty.Newest().IsZero() {
		t.Error(err)
	}
	if got, err := recipes.LoadLock(path); err != nil || got.Schema != recipes.LockSchema || got.Base != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLockErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	if _, err := recipes.LoadLock(path); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
	for src, want := range map[string]string{
		"":                      `1:1: the file must be a mapping, but is empty`,
		"schema: 3\nnew: x\n":   `1:9: the lockfile has schema 3, this version of release reads those up to 2`,
		"base: {}\n":            "1:1: schema is missing\n1:7: base.image is missing\n1:7: base.digest is missing",
		"schema: 1\nbass: {}\n": `2:1: unknown key "bass", did you mean "base"?`,
		"schema: 1\nbase: {image: \"\", digest: x}\n":                                               "2:15: \"\" is not the name of an image\n2:27: \"x\" is not a digest",
		"schema: 1\nfetch: [{url: a, sha256: b}]\n":                                                 `2:26: "b" is not a sha256 of 64 hex digits`,
		"schema: 1\ngit: [{url: a, ref: b, commit: \"\"}]\n":                                        `2:32: "" is not a commit of 40 or 64 hex digits`,
		"schema: 1\ngit: [{url: a, ref: b, commit: " + commit + ", date: x}]\n":                     `2:80: git[0].date: parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"`,
		"schema: 1\nfetch:\n  - {url: a, sha256: " + sum + "}\n  - {url: a, sha256: " + sum + "}\n": `4:5: a is pinned twice`,
		"<<<<<<< ours\nschema: 1\n":                                                                 "1:1: the lockfile has an unresolved merge conflict",
	} {
		if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := recipes.LoadLock(path)
		if err == nil || strings.ReplaceAll(err.Error(), path+":", "") != want {
			t.Errorf("%s: got %v", src, err)
		}
	}
}

// What is read is written so that it is read the same.
func FuzzLock(f *testing.F) {
	f.Add([]byte(lockText))
	f.Add([]byte("schema: 1\n"))
	f.Add([]byte("schema: 1\ndebian:\n  request: [debian bookworm]\n  suites: [{name: bookworm}]\n  packages: {amd64: {base: [apt 1 amd64 bookworm 7 " + sum + " p]}}\n"))
	path := filepath.Join(f.TempDir(), "a.lock")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := recipes.LoadLock(path)
		if err != nil {
			if fault.CodeOf(err) != fault.Invalid {
				t.Errorf("got %v", err)
			}
			return
		}
		if err := l.Save(path); err != nil {
			t.Fatal(err)
		}
		again, err := recipes.LoadLock(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(l, again, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

// The pins of packages are lines of text, sorted, so that a review sees what changed.
func TestLockedPackages(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.lock")
	pkg := func(name, version string) recipes.LockedPackage {
		return recipes.LockedPackage{Name: name, Version: version, Arch: "amd64", Suite: "bookworm", Size: 7, SHA256: sum, Path: "pool/main/" + name + ".deb"}
	}
	l := &recipes.Lock{Debian: &recipes.LockedDebian{
		Request:  []string{"package nginx", "debian bookworm"},
		Suites:   []recipes.LockedSuite{{Name: "bookworm", Date: time.Unix(1700000000, 5)}},
		Packages: map[string]recipes.LockedPackages{"amd64": {Base: []recipes.LockedPackage{pkg("libc6", "2.36-9"), pkg("apt", "1:2.6.1~x")}, Added: []recipes.LockedPackage{pkg("nginx", "1")}}},
	}}
	if err := l.Save(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `# Pins of what the recipe gets from elsewhere, written by release. Commit this file.
schema: 2
debian:
  request:
    - debian bookworm
    - package nginx
  suites:
    - name: bookworm
      date: 2023-11-14T22:13:20Z
  packages:
    amd64:
      sum: base 2 added 1 sha256 ` + sumOfPackages + `
      base:
        - apt 1:2.6.1~x amd64 bookworm 7 ` + sum + ` pool/main/apt.deb
        - libc6 2.36-9 amd64 bookworm 7 ` + sum + ` pool/main/libc6.deb
      added:
        - nginx 1 amd64 bookworm 7 ` + sum + ` pool/main/nginx.deb
`
	if string(data) != want {
		t.Errorf("got\n%s\nwant\n%s", data, want)
	}
	again, err := recipes.LoadLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l, again); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"apt 1 amd64 bookworm 7 x pool/apt.deb", "apt 1 amd64 bookworm -7 " + sum + " pool/apt.deb",
		"apt 1 amd64 bookworm 7 " + sum + " ../apt.deb", "apt 1 amd64", "apt  1 amd64 bookworm 7 " + sum + " p"} {
		if err := new(recipes.LockedPackage).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// sumOfPackages is that of TestLockedPackages, by another hand: the lines of the lockfile with what they are, through sha256sum.
const sumOfPackages = "08e9d541a33e5827a03f17eb6460cbb8611cc6305985ec98761006bc5bdcb665"

// A line that was lost, in the base of all places, must not make another image without a word.
func TestLockedPackagesChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	pkg := func(name string) recipes.LockedPackage {
		return recipes.LockedPackage{Name: name, Version: "1", Arch: "amd64", Suite: "bookworm", Size: 7, SHA256: sum, Path: "pool/" + name + ".deb"}
	}
	l := &recipes.Lock{Debian: &recipes.LockedDebian{
		Request: []string{"debian bookworm", "package nginx", "package jq"},
		Suites:  []recipes.LockedSuite{{Name: "bookworm", Date: time.Unix(1700000000, 0)}, {Name: "bookworm-updates", Date: time.Unix(1700000001, 0)}},
		Packages: map[string]recipes.LockedPackages{
			"amd64": {Base: []recipes.LockedPackage{pkg("apt"), pkg("bash"), pkg("dpkg")}, Added: []recipes.LockedPackage{pkg("jq"), pkg("nginx")}},
			"arm64": {Base: []recipes.LockedPackage{pkg("apt")}},
		},
	}}
	if err := l.Save(path); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := func(name string) string {
		return "        - " + name + " 1 amd64 bookworm 7 " + sum + " pool/" + name + ".deb\n"
	}
	const hand = " were changed by hand or in a merge: "
	for name, c := range map[string]struct{ old, new, want string }{
		"nothing":              {"", "", ""},
		"lines in other order": {line("apt") + line("bash"), line("bash") + line("apt"), ""},
		"a line of the base":   {line("bash"), "", "16:7: the pins of amd64" + hand + "base has 2 packages and was written with 3"},
		"a line more":          {line("jq"), line("jq") + line("curl"), "20:7: the pins of amd64" + hand + "added has 3 packages and was written with 2"},
		"all of a part":        {"      added:\n" + line("jq") + line("nginx"), "", "15:7: the pins of amd64" + hand + "added has 0 packages and was written with 2"},
		"another version":      {"bash 1 ", "bash 2 ", "15:7: the pins of amd64" + hand + "a line of it, of the request or of the suites is not as it was written"},
		"a sum":                {"      sum: base 1 ", "      #", "23:5: the pins of arm64" + hand + "it has no sum"},
		"a cut sum":            {"sum: base 1 added 0 sha256", "sum: base", "24:7: the pins of arm64" + hand + "a line of it, of the request or of the suites is not as it was written"},
		"a suite": {"    - name: bookworm-updates\n      date: 2023-11-14T22:13:21Z\n", "", "13:7: the pins of amd64" + hand + "a line of it, of the request or of the suites is not as it was written\n" +
			"22:7: the pins of arm64" + hand + "a line of it, of the request or of the suites is not as it was written"},
		"a schema without sums": {"schema: 2", "schema: 1", ""},
	} {
		text := strings.Replace(string(good), c.old, c.new, 1)
		if c.old != "" && text == string(good) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := recipes.LoadLock(path)
		got := ""
		if err != nil {
			got = strings.ReplaceAll(err.Error(), path+":", "")
			if hint := fault.All(err)[0].Hint; !strings.Contains(hint, "release lock --update") {
				t.Errorf("%s: no next step: %q", name, hint)
			}
		}
		if got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
		if again, err := recipes.LoadLockAsIs(path); err != nil || again.Debian == nil || (again.Schema == 1) != (c.want != "" || c.new == "schema: 1") {
			t.Errorf("%s: as it is: %v", name, err)
		}
	}
}

// What an archive says of a package may be nonsense; the lockfile that is there stays as it is.
func TestLockedPackagesUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	good := recipes.LockedPackage{Name: "a", Version: "1", Arch: "all", Suite: "own", Size: 7, SHA256: sum, Path: "pool/a.deb"}
	save := func(p recipes.LockedPackage) error {
		return (&recipes.Lock{Debian: &recipes.LockedDebian{Packages: map[string]recipes.LockedPackages{"amd64": {Added: []recipes.LockedPackage{p}}}}}).Save(path)
	}
	if err := save(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*recipes.LockedPackage){
		"no hash":       func(p *recipes.LockedPackage) { p.SHA256 = "" },
		"no size":       func(p *recipes.LockedPackage) { p.Size = 0 },
		"no path":       func(p *recipes.LockedPackage) { p.Path = "" },
		"absolute path": func(p *recipes.LockedPackage) { p.Path = "/etc/passwd" },
		"path upward":   func(p *recipes.LockedPackage) { p.Path = "../../etc/passwd" },
		"blank in path": func(p *recipes.LockedPackage) { p.Path = "pool/a b.deb" },
	} {
		bad := good
		change(&bad)
		err := save(bad)
		if err == nil || !strings.Contains(err.Error(), "package a 1 of own cannot be pinned") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := recipes.LoadLock(path); err != nil {
			t.Errorf("%s: the lockfile is spoiled: %v", name, err)
		}
	}
}

// A desktop has some thousand packages.
func TestLongLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	var list []recipes.LockedPackage
	for i := range 6000 {
		name := fmt.Sprintf("package-with-a-long-name-%04d", i)
		list = append(list, recipes.LockedPackage{Name: name, Version: "1:1.0-1", Arch: "amd64", Suite: "bookworm", Size: 7, SHA256: sum, Path: "pool/main/p/" + name + "/" + name + "_amd64.deb"})
	}
	l := &recipes.Lock{Debian: &recipes.LockedDebian{Packages: map[string]recipes.LockedPackages{"amd64": {Base: list}}}}
	if err := l.Save(path); err != nil {
		t.Fatal(err)
	}
	again, err := recipes.LoadLock(path)
	if err != nil || len(again.Debian.Packages["amd64"].Base) != len(list) {
		t.Fatal(err)
	}
}

func TestLockMergeConflict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	if err := os.WriteFile(path, []byte("schema: 1\n<<<<<<< HEAD\nfetch: []\n=======\ngit: []\n>>>>>>> other\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := recipes.LoadLock(path)
	var f *fault.Error
	if !errors.As(err, &f) || f.Line != 2 || !strings.Contains(f.Message, "merge conflict") || f.Hint == "" {
		t.Errorf("%v", err)
	}
}
