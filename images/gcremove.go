package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/removal"
)

// measureRoots looks at all unpacked roots and layers. It walks them, which takes its time: not for under the lock.
func (g *collection) measureRoots() error {
	g.roots = map[string]Cached{}
	if g.o.SpareRoots {
		return nil
	}
	dirs, err := filepath.Glob(filepath.Join(globEscape(g.store.path(rootfsDir)), "*", "*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if strings.HasSuffix(dir, ".lock") {
			continue
		}
		if c, ok := cachedRoot(dir); ok {
			g.roots[dir] = c
		}
	}
	return nil
}

// cachedRoots lists the unpacked roots and layers. Those of pinned images are left out: fleets run on them.
func (g *collection) cachedRoots() ([]Cached, error) {
	listed, pinned, layers := newReferences(), newReferences(), map[string]bool{}
	for _, e := range g.index.Manifests {
		if d := Digest(e.Digest); !g.gone[string(d)] {
			if err := g.store.addReferences(listed, d); err != nil {
				return nil, err
			}
		}
	}
	for d := range g.pinned {
		if err := errors.Join(g.store.addReferences(listed, d), g.store.addReferences(pinned, d)); err != nil {
			return nil, err
		}
	}
	for _, c := range g.caches {
		for _, l := range c.Layers {
			layers[layerPrefix+l.Hex()] = g.store.Has(l)
		}
	}
	var list []Cached
	for _, dir := range slices.Sorted(maps.Keys(g.roots)) {
		name, c := filepath.Base(dir), g.roots[dir]
		if pinned.chains[name] && !strings.HasPrefix(name, layerPrefix) {
			continue
		}
		switch {
		case strings.HasSuffix(name, ".tmp"):
			c.Broken = "unpacking it was cut"
		case !hasMeta(dir):
			c.Broken = "deleting it was cut"
		case !listed.chains[name] && !layers[name] && c.Used.Before(g.young):
			c.Broken = "no image that stays has these layers"
		}
		list = append(list, c)
	}
	return list, nil
}

// hasMeta says that a root is described. One that is not is of no use to anybody: it would be unpacked anew.
func hasMeta(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, rootMeta))
	return !errors.Is(err, fs.ErrNotExist)
}

// cachedRoot is an unpacked root: its description is read by everybody who uses it.
func cachedRoot(dir string) (Cached, bool) {
	c := Cached{Kind: "unpacked root", Name: filepath.Base(dir)[:min(18, len(filepath.Base(dir)))], Paths: []string{dir}}
	if strings.HasPrefix(filepath.Base(dir), layerPrefix) {
		c.Kind = "unpacked layer"
	}
	bytes, used, err := UseOf(dir)
	if err != nil {
		return c, false
	}
	c.Bytes, c.Used = bytes, used
	if info, err := os.Stat(filepath.Join(dir, rootMeta)); err == nil {
		c.Used = fileUse(info)
	}
	return c, true
}

// removeNames carries out what has to be seen at once by who takes the lock next, in the order that leaves nothing after a
// kill which names something that is not there: the list, caches that name images, the lists of artifacts, manifests.
func (g *collection) removeNames(ctx context.Context) error {
	if err := g.removeEntries(); err != nil {
		return err
	}
	if err := g.invalidateRoots(ctx); err != nil {
		return err
	}
	ofImages := func(c Cached) bool { return len(c.Images) > 0 }
	if err := g.removeCaches(ctx, ofImages); err != nil {
		return err
	}
	if err := g.removeReferrers(); err != nil {
		return err
	}
	g.attributeBlobs()
	if err := g.removeDocuments(ctx); err != nil {
		return err
	}
	return g.removeTemps()
}

// removeContent deletes what has no name any more: caches, which name blobs, before those. It has the exclusive hold alone.
func (g *collection) removeContent(ctx context.Context) error {
	if g.o.DryRun {
		return nil
	}
	ofContent := func(c Cached) bool { return len(c.Images) == 0 }
	if err := g.removeCaches(ctx, ofContent); err != nil {
		return err
	}
	return g.removeBlobs(ctx)
}

