package images

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

// everything collects all that nothing needs, however young.
func everything() GCOptions { return GCOptions{Grace: -1, CacheLimit: -1} }

func gc(t *testing.T, s *Store, o GCOptions) Collected {
	t.Helper()
	return must[Collected](t)(s.GC(context.Background(), o))
}

// decision finds what became of something.
func decision(t *testing.T, c Collected, kind, name string) Decision {
	t.Helper()
	for _, d := range c.Decisions {
		if d.Kind == kind && strings.HasPrefix(strings.TrimPrefix(d.Name, digestPrefix), strings.TrimPrefix(name, digestPrefix)) {
			return d
		}
	}
	t.Fatalf("nothing is decided about %s %s: %+v", kind, name, c.Decisions)
	return Decision{}
}

// TestGCDecides says why each image stays or goes; a dry run says the same and changes nothing.
func TestGCDecides(t *testing.T) {
	s := newStore(t)
	base := fileLayer(t, s, "base", "base")
	put := func(name, content string) Digest { return putImage(t, s, name, base, fileLayer(t, s, "f", content)) }
	v1, v2, v3, v4, v5 := put("shop", "1"), put("shop", "2"), put("shop", "3"), put("shop", "4"), put("shop", "5")
	unnamed, other := put("", "unnamed"), put("other", "other")
	check(t, s.PinFor(t.Context(), "inst", map[Digest][]string{v3: {"shop/production r3 serving"}, v2: {"shop/production r2 warm", "shop/staging r2 serving"}}))
	check(t, s.Pin("older", []Digest{v1}))
	want := map[Digest]string{
		v5: "newest image of shop", other: "newest image of other", v3: "shop/production r3 serving",
		v2: "shop/production r2 warm, shop/staging r2 serving", v1: "in use by installation older",
		v4: "-a newer image is called shop, and nothing uses it", unnamed: "-no name, and nothing uses it",
	}
	before := treeList(t, s.dir)
	o := everything()
	o.DryRun = true
	dry := gc(t, s, o)
	if after := treeList(t, s.dir); !slices.Equal(before, after) {
		t.Errorf("a dry run changes the store:\n%v\n%v", before, after)
	}
	wet := gc(t, s, everything())
	for d, why := range want {
		for _, c := range []Collected{dry, wet} {
			got := decision(t, c, "image", string(d))
			if why, goes := strings.CutPrefix(why, "-"); got.Keep == goes || got.Reason != why {
				t.Errorf("%s: %+v, want %q", d.Short(), got, why)
			}
		}
		if s.Has(d) == strings.HasPrefix(why, "-") {
			t.Errorf("%s: is there: %v", d.Short(), s.Has(d))
		}
	}
	if dry.Freed != wet.Freed || wet.Freed == 0 || len(dry.Decisions) != len(wet.Decisions) {
		t.Errorf("dry run: %d bytes in %d decisions, then %d in %d", dry.Freed, len(dry.Decisions), wet.Freed, len(wet.Decisions))
	}
	for d := range want {
		if s.Has(d) {
			check(t, s.complete(d))
		}
	}
	if again := gc(t, s, everything()); again.Freed != 0 {
		t.Errorf("a second collection frees %d bytes: %+v", again.Freed, again.Decisions)
	}
	o = everything()
	o.Keep = 2
	v6 := put("shop", "6")
	gc(t, s, o)
	if !s.Has(v6) || !s.Has(v5) {
		t.Error("--keep 2 keeps fewer than the two newest")
	}
}

// treeList is every file of a folder with its size; locks are left out.
func treeList(t *testing.T, dir string) []string {
	var list []string
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "hold" && e.Name() != "lock" {
			list = append(list, path)
		}
		return err
	}))
	return list
}

func TestGCSparesTheYoungAndWaits(t *testing.T) {
	s := newStore(t)
	old, young := putImage(t, s, "shop", fileLayer(t, s, "f", "1")), Digest("")
	young = putImage(t, s, "shop", fileLayer(t, s, "f", "2"))
	loose := fileLayer(t, s, "f", "loose")
	c := gc(t, s, GCOptions{CacheLimit: -1})
	if !s.Has(old) || !s.Has(young) || !s.Has(loose.Digest) || !decision(t, c, "blob", string(loose.Digest)).Keep {
		t.Errorf("what came within the hour is gone: %+v", c.Decisions)
	}
	release := must[func()](t)(s.Hold(t.Context()))
	if _, err := s.GC(t.Context(), everything()); !fault.Is(err, fault.Busy) || !s.Has(loose.Digest) {
		t.Errorf("while a bake holds: %v", err)
	}
	o := everything()
	o.DryRun = true
	gc(t, s, o)
	release()
	done := make(chan error)
	for range 4 { // each waits for its turn
		go func() { _, err := s.GC(context.Background(), everything()); done <- err }()
	}
	for range 4 {
		check(t, <-done)
	}
	if s.Has(old) || s.Has(loose.Digest) || !s.Has(young) {
		t.Error("old or loose content is there, or the newest is not")
	}
}

