package builder_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/debian/archive/archivetest"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// debianArchive is a Debian of made-up packages, with a project whose recipe is made of them.
type debianArchive struct {
	*project
	*archivetest.Site
	main, updates, security *archivetest.Suite
}

// newDebianArchive has a base of three packages. Its release files are of yesterday.
func newDebianArchive(t *testing.T) *debianArchive {
	t.Helper()
	d := &debianArchive{project: newProject(t), Site: archivetest.New(t, time.Now())}
	d.main, d.updates, d.security = d.Suite("bookworm"), d.Suite("bookworm-updates"), d.Suite("bookworm-security")
	for _, u := range d.suites() {
		u.Date, u.Archs = time.Now().Add(-24*time.Hour).Truncate(time.Second), []string{"amd64", "arm64"}
	}
	d.main.Packages = []archivetest.Package{
		archivetest.Made("apt", "2.6", "Architecture: all\nDepends: libc\n"),
		archivetest.Made("bash", "5.2", "Architecture: all\nEssential: yes\n"),
		archivetest.Made("libc", "2.36", "Architecture: all\n"),
	}
	d.publish()
	d.write("archive.gpg", string(d.Keyring()), 0o644)
	return d
}

func (d *debianArchive) suites() []*archivetest.Suite {
	return []*archivetest.Suite{d.main, d.updates, d.security}
}

func (d *debianArchive) publish() {
	for _, u := range d.suites() {
		u.Publish()
	}
}

// later adds packages to a suite; the archive is a minute newer.
func (d *debianArchive) later(u *archivetest.Suite, packages ...archivetest.Package) {
	u.Packages = append(u.Packages, packages...)
	for _, u := range d.suites() {
		u.Date = u.Date.Add(time.Minute)
	}
	d.publish()
}

// options are for a recipe with these keys.
func (d *debianArchive) options(more string, change ...func(*builder.Options)) builder.Options {
	d.t.Helper()
	o := builder.Options{Store: d.store, Platform: "linux/amd64", Recipe: d.recipe(fmt.Sprintf(
		"base: {debian: bookworm, mirrors: [%q], security_mirrors: [%q], keyring: archive.gpg}\n%s", d.URL, d.URL, more))}
	for _, c := range change {
		c(&o)
	}
	return o
}

func (d *debianArchive) lock(o builder.Options, l builder.LockOptions) builder.Locked {
	d.t.Helper()
	got, err := builder.Lock(context.Background(), o, l)
	if err != nil {
		d.t.Fatal(err)
	}
	return got
}

func (d *debianArchive) lockPath() string { return filepath.Join(d.dir, "app.yaml.lock") }

func (d *debianArchive) locked() *recipes.Lock {
	d.t.Helper()
	l, err := recipes.LoadLock(d.lockPath())
	if err != nil {
		d.t.Fatal(err)
	}
	return l
}

// changed lists changes in a line: "~name 1->2 +name 1".
func changed(list []builder.Change) string {
	var all []string
	for _, c := range list {
		switch {
		case c.From == "":
			all = append(all, fmt.Sprintf("+%s:%s %s", c.Name, c.Arch, c.To))
		case c.To == "":
			all = append(all, fmt.Sprintf("-%s:%s %s", c.Name, c.Arch, c.From))
		default:
			all = append(all, fmt.Sprintf("~%s:%s %s->%s", c.Name, c.Arch, c.From, c.To))
		}
	}
	return strings.Join(all, " ")
}

// A named package is updated with what is built from the same source; everything else keeps its version, and the image its date.
func TestLockUpdateOfAPackage(t *testing.T) {
	d := newDebianArchive(t)
	version := func(v string) []archivetest.Package {
		return []archivetest.Package{
			archivetest.Made("tool", v, "Source: tools\nDepends: libtool (= "+v+"), other\n"), archivetest.Made("libtool", v, "Source: tools\n"), archivetest.Made("other", v, ""),
		}
	}
	d.later(d.main, version("1.0")...)
	o := d.options("packages: [tool]\n")
	first := d.lock(o, builder.LockOptions{})
	want(t, "first lock", changed(first.Changes), "+apt:amd64 2.6 +bash:amd64 5.2 +libc:amd64 2.36 +libtool:amd64 1.0 +other:amd64 1.0 +tool:amd64 1.0")
	before := d.locked()
	d.main.Packages = d.main.Packages[:3] // what is new takes the place of what was
	d.later(d.main, append(version("1.1"), archivetest.Made("bash", "5.3", "Architecture: all\nEssential: yes\n"))...)
	if got := d.lock(o, builder.LockOptions{}); got.Changed {
		t.Errorf("pins that serve changed: %s", changed(got.Changes))
	}
	got := d.lock(o, builder.LockOptions{Update: true, Names: []string{"tool"}})
	want(t, "update of a package", changed(got.Changes), "~libtool:amd64 1.0->1.1 ~tool:amd64 1.0->1.1")
	after := d.locked()
	if fmt.Sprint(after.Debian.Suites) != fmt.Sprint(before.Debian.Suites) {
		t.Errorf("the image's date moved: %v, %v", before.Debian.Suites, after.Debian.Suites)
	}
	if other := pinOf(after, "amd64", "other"); other.Version != "1.0" || other != pinOf(before, "amd64", "other") {
		t.Errorf("other is pinned as %+v", other)
	}
	if _, err := builder.Lock(context.Background(), o, builder.LockOptions{Update: true, Names: []string{"tol"}}); !fault.Is(err, fault.NotFound) {
		t.Errorf("update of what is not pinned: %v", err)
	}
	got = d.lock(o, builder.LockOptions{Update: true})
	want(t, "update of all", changed(got.Changes), "~bash:amd64 5.2->5.3 ~other:amd64 1.0->1.1")
	if after := d.locked(); fmt.Sprint(after.Debian.Suites) == fmt.Sprint(before.Debian.Suites) {
		t.Error("the image's date stays at an update of everything")
	}
}

