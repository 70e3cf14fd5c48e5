package builder_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/debian/archive/archivetest"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// realArchive has the packages of a real base of Debian, and one more that is made up.
func realArchive(t *testing.T) *debianArchive {
	t.Helper()
	d := &debianArchive{project: newProject(t), Site: archivetest.New(t, time.Now())}
	d.main, d.updates, d.security = d.Suite("bookworm"), d.Suite("bookworm-updates"), d.Suite("bookworm-security")
	for _, u := range d.suites() {
		u.Date, u.Archs = time.Now().Add(-24*time.Hour).Truncate(time.Second), []string{archivetest.Arch()}
	}
	for _, file := range archivetest.Download(t, nil, archivetest.Minbase...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d.main.Packages = append(d.main.Packages, archivetest.Real(t, data))
	}
	d.main.Packages = append(d.main.Packages, archivetest.Made("own-tool", "1.0", "Architecture: all\nDepends: hostname\n"))
	d.publish()
	d.write("archive.gpg", string(d.Keyring()), 0o644)
	return d
}

// A Debian recipe that is locked, with its packages in the cache, needs no network, whatever became of the mirror.
func TestDebianBakeLockedAndOffline(t *testing.T) {
	d := realArchive(t)
	own := func(o *builder.Options) { o.Platform = "" }
	const packages = "packages: [own-tool]\nrun: [{cmd: \"dpkg --audit && dpkg -s own-tool && hostname > /srv/name\"}]\n"
	first, err := builder.Bake(context.Background(), d.options(packages, own))
	if err != nil {
		t.Fatal(err)
	}
	// Another store that has the downloads alone, as one that a collection went over.
	cache := func(s *images.Store) string { return filepath.Join(s.Dir(), "cache", "downloads") }
	other := newStore(t, t.TempDir())
	if err := os.CopyFS(cache(other), os.DirFS(cache(d.store))); err != nil {
		t.Fatal(err)
	}
	d.Close()
	d.Requests()
	offline := func(o *builder.Options) { own(o); o.Locked, o.Offline = true, true }
	again, err := builder.Bake(context.Background(), d.options(packages, offline))
	if err != nil || again.Image != first.Image || !again.Cached || len(again.Steps) != 3 {
		t.Errorf("from the cache: %+v %v", again, err)
	}
	anew, err := builder.Bake(context.Background(), d.options(packages, offline, func(o *builder.Options) { o.Store = other }))
	if err != nil || anew.Image != first.Image || anew.Cached {
		t.Errorf("from the downloads: %+v %v, want %s", anew, err, first.Image)
	}
	if asked := d.Requests(); len(asked) > 0 {
		t.Errorf("the mirror was asked for %v", asked)
	}
	for name, c := range map[string]struct {
		more, say string
		code      fault.Code
	}{
		"a wish that is not locked": {strings.Replace(packages, "own-tool]", "own-tool, hostname]", 1), "package hostname is not in the lockfile", fault.Invalid},
		"packages that are gone":    {packages, "not in the cache: ", fault.NotFound},
	} {
		_, err := builder.Bake(context.Background(), d.options(c.more, offline, func(o *builder.Options) { o.Store = newStore(t, t.TempDir()) }))
		if e := fault.All(err); len(e) != 1 || e[0].Code != c.code || !strings.Contains(e[0].Message, c.say) || e[0].Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A package that the disk did not keep, or that is none, is an error of class failed, not of usage: nobody typed it.
func TestDamagedPackages(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"changed":   func(b []byte) []byte { b[len(b)/2] ^= 0xff; return b },
		"no .deb":   func([]byte) []byte { return []byte("<html>") },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDebianArchive(t)
			d.main.Packages[2].Deb = spoil(d.main.Packages[2].Deb) // as the archive has it, hash and all
			d.publish()
			_, err := builder.Bake(context.Background(), d.options(""))
			if code := fault.CodeOf(err); err == nil || code.ExitCode() != 1 || !strings.Contains(err.Error(), "libc 2.36") {
				t.Errorf("the archive's: %s %v", code, err)
			}
			d = newDebianArchive(t)
			d.Change(d.main.Packages[2].Path(), spoil) // on the way
			_, err = builder.Bake(context.Background(), d.options(""))
			if code := fault.CodeOf(err); err == nil || code.ExitCode() != 1 || !strings.Contains(err.Error(), "libc 2.36") {
				t.Errorf("the mirror's: %s %v", code, err)
			}
		})
	}
}