// TestGCLimitsCaches removes the least recently used pieces and what only they keep.
func TestGCLimitsCaches(t *testing.T) {
	s := newStore(t)
	now := time.Now()
	dir := filepath.Join(s.dir, "cache", "things")
	check(t, os.MkdirAll(dir, 0o700))
	shared := fileLayer(t, s, "shared", randomText(1, 3000))
	own := fileLayer(t, s, "own", randomText(2, 3000))
	used := fileLayer(t, s, "used", randomText(3, 3000))
	kept := putImage(t, s, "shop", used)
	baseLayer := fileLayer(t, s, "base", randomText(4, 3000))
	base := putImage(t, s, "", baseLayer)
	piece := func(name string, age time.Duration, layers ...Layer) Cached {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, []byte(randomText(9, 1000)), 0o644))
		c := Cached{Kind: "thing", Name: name, Paths: []string{path}, Bytes: 1000, Used: now.Add(-age)}
		for _, l := range layers {
			c.Layers = append(c.Layers, l.Digest)
		}
		return c
	}
	list := []Cached{piece("oldest", 5*time.Hour, own, shared), piece("middle", 4*time.Hour, used), piece("base", 3*time.Hour), piece("newest", time.Hour, shared), piece("broken", 0)}
	list[2].Images = []Digest{base}
	list[4].Broken = "its layer is gone"
	o := GCOptions{Grace: -1, CacheLimit: 14_000, Cache: func() ([]Cached, error) { return list, nil }}
	c := gc(t, s, o)
	// 19 kB in all: pieces of 1 kB and layers of 4.6 kB (own, shared, base); broken goes anyway, then oldest with its own layer.
	for name, keep := range map[string]bool{"oldest": false, "middle": true, "base": true, "newest": true, "broken": false} {
		if d := decision(t, c, "thing", name); d.Keep != keep {
			t.Errorf("%s: %+v", name, d)
		}
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != keep {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.Has(own.Digest) || !s.Has(shared.Digest) || !s.Has(base) || !s.Has(kept) || c.Cache > 14_000 {
		t.Errorf("layers: own %v, shared %v, base %v; %d bytes of caches", s.Has(own.Digest), s.Has(shared.Digest), s.Has(base), c.Cache)
	}
	list = slices.DeleteFunc(list, func(c Cached) bool { _, err := os.Stat(c.Paths[0]); return err != nil })
	o.CacheLimit = 0
	gc(t, s, o)
	if s.Has(shared.Digest) || s.Has(base) || !s.Has(kept) || !s.Has(used.Digest) {
		t.Error("a limit of nothing leaves caches, or takes an image that is called something")
	}
	check(t, s.complete(kept))
}

func TestGCOfRoots(t *testing.T) {
	s := newStore(t)
	l1, l2 := fileLayer(t, s, "f", "1"), fileLayer(t, s, "f", "2")
	gone, kept := putImage(t, s, "shop", l1), putImage(t, s, "shop", l2)
	var roots []string
	for _, d := range []Digest{gone, kept} {
		roots = append(roots, must[string](t)(s.Rootfs(t.Context(), d)))
	}
	for _, l := range []Layer{l1, l2} {
		roots = append(roots, must[string](t)(s.LayerRoot(t.Context(), l)))
	}
	check(t, os.MkdirAll(filepath.Join(s.dir, "cache", "shell", "left", "upper"), 0o700))
	check(t, os.MkdirAll(filepath.Dir(filepath.Dir(roots[0]))+"/half.tmp/root", 0o700))
	gc(t, s, everything())
	for i, want := range []bool{false, true, false, true} {
		if _, err := os.Stat(roots[i]); (err == nil) != want {
			t.Errorf("root %d: %v", i, err)
		}
	}
	for _, left := range []string{"cache/shell/left", "rootfs/root/half.tmp"} {
		if _, err := os.Stat(filepath.Join(s.dir, left)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", left, err)
		}
	}
	// Over the limit the root goes, unless fleets run on it.
	check(t, s.Pin("inst", []Digest{kept}))
	o := everything()
	o.CacheLimit = 0
	gc(t, s, o)
	if _, err := os.Stat(roots[1]); err != nil {
		t.Errorf("the root of a pinned image is gone: %v", err)
	}
	check(t, s.Pin("inst", nil))
	gc(t, s, o)
	if _, err := os.Stat(roots[1]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the root is there though caches may have nothing: %v", err)
	}
}

func TestCollectLeavesLayersOfListedImages(t *testing.T) {
	s := newStore(t)
	l := fileLayer(t, s, "f", "1")
	putImage(t, s, "shop", l)
	root := must[string](t)(s.LayerRoot(t.Context(), l))
	sweep(t, s, -1)
	if _, err := os.Stat(root); err != nil {
		t.Error(err)
	}
}

// TestGCKilled ends a collection after each of its removals: the store stays whole, and the next one completes the work.
func TestGCKilled(t *testing.T) {
	for calls := range 20 {
		s := newStore(t)
		var kept Digest
		for _, v := range []string{"1", "2", "3", "4"} {
			kept = putImage(t, s, "shop", fileLayer(t, s, "f", v))
		}
		ctx := &countdown{Context: t.Context(), left: calls}
		_, err := s.GC(ctx, everything())
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		for _, i := range must[[]Info](t)(s.List()) {
			check(t, s.complete(i.Digest))
		}
		gc(t, s, everything())
		list := must[[]Info](t)(s.List())
		blobs := must[[]os.DirEntry](t)(os.ReadDir(s.path(blobDir)))
		if len(list) != 1 || list[0].Digest != kept || len(blobs) != 3 {
			t.Errorf("cut after %d: %d images and %d blobs", calls, len(list), len(blobs))
		}
	}
}

// countdown is a context that ends when it was asked so many times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}