func pinOf(l *recipes.Lock, arch, name string) recipes.LockedPackage {
	for _, p := range l.Debian.Packages[arch].All() {
		if p.Name == name {
			return p
		}
	}
	return recipes.LockedPackage{}
}

// What outdated shows is marked when it comes from the security archive, and only then.
func TestOutdatedMarksSecurity(t *testing.T) {
	d := newDebianArchive(t)
	d.later(d.main, archivetest.Made("tool", "1.0", "Depends: libtool\n"), archivetest.Made("libtool", "1.0", ""), archivetest.Made("plain", "1.0", ""))
	o := d.options("packages: [tool, plain]\n")
	d.lock(o, builder.LockOptions{Platforms: []string{"linux/amd64"}})
	if list, err := builder.Outdated(context.Background(), o); err != nil || len(list) > 0 {
		t.Fatalf("%+v %v", list, err)
	}
	d.later(d.security, archivetest.Made("libtool", "1.0+deb12u1", ""), archivetest.Made("bash", "5.2+deb12u1", "Architecture: all\nEssential: yes\n"))
	d.later(d.updates, archivetest.Made("plain", "1.1", ""))
	lock, err := os.ReadFile(d.lockPath())
	if err != nil {
		t.Fatal(err)
	}
	list, err := builder.Outdated(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range list {
		got = append(got, fmt.Sprintf("%s %s:%s %s->%s %s %v", n.Kind, n.Name, n.Arch, n.Locked, n.Available, n.Suite, n.Security))
	}
	want(t, "outdated", strings.Join(got, "\n"), `
package bash:amd64 5.2->5.2+deb12u1 bookworm-security true
package libtool:amd64 1.0->1.0+deb12u1 bookworm-security true
package plain:amd64 1.0->1.1 bookworm-updates false`)
	if now, err := os.ReadFile(d.lockPath()); err != nil || string(now) != string(lock) {
		t.Errorf("outdated changed the lockfile: %v", err)
	}
}

// A lockfile that lost a line of its base is refused before anything is asked for, with the line and a way out.
func TestLockfileThatLostALine(t *testing.T) {
	d := newDebianArchive(t)
	o := d.options("")
	d.lock(o, builder.LockOptions{})
	whole, err := os.ReadFile(d.lockPath())
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(string(whole)))
	bash := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, "- bash ") })
	if err := os.WriteFile(d.lockPath(), []byte(strings.Join(slices.Delete(lines, bash, bash+1), "")), 0o644); err != nil {
		t.Fatal(err)
	}
	d.Requests()
	for name, change := range map[string]func(*builder.Options){"bake": func(*builder.Options) {}, "locked": func(o *builder.Options) { o.Locked = true }, "offline": func(o *builder.Options) { o.Offline = true }} {
		o := d.options("")
		change(&o)
		_, err := builder.Bake(context.Background(), o)
		e := fault.All(err)
		if len(e) != 1 || e[0].Code != fault.Invalid || !strings.HasSuffix(e[0].File, "app.yaml.lock") || e[0].Line == 0 || !strings.Contains(e[0].Message, "base has 2 packages and was written with 3") || !strings.Contains(e[0].Hint, "release lock --update") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := builder.Lock(context.Background(), o, builder.LockOptions{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("lock: %v", err)
	}
	if asked := d.Requests(); len(asked) > 0 {
		t.Errorf("the archive was asked for %v", asked)
	}
	got := d.lock(o, builder.LockOptions{Update: true})
	if want(t, "made anew", changed(got.Changes), "+bash:amd64 5.2"); !got.Changed {
		t.Error("it was not written")
	}
	if now, err := os.ReadFile(d.lockPath()); err != nil || string(now) != string(whole) {
		t.Errorf("%v: it is\n%s\nit was\n%s", err, now, whole)
	}
}

// Pins that do nothing are told with what was meant; those for a suite that is not there are an error at their place.
func TestPinsThatMatchNothing(t *testing.T) {
	d := newDebianArchive(t)
	d.later(d.main, archivetest.Made("nginx", "1.22", ""))
	var notes []string
	noted := func(o *builder.Options) {
		o.Progress = func(e builder.Event) {
			if e.Kind == builder.Note {
				notes = append(notes, e.Line)
			}
		}
	}
	d.lock(d.options("packages: [nginx]\npins:\n  - {package: ngnix, version: \"1.*\", priority: 900}\n  - {package: nginx, version: \"1.*\", priority: 900}\n  - {package: nginx, version: \"2.*\", priority: 900}\n", noted), builder.LockOptions{})
	text := strings.Join(notes, "\n")
	for _, line := range []string{"app.yaml:4:5: a pin that changes nothing: there is no package ngnix, did you mean nginx?", "app.yaml:6:5: a pin that changes nothing: package nginx has no version 2.*, only 1.22 (bookworm)"} {
		if !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	if strings.Contains(text, "yaml:5:") {
		t.Errorf("a good pin is told:\n%s", text)
	}
	_, err := builder.Lock(context.Background(), d.options("packages: [nginx]\npins: [{package: \"*\", suite: bookworm-securty, priority: 900}]\n"), builder.LockOptions{})
	if e := fault.All(err); len(e) != 1 || e[0].Code != fault.Invalid || e[0].Line != 3 || !strings.Contains(e[0].Message, "did you mean bookworm-security?") {
		t.Errorf("%v", err)
	}
}

// All packages that there are not are told at once, each at its place.
func TestUnknownPackagesAtOnce(t *testing.T) {
	d := newDebianArchive(t)
	d.later(d.main, archivetest.Made("nginx", "1.22", ""))
	_, err := builder.Lock(context.Background(), d.options("packages: [python3-flsk, nginx, ngnix]\n"), builder.LockOptions{})
	all := fault.All(err)
	if len(all) != 2 || all[0].Line != 2 || all[0].Column != 12 || !strings.Contains(all[0].Message, "python3-flsk") ||
		all[1].Line != 2 || all[1].Column != 33 || !strings.Contains(all[1].Message, "ngnix") {
		t.Errorf("%v", err)
	}
}

// When a new wish does not fit the pinned versions, those of all architectures in the lockfile are chosen anew where they must be.
func TestOtherArchitecturesAreChosenAnew(t *testing.T) {
	d := newDebianArchive(t)
	for _, arch := range []string{"amd64", "arm64"} {
		d.later(d.main, archivetest.Made("app", "1.0", "Architecture: "+arch+"\nDepends: libx (= 1.0)\n"), archivetest.Made("libx", "1.0", "Architecture: "+arch+"\n"))
	}
	both := builder.LockOptions{Platforms: []string{"linux/amd64", "linux/arm64"}}
	d.lock(d.options("packages: [app]\n"), both)
	d.main.Packages = d.main.Packages[:3]
	for _, arch := range []string{"amd64", "arm64"} {
		d.later(d.main, archivetest.Made("app", "2.0", "Architecture: "+arch+"\nDepends: libx (= 2.0)\n"), archivetest.Made("libx", "2.0", "Architecture: "+arch+"\n"),
			archivetest.Made("more", "2.0", "Architecture: "+arch+"\nDepends: libx (>= 2)\n"), archivetest.Made("plain", "2.0", "Architecture: "+arch+"\n"))
	}
	var notes []string
	got := d.lock(d.options("packages: [app, plain]\n"), builder.LockOptions{})
	want(t, "a wish that fits", changed(got.Changes), "+plain:amd64 2.0 +plain:arm64 2.0")
	got = d.lock(d.options("packages: [app, plain, more]\n", func(o *builder.Options) {
		o.Progress = func(e builder.Event) { notes = append(notes, e.Line) }
	}), builder.LockOptions{})
	want(t, "a wish that does not", changed(got.Changes), "~app:amd64 1.0->2.0 ~app:arm64 1.0->2.0 ~libx:amd64 1.0->2.0 ~libx:arm64 1.0->2.0 +more:amd64 2.0 +more:arm64 2.0")
	for _, arch := range []string{"amd64", "arm64"} {
		if !slices.Contains(notes, "the packages for "+arch+" do not fit the versions of the lockfile: choosing all of them anew") {
			t.Errorf("%s: nothing was said in %q", arch, notes)
		}
	}
}

// A pipe in a keyring's place is refused, not waited for.
func TestKeyringThatIsAPipe(t *testing.T) {
	d := newDebianArchive(t)
	if err := errors.Join(os.Remove(filepath.Join(d.dir, "archive.gpg")), syscall.Mkfifo(filepath.Join(d.dir, "archive.gpg"), 0o600)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	o := d.options("")
	go func() { _, err := builder.Lock(t.Context(), o, builder.LockOptions{}); done <- err }()
	select {
	case err := <-done:
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "it is a pipe") {
			t.Errorf("%v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it hangs")
	}
}
