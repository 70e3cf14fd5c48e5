package recipes

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/plainfile"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// LockPath is where the lockfile of a recipe lies: beside it, with ".lock" added to its name.
func LockPath(recipe string) string { return recipe + ".lock" }

const lockHeader = "# Pins of what the recipe gets from elsewhere, written by release. Commit this file.\n"

var (
	anything      = regexp.MustCompile(`.`)
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	commitPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
)

// LoadLock reads a lockfile. The error is a fault.List with all problems and their places, or fault.NotFound when there
// is no such file.
func LoadLock(path string) (*Lock, error) { return loadLock(path, true) }

// LoadLockAsIs is LoadLock for who makes all pins anew: that lines were lost or changed since it was saved is no error. Such
// a lock has schema 1, as those without sums.
func LoadLockAsIs(path string) (*Lock, error) { return loadLock(path, false) }

func loadLock(path string, sums bool) (*Lock, error) {
	root, readErr := strictyaml.ReadLong(path)
	if root == nil {
		if err := mergeConflict(path); err != nil {
			return nil, err
		}
		return nil, readErr
	}
	if n := root.Get("schema"); n != nil && n.Kind == strictyaml.Int && n.Text != "1" && n.Text != fmt.Sprint(LockSchema) {
		return nil, fault.List{n.Pos.Errorf("the lockfile has schema %s, this version of release reads those up to %d", n.Text, LockSchema).
			WithHint("take a newer release, or remove the file and lock again")}
	}
	l := &Lock{}
	c := lockChecker{root: root, errs: append(strictyaml.Decode(root, l), fault.All(readErr)...)}
	c.check(l)
	if len(c.errs) == 0 && l.Debian != nil && l.Schema == LockSchema {
		l.Debian.checkSums(&c)
		if !sums && len(c.errs) > 0 {
			l.Schema, c.errs = 1, nil
		}
	}
	if err := strictyaml.Sort(c.errs).Err(); err != nil {
		return nil, err
	}
	l.sort()
	return l, nil
}

// mergeConflict says where a file has the marks that version control leaves where two sides changed the same lines.
func mergeConflict(path string) error {
	data, err := plainfile.Read(path, strictyaml.MaxLong)
	if err != nil {
		return nil
	}
	line := 0
	for text := range bytes.Lines(data) {
		if line++; bytes.HasPrefix(text, []byte("<<<<<<< ")) {
			return fault.New(fault.Invalid, "the lockfile has an unresolved merge conflict").At(path, line, 1).
				WithHint("take the whole file of one side, then bring it up to date: release lock")
		}
	}
	return nil
}

type lockChecker struct {
	root *strictyaml.Node
	errs fault.List
}

// form reports text that is there but has not the form that is wanted.
func (c *lockChecker) form(pattern *regexp.Regexp, want string, path ...any) {
	if n := c.root.At(path...); n != nil && n.Kind == strictyaml.Text && !pattern.MatchString(n.Text) {
		c.errs = append(c.errs, n.Pos.Errorf("%q is not %s", n.Text, want))
	}
}

func (c *lockChecker) unique(seen map[string]bool, key string, path ...any) {
	if seen[key] {
		c.errs = append(c.errs, c.root.Locate(path...).Errorf("%s is pinned twice", strings.TrimSpace(key)))
	}
	seen[key] = true
}

func (c *lockChecker) check(l *Lock) {
	if l.Base != nil {
		c.form(anything, "the name of an image", "base", "image")
		c.form(digestPattern, "a digest", "base", "digest")
	}
	if l.Debian != nil {
		l.Debian.check(c)
	}
	seen := map[string]bool{}
	if l.Machine != nil {
		for i, p := range l.Machine.Packages {
			c.unique(seen, "package "+p.Name, "machine", "packages", i)
		}
	}
	for i, x := range l.Extensions {
		if x.SHA256 != "" || x.Commit == "" {
			c.form(sumPattern, "a sha256 of 64 hex digits", "extensions", i, "sha256")
		}
		c.form(commitPattern, "a commit of 40 or 64 hex digits", "extensions", i, "commit")
		c.unique(seen, "extension "+x.Name, "extensions", i)
	}
	for i, f := range l.Fetch {
		c.form(anything, "an address", "fetch", i, "url")
		c.form(sumPattern, "a sha256 of 64 hex digits", "fetch", i, "sha256")
		c.unique(seen, f.URL, "fetch", i)
	}
	for i, g := range l.Git {
		c.form(anything, "an address", "git", i, "url")
		c.form(commitPattern, "a commit of 40 or 64 hex digits", "git", i, "commit")
		c.unique(seen, g.URL+" "+g.Ref, "git", i)
	}
}