// removeCaches removes the pieces that go and are chosen.
func (g *collection) removeCaches(ctx context.Context, chosen func(Cached) bool) error {
	if g.o.DryRun {
		return nil
	}
	for _, c := range g.caches {
		if !chosen(c) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.removeCached(c); err != nil {
			return err
		}
	}
	return nil
}

// removeEntries takes images off the list.
func (g *collection) removeEntries() error {
	if g.o.DryRun || len(g.gone) == 0 {
		return nil
	}
	index := g.index
	index.Manifests = slices.DeleteFunc(slices.Clone(index.Manifests), func(e ocispec.Descriptor) bool { return g.gone[string(e.Digest)] })
	return g.store.writeIndex(index)
}

// invalidateRoots makes the roots that go such as Rootfs does not take: it would unpack them anew, and waits with that for
// the hold.
func (g *collection) invalidateRoots(ctx context.Context) error {
	if g.o.DryRun {
		return nil
	}
	for _, c := range g.caches {
		if !c.isRoot() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, path := range c.Paths {
			if err := invalidateRoot(path); err != nil {
				return fmt.Errorf("remove %s %s: %w", c.Kind, c.Name, err)
			}
		}
	}
	return nil
}

func (c Cached) isRoot() bool { return c.Kind == "unpacked root" || c.Kind == "unpacked layer" }

func (g *collection) removeCached(c Cached) error {
	for _, path := range c.Paths {
		remove := removal.Tree
		if c.isRoot() {
			remove = deleteRoot
		}
		err := remove(path)
		if errors.Is(err, fs.ErrPermission) {
			continue // files of ids that this process lacks: a collection inside that namespace removes them
		}
		if err != nil {
			return fmt.Errorf("remove %s %s: %w", c.Kind, c.Name, err)
		}
	}
	return nil
}

// removeReferrers drops the lists of artifacts whose image is gone. What a young list names counts as used.
func (g *collection) removeReferrers() error {
	if !g.o.DryRun {
		return g.store.sweepReferrers(g.used, g.young)
	}
	entries, err := os.ReadDir(g.store.path(referrersDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		hex, _ := strings.CutSuffix(e.Name(), ".json")
		info, err := e.Info()
		if d := Digest(digestPrefix + hex); err == nil && d.Valid() && !g.used.blobs[d] && !info.ModTime().Before(g.young) {
			attached, err := g.store.artifactBlobs(d)
			if err != nil {
				return err
			}
			for _, b := range attached {
				g.used.blobs[b.Digest] = true
			}
		}
	}
	return nil
}

// attributeBlobs says how much each image that goes frees: its blobs that nothing else keeps.
func (g *collection) attributeBlobs() {
	counted := map[Digest]bool{}
	for i := range g.result.Decisions {
		dec := &g.result.Decisions[i]
		if dec.Kind != "image" || dec.Keep {
			continue
		}
		blobs, err := g.store.Blobs(Digest(dec.Name))
		if err != nil {
			continue
		}
		for _, b := range blobs {
			if info, err := os.Stat(g.store.blobPath(b.Digest)); err == nil && !g.used.blobs[b.Digest] && !counted[b.Digest] && info.ModTime().Before(g.young) {
				counted[b.Digest] = true
				dec.Bytes += info.Size()
			}
		}
		g.result.Freed += dec.Bytes
	}
	g.counted = counted
}

// removeTemps removes what killed writers of small files left.
func (g *collection) removeTemps() error {
	patterns := []string{".tmp-*", filepath.Join(pinDir, ".tmp-*"), filepath.Join(referrersDir, ".tmp-*"),
		filepath.Join(factsDir, "*", ".tmp-*"), filepath.Join(gzipDir, ".tmp-*"), filepath.Join("cache", ".tmp-*")}
	for _, p := range patterns {
		paths, err := filepath.Glob(filepath.Join(globEscape(g.store.dir), p))
		if err != nil {
			return err
		}
		for _, path := range paths {
			info, err := os.Lstat(path)
			if err != nil || !info.Mode().IsRegular() || !info.ModTime().Before(g.young) {
				continue
			}
			g.decide(Decision{Kind: "temporary file", Name: filepath.Base(path), Reason: "a write that was cut left it", Bytes: info.Size()})
			if g.o.DryRun {
				continue
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove %s: %w", path, err)
			}
		}
	}
	return nil
}
