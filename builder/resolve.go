package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
	"github.com/bootandshoot/release/sandbox"
)

// maxResolving is how many downloads and repositories are looked up at a time.
const maxResolving = 4

// resolve pins what the recipe gets from elsewhere. It keeps pins that are there, adds those that are missing, drops those
// that nothing needs, and saves the lockfile when that changed it. With Locked it only compares.
func (b *bake) resolve(ctx context.Context) (changed bool, err error) {
	path := b.o.LockPath
	if path == "" {
		path = recipes.LockPath(b.recipe.Path)
	}
	old := b.o.Lock
	if old == nil {
		if old, err = loadLock(path); err != nil {
			return false, err
		}
	}
	if b.o.Locked {
		b.lock = old
		return false, b.compare(ctx, old, path)
	}
	if err := b.canInstall(old); err != nil {
		return false, err
	}
	if b.lock, err = b.pins(ctx, old); err != nil {
		return false, err
	}
	if unchanged(old, b.lock) {
		return false, nil
	}
	if err := b.lock.Save(path); err != nil {
		return false, err
	}
	// What was saved counts, not what was in memory: a later bake must see the same.
	if b.lock, err = recipes.LoadLock(path); err != nil {
		return false, err
	}
	if b.o.Lock != nil {
		*b.o.Lock = *b.lock
	}
	return true, nil
}

// canInstall refuses, before an archive is asked, to choose packages that this account could not install. Pinned ones may be
// in the cache, installed.
func (b *bake) canInstall(old *recipes.Lock) error {
	if b.recipe.Base.Debian == nil || !b.lacksIDs() || len(b.compareDebian(old.Debian)) == 0 {
		return nil
	}
	return b.inDebian(fault.New(fault.Denied, "install packages: files of a Debian system belong to many users, and this account has one id").
		WithHint("%s", sandbox.IDsHint()))
}

// unchanged reports whether a lockfile need not be written: it pins the same, and has sums of its packages.
func unchanged(old, next *recipes.Lock) bool {
	return old.Same(next) && (next.Debian == nil || old.Schema == recipes.LockSchema)
}

func loadLock(path string) (*recipes.Lock, error) { return orNew(recipes.LoadLock(path)) }

// orNew is an empty lock where there is no file.
func orNew(l *recipes.Lock, err error) (*recipes.Lock, error) {
	if fault.Is(err, fault.NotFound) {
		return &recipes.Lock{Schema: recipes.LockSchema}, nil
	}
	return l, err
}

// pins makes the lock that the recipe needs out of the one that is there.
func (b *bake) pins(ctx context.Context, old *recipes.Lock) (*recipes.Lock, error) {
	next := &recipes.Lock{Schema: recipes.LockSchema}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxResolving)
	fetches, gits := uniqueFetches(b.recipe), uniqueGits(b.recipe)
	next.Fetch, next.Git = make([]recipes.LockedURL, len(fetches)), make([]recipes.LockedGit, len(gits))
	for i, f := range fetches {
		g.Go(func() (err error) {
			next.Fetch[i], err = b.pinFetch(ctx, f, old.URL(f.URL))
			return err
		})
	}
	for i, r := range gits {
		g.Go(func() (err error) {
			next.Git[i], err = b.pinGit(ctx, r, old.Commit(r.URL, r.Ref))
			return err
		})
	}
	next.Extensions = make([]recipes.LockedExtension, len(b.recipe.Extensions))
	for i, e := range b.recipe.Extensions {
		g.Go(func() (err error) {
			next.Extensions[i], err = b.pinExtension(ctx, e, old.Extension(e.Name))
			return err
		})
	}
	g.Go(func() (err error) {
		next.Base, err = b.pinBase(ctx, old.Base)
		return err
	})
	g.Go(func() (err error) {
		next.Debian, err = b.pinDebian(ctx, old.Debian)
		return err
	})
	g.Go(func() (err error) {
		next.Machine, err = b.pinMachine(ctx, old.Machine)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return next, nil
}

// uniqueFetches lists each URL once; one that states its hash stands for those that do not.
func uniqueFetches(r *recipes.Recipe) []recipes.Fetch {
	var list []recipes.Fetch
	index := map[string]int{}
	for _, f := range r.Fetch {
		i, ok := index[f.URL]
		if !ok {
			index[f.URL] = len(list)
			list = append(list, f)
		} else if list[i].SHA256 == "" {
			list[i] = f
		}
	}
	return list
}

func uniqueGits(r *recipes.Recipe) []recipes.Git {
	var list []recipes.Git
	seen := map[[2]string]bool{}
	for _, g := range r.Git {
		if key := [2]string{g.URL, g.Ref}; !seen[key] {
			seen[key] = true
			list = append(list, g)
		}
	}
	return list
}

// compare lists what the lockfile lacks, has too much or says otherwise.
func (b *bake) compare(ctx context.Context, l *recipes.Lock, path string) error {
	var diffs []string
	diff := func(format string, args ...any) { diffs = append(diffs, fmt.Sprintf(format, args...)) }
	urls, refs := map[string]bool{}, map[[2]string]bool{}
	for _, f := range b.recipe.Fetch {
		urls[f.URL] = true
		switch pin := l.URL(f.URL); {
		case pin == nil:
			diff("fetch %s is not pinned", f.URL)
		case f.SHA256 != "" && f.SHA256 != pin.SHA256:
			diff("fetch %s: the recipe says sha256 %s, the lockfile %s", f.URL, f.SHA256, pin.SHA256)
		}
	}
	for _, g := range b.recipe.Git {
		refs[[2]string{g.URL, g.Ref}] = true
		if l.Commit(g.URL, g.Ref) == nil {
			diff("git %s at %s is not pinned", g.URL, g.Ref)
		}
	}
	for _, f := range l.Fetch {
		if !urls[f.URL] {
			diff("fetch %s is pinned but the recipe does not name it", f.URL)
		}
	}
	for _, g := range l.Git {
		if !refs[[2]string{g.URL, g.Ref}] {
			diff("git %s at %s is pinned but the recipe does not name it", g.URL, g.Ref)
		}
	}
	diffs = append(diffs, b.compareExtensions(l)...)
	diffs = append(diffs, b.compareDebian(l.Debian)...)
	diffs = append(diffs, b.compareMachine(l.Machine)...)
	local, err := b.compareLocal(ctx, l)
	if err != nil {
		return err
	}
	more, err := b.compareBase(ctx, l.Base)
	if err != nil {
		return err
	}
	diffs = append(diffs, local...)
	if diffs = append(diffs, more...); len(diffs) == 0 {
		return nil
	}
	return fault.New(fault.Invalid, "the lockfile does not pin what the recipe names:\n  %s", strings.Join(diffs, "\n  ")).
		At(path, 0, 0).WithHint("bake without --locked to bring the lockfile up to date")
}

// errOffline is why something that would need the network is not done.
var errOffline = errors.New("--offline is given")

func offline(what string) error {
	return fault.New(fault.Unavailable, "%s: not in the cache, and %w", what, errOffline).WithHint("bake once without --offline")
}
