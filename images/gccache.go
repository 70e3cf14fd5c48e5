package images

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func statOf(info os.FileInfo) (accessed time.Time, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(st.Atim.Unix()), true
}

// UseOf is the bytes of what is at a path and when it was used last: the latest time at which something in it was read, to
// the day where the disk notes that (mount option relatime), or written. Nothing there is fs.ErrNotExist.
func UseOf(path string) (bytes int64, used time.Time, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, time.Time{}, err
	}
	if !info.IsDir() {
		return info.Size(), fileUse(info), nil
	}
	used = info.ModTime() // listing a folder reads it: its time of reading would be now
	err = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return ignoreGone(err)
		}
		info, err := e.Info()
		if err != nil {
			return ignoreGone(err)
		}
		bytes += info.Size()
		if u := fileUse(info); info.Mode().IsRegular() && u.After(used) {
			used = u
		}
		return nil
	})
	return bytes, used, err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// ownCaches are the caches that this package keeps.
func (g *collection) ownCaches() ([]Cached, error) {
	var list []Cached
	facts, err := filepath.Glob(filepath.Join(globEscape(g.store.path(factsDir)), "*", "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range facts {
		d := Digest(digestPrefix + filepath.Base(path))
		if !d.Valid() {
			continue // a file under way of a process that was killed: swept as a temporary one
		}
		c, ok := cachedFile("facts", d.Short(), path)
		if c.Layers = []Digest{}; !g.store.Has(d) {
			c.Broken = "its layer is gone"
		}
		list = appendIf(list, c, ok)
	}
	zipped, err := filepath.Glob(filepath.Join(globEscape(g.store.path(gzipDir)), "*.gz"))
	if err != nil {
		return nil, err
	}
	for _, path := range zipped {
		base := strings.TrimSuffix(path, ".gz")
		c, ok := cachedFile("compressed layer", filepath.Base(base)[:12], path, base+".json")
		if !g.store.Has(Digest(digestPrefix + filepath.Base(base))) {
			c.Broken = "its layer is gone"
		}
		list = appendIf(list, c, ok)
	}
	return list, nil
}

func appendIf(list []Cached, c Cached, ok bool) []Cached {
	if ok {
		return append(list, c)
	}
	return list
}

// cachedFile is a piece of a cache made of files, the first of which says how old it is.
func cachedFile(kind, name string, paths ...string) (Cached, bool) {
	c := Cached{Kind: kind, Name: name, Paths: paths}
	for i, p := range paths {
		bytes, used, err := UseOf(p)
		if i == 0 && err != nil {
			return c, false
		}
		c.Bytes += bytes
		if used.After(c.Used) {
			c.Used = used
		}
	}
	return c, true
}

// leftovers are what killed processes left: nobody holds the store, so nobody uses them.
func (g *collection) leftovers() ([]Cached, error) {
	var list []Cached
	for _, l := range []struct{ kind, pattern, why string }{
		{"partial", filepath.Join(partialDir, "*"), "a pull that was cut left it"},
		{"shell", filepath.Join("cache", "shell", "*"), "a shell that was killed left it"},
	} {
		paths, err := filepath.Glob(filepath.Join(globEscape(g.store.dir), l.pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			c, ok := cachedFile(l.kind, filepath.Base(path), path)
			if ok && (l.kind != "partial" || c.Used.Before(g.young)) { // a pull may go on with a young one
				c.Broken = l.why
				list = append(list, c)
			}
		}
	}
	return list, nil
}

// chooseCaches decides which pieces of caches go: those that are worth nothing, then the least recently used until the
// rest fits the limit. What images that stay use costs a cache nothing.
func (g *collection) chooseCaches(context.Context) error {
	own, err := g.ownCaches()
	if err != nil {
		return err
	}
	left, err := g.leftovers()
	if err != nil {
		return err
	}
	roots, err := g.cachedRoots()
	if err != nil {
		return err
	}
	g.caches = slices.Concat(g.caches, own, left, roots)
	if g.used, err = g.keptReferences(); err != nil {
		return err
	}
	pieces := g.weigh()
	var total int64
	for _, p := range pieces {
		if p.Broken == "" {
			total += p.cost
		}
	}
	slices.SortStableFunc(pieces, func(a, b *piece) int { return a.Used.Compare(b.Used) })
	for _, p := range pieces {
		switch {
		case p.Broken != "":
			p.goes, p.why = true, p.Broken
			continue
		case g.o.CacheLimit < 0:
			p.why = "there is no limit for caches"
		case total > g.o.CacheLimit && p.cost > 0:
			p.goes, p.why = true, "least recently used, and the caches are over their limit"
		default:
			p.why = "the caches are within their limit"
		}
		if p.goes {
			total -= p.cost
		}
	}
	g.settle(pieces)
	g.result.Cache = total
	return nil
}

// piece is a cached thing with what it costs to keep.
type piece struct {
	Cached
	cost int64 // bytes that go with it: its own, and blobs that it alone keeps
	goes bool
	why  string
}

// weigh shares the cost of blobs that several pieces keep among them: it counts with the one used last.
func (g *collection) weigh() []*piece {
	pieces := make([]*piece, 0, len(g.caches))
	for _, c := range g.caches {
		pieces = append(pieces, &piece{Cached: c})
	}
	slices.SortStableFunc(pieces, func(a, b *piece) int { return b.Used.Compare(a.Used) })
	counted := map[Digest]bool{}
	for _, p := range pieces {
		p.cost = p.Bytes
		for _, d := range p.blobs(g.store) {
			if counted[d] || g.used.blobs[d] || p.Broken != "" {
				continue
			}
			counted[d] = true
			if info, err := os.Stat(g.store.blobPath(d)); err == nil {
				p.cost += info.Size()
			}
		}
	}
	return pieces
}

// blobs is all blobs that a piece keeps.
func (p *piece) blobs(s *Store) []Digest {
	list := slices.Clone(p.Layers)
	for _, d := range p.Images {
		list = append(list, d)
		blobs, err := s.Blobs(d)
		if err != nil {
			continue
		}
		for _, b := range blobs {
			list = append(list, b.Digest)
		}
	}
	return list
}

// settle takes what pieces that stay keep among what is used, and notes the decisions.
func (g *collection) settle(pieces []*piece) {
	kept := map[Digest]string{}
	for _, p := range pieces {
		g.decide(Decision{Kind: p.Kind, Name: p.Name, Keep: !p.goes, Reason: p.why, Bytes: p.Bytes})
		if p.goes {
			continue
		}
		for _, d := range p.blobs(g.store) {
			g.used.blobs[d] = true
		}
		for _, d := range p.Images {
			kept[d] = "base of recipes, in the cache of bakes"
		}
	}
	seen := map[Digest]bool{}
	byCache := g.cachedImages()
	for _, e := range slices.Backward(g.index.Manifests) {
		d := Digest(e.Digest)
		if seen[d] || !byCache[d] || g.gone[string(d)] || g.decided(d) {
			continue
		}
		seen[d] = true
		if why, ok := kept[d]; ok {
			g.imageDecision(e, d, []string{why})
			continue
		}
		g.imageDecision(e, d, nil)
	}
	g.caches = g.caches[:0]
	for _, p := range pieces {
		if p.goes {
			g.caches = append(g.caches, p.Cached)
		}
	}
}

func (g *collection) decided(d Digest) bool {
	return slices.ContainsFunc(g.result.Decisions, func(x Decision) bool { return x.Kind == "image" && x.Name == string(d) })
}

// keptReferences is what images that stay use.
func (g *collection) keptReferences() (references, error) {
	refs := newReferences()
	byCache := g.cachedImages()
	for _, e := range g.index.Manifests {
		d := Digest(e.Digest)
		if g.gone[string(d)] || byCache[d] && !g.decided(d) {
			continue
		}
		if err := g.store.addReferences(refs, d); err != nil {
			return refs, err
		}
	}
	for d := range g.pinned {
		if err := g.store.addReferences(refs, d); err != nil {
			return refs, err
		}
	}
	return refs, nil
}
