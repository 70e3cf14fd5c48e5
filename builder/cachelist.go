package builder

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/images"
)

// CacheList lists the pieces of the bake cache in a store, for images.Store.GC: what each costs, when it was used last,
// and what it keeps. Call it while no bake runs, under the store's exclusive hold, or for a look only. The dates of the newest package
// archives, which guard against replays, are no piece.
func CacheList(s *images.Store) ([]images.Cached, error) {
	l := &cacheList{cache: &cache{dir: filepath.Join(s.Dir(), "cache"), store: s}}
	for _, read := range []func() error{l.records, l.machines, l.small, l.downloads, l.folders} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return l.found, nil
}

type cacheList struct {
	cache *cache
	found []images.Cached
}

// add adds a piece unless it is gone meanwhile.
func (l *cacheList) add(c images.Cached) error {
	for i, path := range c.Paths {
		bytes, used, err := images.UseOf(path)
		if errors.Is(err, fs.ErrNotExist) && i > 0 {
			continue
		}
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		c.Bytes += bytes
		if used.After(c.Used) {
			c.Used = used
		}
	}
	l.found = append(l.found, c)
	return nil
}

// each goes through the files that a pattern below the cache names, without those under way.
func (l *cacheList) each(pattern string, do func(path string) error) error {
	paths, err := filepath.Glob(filepath.Join(quoteGlob(l.cache.dir), pattern))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if strings.HasPrefix(filepath.Base(path), ".tmp-") {
			continue
		}
		if err := do(path); err != nil {
			return err
		}
	}
	return nil
}

func quoteGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// kept is what records of steps and bases name.
type kept struct {
	Step   string              `json:"step"`
	Layer  *images.Descriptor  `json:"layer"`
	Layers []images.Descriptor `json:"layers"`
	Image  images.Digest       `json:"image"`
}

// records lists what steps made and which images bases are.
func (l *cacheList) records() error {
	var errs []error
	for _, kind := range []struct{ pattern, name string }{{"steps/*/*", "step"}, {"layers/*/*", "layers"}, {"bases/*", "base"}} {
		errs = append(errs, l.each(kind.pattern, func(path string) error { return l.record(kind.name, path) }))
	}
	return errors.Join(errs...)
}

func (l *cacheList) record(kind, path string) error {
	c := images.Cached{Kind: kind, Name: pieceName(strings.TrimSuffix(path, ".json")), Paths: []string{path}}
	var k kept
	if !readQuietly(path, &k) {
		c.Broken = "it cannot be read"
		return l.add(c)
	}
	if k.Step != "" {
		c.Name = k.Step
	}
	if k.Layer != nil {
		k.Layers = append(k.Layers, *k.Layer)
	}
	for _, d := range k.Layers {
		c.Layers = append(c.Layers, d.Digest)
		if !l.cache.store.Has(d.Digest) {
			c.Broken = "its layer is gone"
		}
	}
	if kind != "base" {
		return l.add(c)
	}
	c.Name, c.Images = k.Image.Short(), []images.Digest{k.Image}
	if !l.cache.store.Has(k.Image) {
		c.Broken, c.Images = "its image is gone", nil
	}
	return l.add(c)
}

// machines lists the parts that machines boot with, what disks were made of, and what boot tests left. A disk is not kept for what it
// was made of: it goes with its image, and is made anew in a moment.
func (l *cacheList) machines() error {
	kernel := func(path string) error {
		c := images.Cached{Kind: "kernel", Name: pieceName(path), Paths: []string{path}}
		var parts kernelParts
		if !readQuietly(path, &parts) {
			c.Broken = "it cannot be read"
			return l.add(c)
		}
		c.Name = parts.Release
		for _, d := range []images.Descriptor{parts.Kernel, parts.Initrd, parts.Stub} {
			c.Layers = append(c.Layers, d.Digest)
			if !l.cache.store.Has(d.Digest) {
				c.Broken = "a part of it is gone"
			}
		}
		return l.add(c)
	}
	disk := func(path string) error {
		var m images.Machine
		readable := readQuietly(path, &m)
		return l.addUnlessGone("disk", path, m.Disk.Digest, readable, "its disk is gone")
	}
	boot := func(path string) error {
		var passed bootPassed
		readable := readQuietly(path, &passed)
		return l.addUnlessGone("boot test", path, images.Digest(passed.Image), readable, "its image is gone")
	}
	console := func(path string) error {
		d, err := images.ParseDigest("sha256:" + strings.TrimSuffix(filepath.Base(path), consoleSuffix))
		return l.addUnlessGone("console", path, d, err == nil, "its image is gone")
	}
	return errors.Join(l.each("kernels/*/*", kernel), l.each("machines/*/*", disk), l.each("boots/*/*", boot), l.each("boots/*"+consoleSuffix, console))
}

