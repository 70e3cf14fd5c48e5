package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/removal"
)

// cachedRoots lists the unpacked roots and layers. Those of pinned images are left out: fleets run on them.
func (g *collection) cachedRoots() ([]Cached, error) {
	if g.o.SpareRoots {
		return nil, nil
	}
	dirs, err := filepath.Glob(filepath.Join(globEscape(g.store.path(rootfsDir)), "*", "*"))
	if err != nil {
		return nil, err
	}
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
	for _, dir := range dirs {
		name := filepath.Base(dir)
		if strings.HasSuffix(name, ".lock") || pinned.chains[name] && !strings.HasPrefix(name, layerPrefix) {
			continue
		}
		c, ok := cachedRoot(dir)
		switch {
		case !ok:
			continue
		case strings.HasSuffix(name, ".tmp"):
			c.Broken = "unpacking it was cut"
		case !listed.chains[name] && !layers[name] && c.Used.Before(g.young):
			c.Broken = "no image that stays has these layers"
		}
		list = append(list, c)
	}
	return list, nil
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

// remove carries out what was decided, and decides on the blobs as it goes through them.
func (g *collection) remove(ctx context.Context) error {
	if err := g.removeNames(); err != nil {
		return err
	}
	for _, c := range g.caches {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.removeCached(c); err != nil {
			return err
		}
	}
	if err := g.removeReferrers(); err != nil {
		return err
	}
	g.attributeBlobs()
	return errors.Join(g.removeBlobs(ctx), g.removeTemps())
}

// removeNames takes images off the list.
func (g *collection) removeNames() error {
	if g.o.DryRun || len(g.gone) == 0 {
		return nil
	}
	index := g.index
	index.Manifests = slices.DeleteFunc(slices.Clone(index.Manifests), func(e ocispec.Descriptor) bool { return g.gone[string(e.Digest)] })
	return g.store.writeIndex(index)
}

func (g *collection) removeCached(c Cached) error {
	if g.o.DryRun {
		return nil
	}
	for _, path := range c.Paths {
		err := removePiece(c.Kind, path)
		if errors.Is(err, fs.ErrPermission) {
			continue // files of ids that this process lacks: a collection inside that namespace removes them
		}
		if err != nil {
			return fmt.Errorf("remove %s %s: %w", c.Kind, c.Name, err)
		}
	}
	return nil
}

func removePiece(kind, path string) error {
	if kind != "unpacked root" && kind != "unpacked layer" {
		return removal.Tree(path)
	}
	if err := removeRoot(path); err != nil {
		return err
	}
	_ = os.Remove(strings.TrimSuffix(path, ".tmp") + ".lock")
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

// removeBlobs removes what nothing references.
func (g *collection) removeBlobs(ctx context.Context) error {
	entries, err := os.ReadDir(g.store.path(blobDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		d := Digest(digestPrefix + e.Name())
		temp := strings.HasPrefix(e.Name(), ".tmp-")
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !temp && !d.Valid() || g.used.blobs[d] {
			continue
		}
		dec := Decision{Kind: "blob", Name: string(d), Reason: "nothing references it", Bytes: info.Size()}
		if temp {
			dec.Kind, dec.Name, dec.Reason = "temporary file", e.Name(), "a write that was cut left it"
		}
		if dec.Keep = !info.ModTime().Before(g.young); dec.Keep {
			dec.Reason = "nothing references it, but it came less than " + shortSpan(g.o.Grace) + " ago"
		}
		if g.decideBlob(dec, d); dec.Keep || g.o.DryRun {
			continue
		}
		if err := os.Remove(g.store.path(blobDir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove blob %s: %w", e.Name(), err)
		}
	}
	if g.o.DryRun {
		return nil
	}
	return atomicfile.SyncDir(g.store.path(blobDir))
}

// decideBlob notes what becomes of a blob, unless an image's decision has told it.
func (g *collection) decideBlob(dec Decision, d Digest) {
	if !g.counted[d] {
		g.decide(dec)
	}
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

// shortSpan is a length of time without the parts that are nought: 1h, not 1h0m0s.
func shortSpan(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
