package builder_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// collect brings the caches of a project down to a size.
func (p *project) collect(limit int64) images.Collected {
	p.t.Helper()
	c, err := p.store.GC(context.Background(), images.GCOptions{
		CacheLimit: limit, Grace: -1, Cache: func() ([]images.Cached, error) { return builder.CacheList(p.store) },
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// TestCacheIsCollected bakes, empties the caches, and bakes again: what is cached is gone, the image is not.
func TestCacheIsCollected(t *testing.T) {
	p := newProject(t)
	p.write("a", "one", 0o644)
	const recipe = "name: shop\nbase: scratch\ncopy: [{from: ./a, to: /a}]\n"
	first := p.bake(recipe)
	p.write("a", "two", 0o644)
	second := p.bake(recipe)
	if err := os.MkdirAll(filepath.Join(p.store.Dir(), "cache/work/bake-killed/upper"), 0o700); err != nil {
		t.Fatal(err)
	}

	c := p.collect(1 << 30)
	kinds := map[string]bool{}
	for _, d := range c.Decisions {
		kinds[d.Kind] = true
	}
	for _, kind := range []string{"step", "facts", "work folder", "image"} {
		if !kinds[kind] {
			t.Errorf("nothing is decided about any %s: %+v", kind, c.Decisions)
		}
	}
	if p.store.Has(first.Image) || !p.store.Has(second.Image) {
		t.Error("the image of old is there, or the new one is not")
	}
	p.write("a", "one", 0o644)
	if again := p.bake(recipe); again.Image != first.Image || !again.Steps[0].Cached {
		t.Errorf("the layer of a step that is within the limit was made again: %+v", again.Steps)
	}

	if c := p.collect(0); c.Cache != 0 {
		t.Errorf("%d bytes of caches are left: %+v", c.Cache, c.Decisions)
	}
	p.write("a", "two", 0o644)
	if again := p.bake(recipe); again.Image != second.Image || again.Steps[0].Cached {
		t.Errorf("after the caches were emptied: %+v", again.Steps)
	}
}

// TestCacheKeepsBases keeps the image of a base as long as the cache keeps what says so.
func TestCacheKeepsBases(t *testing.T) {
	p := newProject(t)
	base := p.bake("name: base\nbase: scratch\nenv: {A: b}\n")
	layout := filepath.Join(p.dir, "layout")
	if err := p.store.ExportOCI(context.Background(), base.Image, layout); err != nil {
		t.Fatal(err)
	}
	q := newProject(t)
	if err := os.CopyFS(filepath.Join(q.dir, "layout"), os.DirFS(layout)); err != nil {
		t.Fatal(err)
	}
	res := q.bake("name: shop\nbase: {image: ./layout}\nenv: {C: d}\n")
	c := q.collect(1 << 30)
	i := slices.IndexFunc(c.Decisions, func(d images.Decision) bool {
		return d.Kind == "image" && strings.Contains(d.Reason, "base of recipes")
	})
	if i < 0 || !c.Decisions[i].Keep {
		t.Fatalf("the base is not kept: %+v", c.Decisions)
	}
	q.collect(0)
	if q.store.Has(images.Digest(c.Decisions[i].Name)) || !q.store.Has(res.Image) {
		t.Error("the base is there though caches may have nothing, or the image is gone")
	}
}

// TestCollectionWaitsForBakes is refused while a bake runs.
func TestCollectionWaitsForBakes(t *testing.T) {
	p := newProject(t)
	p.write("a", "one", 0o644)
	asked := false
	p.bake("name: shop\nbase: scratch\ncopy: [{from: ./a, to: /a}]\n", func(o *builder.Options) {
		o.Progress = func(builder.Event) {
			if _, err := p.store.GC(context.Background(), images.GCOptions{}); !fault.Is(err, fault.Busy) {
				t.Errorf("a collection during a bake: %v", err)
			}
			asked = true
		}
	})
	if !asked {
		t.Error("the bake told nothing")
	}
}