// addUnlessGone adds a file that says something about a blob, and is worth nothing without it, but does not keep it.
func (l *cacheList) addUnlessGone(kind, path string, of images.Digest, readable bool, gone string) error {
	c := images.Cached{Kind: kind, Name: pieceName(path), Paths: []string{path}}
	switch {
	case !readable:
		c.Broken = "it cannot be read"
	case !l.cache.store.Has(of):
		c.Broken = gone
	}
	return l.add(c)
}

func pieceName(path string) string {
	name := filepath.Base(path)
	return name[:min(12, len(name))]
}

// small lists records that keep nothing.
func (l *cacheList) small() error {
	var errs []error
	for _, kind := range []struct{ pattern, name string }{
		{"places/*/*", "place"}, {"tests/*/*", "test"}, {"secrets/*/*", "search"}, {"files/*", "file hashes"},
		{"archive/releases/*", "package index"}, {"archive/indexes/*", "package index"},
	} {
		errs = append(errs, l.each(kind.pattern, func(path string) error {
			return l.add(images.Cached{Kind: kind.name, Name: pieceName(path), Paths: []string{path}})
		}))
	}
	errs = append(errs, l.each("sbom/*/*", func(path string) error {
		c := images.Cached{Kind: "components", Name: pieceName(path), Paths: []string{path}}
		if d, err := images.ParseDigest("sha256:" + filepath.Base(path)); err == nil && !l.cache.store.Has(d) {
			c.Broken = "its layer is gone"
		}
		return l.add(c)
	}))
	return errors.Join(errs...)
}

// downloads lists whole downloads, each with its description, and those that were cut.
func (l *cacheList) downloads() error {
	whole := func(path string) error {
		name := filepath.Base(path)
		if name == "partial" || strings.HasSuffix(name, ".json") {
			return nil
		}
		return l.add(images.Cached{Kind: "download", Name: pieceName(path), Paths: []string{path, path + ".json"}})
	}
	cut := func(path string) error {
		if strings.HasSuffix(path, ".json") {
			return nil
		}
		return l.add(images.Cached{Kind: "download under way", Name: pieceName(path), Paths: []string{path, path + ".json"}})
	}
	return errors.Join(l.each("downloads/*", whole), l.each("downloads/partial/*", cut))
}

// folders lists repositories, and what killed bakes left.
func (l *cacheList) folders() error {
	repository := func(path string) error {
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			return nil //nolint:nilerr // git's configuration, or gone
		}
		return l.add(images.Cached{Kind: "repository", Name: pieceName(path), Paths: []string{path}})
	}
	work := func(path string) error {
		if lock, err := os.Open(filepath.Join(path, "lock")); err == nil {
			defer lock.Close()
			if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
				return nil // a bake's that is alive
			}
		}
		return l.add(images.Cached{Kind: "work folder", Name: filepath.Base(path), Paths: []string{path}, Broken: "a bake that was killed left it"})
	}
	return errors.Join(l.each("git/*", repository), l.each("work/*", work))
}

// readQuietly reads a record without making it look used.
func readQuietly(path string, v any) bool {
	f, err := openQuietly(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return json.NewDecoder(f).Decode(v) == nil
}

// openQuietly opens a file so that the kernel does not note the reading, which only its owner may ask for.
func openQuietly(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOATIME, 0)
	if errors.Is(err, fs.ErrPermission) {
		return os.Open(path)
	}
	return f, err
}