// sort orders the lists, keeps the last of several pins of one thing and cuts dates to seconds of UTC.
func (l *Lock) sort() {
	if l.Base != nil {
		l.Base.Date = seconds(l.Base.Date)
	}
	if l.Debian != nil {
		l.Debian.sort()
	}
	if l.Machine != nil {
		slices.Sort(l.Machine.Request)
		l.Machine.Packages = lastOfEach(l.Machine.Packages, LockedPackage.compare)
	}
	l.Extensions = lastOfEach(l.Extensions, func(a, b LockedExtension) int { return cmp.Compare(a.Name, b.Name) })
	for i := range l.Extensions {
		l.Extensions[i].Date = seconds(l.Extensions[i].Date)
	}
	l.Fetch = lastOfEach(l.Fetch, func(a, b LockedURL) int { return cmp.Compare(a.URL, b.URL) })
	for i := range l.Fetch {
		l.Fetch[i].Date = seconds(l.Fetch[i].Date)
	}
	l.Git = lastOfEach(l.Git, func(a, b LockedGit) int {
		return cmp.Or(cmp.Compare(a.URL, b.URL), cmp.Compare(a.Ref, b.Ref))
	})
	for i := range l.Git {
		l.Git[i].Date = seconds(l.Git[i].Date)
	}
}

func lastOfEach[T any](list []T, compare func(a, b T) int) []T {
	sorted := slices.Clone(list)
	slices.Reverse(sorted)
	slices.SortStableFunc(sorted, compare)
	return slices.CompactFunc(sorted, func(a, b T) bool { return compare(a, b) == 0 })
}

func seconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}

// Save writes the lockfile, sorted, so that small changes make small diffs. Nothing is written when nothing changed.
func (l *Lock) Save(path string) error {
	l.Schema = LockSchema
	l.sort()
	l.Debian.sum()
	data, err := strictyaml.Encode(l)
	if err != nil {
		return fmt.Errorf("write lockfile %s: %w", path, err)
	}
	data = append([]byte(lockHeader), data...)
	if old, err := plainfile.Read(path, int64(len(data))); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return atomicfile.Write(path, data, 0o644)
}

// Same reports whether two locks pin the same, in whatever order they list it.
func (l *Lock) Same(o *Lock) bool {
	a, b := *l, *o
	for _, c := range []*Lock{&a, &b} {
		// An empty list is as good as none.
		c.Schema, c.Fetch, c.Git = LockSchema, append([]LockedURL(nil), c.Fetch...), append([]LockedGit(nil), c.Git...)
		c.Extensions = append([]LockedExtension(nil), c.Extensions...)
		c.Debian, c.Machine = c.Debian.unsummed(), c.Machine.clone()
		c.sort()
	}
	return reflect.DeepEqual(a, b)
}

// clone is a copy whose lists can be ordered.
func (m *LockedMachine) clone() *LockedMachine {
	if m == nil {
		return nil
	}
	return &LockedMachine{Request: slices.Clone(m.Request), Packages: slices.Clone(m.Packages)}
}

// Newest is the newest date in the lockfile, the zero time if it has none.
func (l *Lock) Newest() time.Time {
	var newest time.Time
	for _, t := range l.dates() {
		if t.After(newest) {
			newest = t
		}
	}
	return newest
}

func (l *Lock) dates() []time.Time {
	var dates []time.Time
	if l.Base != nil {
		dates = append(dates, l.Base.Date)
	}
	if l.Debian != nil {
		for _, s := range l.Debian.Suites {
			dates = append(dates, s.Date)
		}
	}
	for _, x := range l.Extensions {
		dates = append(dates, x.Date)
	}
	for _, f := range l.Fetch {
		dates = append(dates, f.Date)
	}
	for _, g := range l.Git {
		dates = append(dates, g.Date)
	}
	return dates
}

// URL is the pin of a download, nil if there is none.
func (l *Lock) URL(url string) *LockedURL {
	if i := slices.IndexFunc(l.Fetch, func(f LockedURL) bool { return f.URL == url }); i >= 0 {
		return &l.Fetch[i]
	}
	return nil
}

// Extension is the pin of a plug-in, nil if there is none.
func (l *Lock) Extension(name string) *LockedExtension {
	if i := slices.IndexFunc(l.Extensions, func(x LockedExtension) bool { return x.Name == name }); i >= 0 {
		return &l.Extensions[i]
	}
	return nil
}

// Commit is the pin of a repository and ref, nil if there is none.
func (l *Lock) Commit(url, ref string) *LockedGit {
	if i := slices.IndexFunc(l.Git, func(g LockedGit) bool { return g.URL == url && g.Ref == ref }); i >= 0 {
		return &l.Git[i]
	}
	return nil
}
