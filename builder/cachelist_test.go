package builder_test

import (
	"context"
	"encoding/json"
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

// TestCacheOfMachines keeps the parts that machines boot with as long as caches may stay, and what tells of an image as long as that.
func TestCacheOfMachines(t *testing.T) {
	p := newProject(t)
	blob := func(text string) images.Descriptor {
		d, err := p.store.WriteBlob(t.Context(), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	p.write("a", "one", 0o644)
	image := p.bake("name: shop\nbase: scratch\ncopy: [{from: ./a, to: /a}]\n").Image
	gone := images.Digest("sha256:" + strings.Repeat("5", 64))
	kernel, stub, disk := blob("kernel"), blob("stub"), blob("a disk that no image has")
	for name, v := range map[string]any{
		"kernels/aa/whole.json":         map[string]any{"schema": 1, "release": "6.1", "kernel": kernel, "initrd": kernel, "stub": stub},
		"kernels/aa/torn.json":          map[string]any{"schema": 1, "release": "5.10", "kernel": kernel, "initrd": kernel, "stub": images.Descriptor{Digest: gone}},
		"machines/aa/whole.json":        images.Machine{Disk: images.MachineDisk{Descriptor: disk}},
		"boots/aa/whole.json":           map[string]any{"schema": 1, "image": image},
		"boots/aa/gone.json":            map[string]any{"schema": 1, "image": gone},
		"boots/" + image.Hex() + ".log": "the console of one that is there",
		"boots/" + gone.Hex() + ".log":  "the console of one that is gone",
	} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(p.store.Dir(), "cache", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(p.store.Dir(), "cache", name))
		return err == nil
	}

	c := p.collect(1 << 30)
	reasons := map[string]bool{}
	for _, d := range c.Decisions {
		reasons[d.Kind+": "+d.Reason] = true
	}
	for _, want := range []string{"kernel: a part of it is gone", "boot test: its image is gone", "console: its image is gone"} {
		if !reasons[want] {
			t.Errorf("nothing is said like %q: %+v", want, c.Decisions)
		}
	}
	for name, want := range map[string]bool{
		"kernels/aa/whole.json": true, "kernels/aa/torn.json": false, "boots/aa/whole.json": true, "boots/aa/gone.json": false,
		"boots/" + image.Hex() + ".log": true, "boots/" + gone.Hex() + ".log": false,
	} {
		if there(name) != want {
			t.Errorf("%s is there: %t", name, !want)
		}
	}
	if !p.store.Has(kernel.Digest) || !p.store.Has(stub.Digest) || p.store.Has(disk.Digest) {
		t.Error("a part of the kernel is gone, or the disk of no image is there")
	}
	if p.collect(1 << 30); there("machines/aa/whole.json") {
		t.Error("what says of what a disk was made is there without the disk")
	}
	if p.collect(0); there("kernels/aa/whole.json") || p.store.Has(kernel.Digest) || there("boots/"+image.Hex()+".log") {
		t.Error("caches that may have nothing have a kernel or a console")
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
