package images

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

func TestRemoveCountsReferences(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	shared, own := fileLayer(t, s, "a", "shared"), fileLayer(t, s, "b", "own")
	a := putImage(t, s, "a", shared, own)
	b := putImage(t, s, "b", shared)
	check(t, s.Tag(ctx, a, "other"))
	check(t, s.Remove(ctx, a, false))
	if s.Has(own.Digest) || s.Has(a) || !s.Has(shared.Digest) {
		t.Fatalf("own %v manifest %v shared %v", s.Has(own.Digest), s.Has(a), s.Has(shared.Digest))
	}
	check(t, s.Remove(ctx, b, false))
	if s.Has(shared.Digest) {
		t.Fatal("shared layer stayed")
	}
	if err := s.Remove(ctx, b, false); !fault.Is(err, fault.NotFound) {
		t.Fatalf("second remove: %v", err)
	}
}

func TestRemovePinned(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	l := fileLayer(t, s, "a", "x")
	d := putImage(t, s, "a", l)
	root := must[string](t)(s.Rootfs(ctx, d))
	check(t, s.Pin("inst-1", []Digest{d}))
	check(t, s.Pin("inst-2", []Digest{d, d}))
	err := s.Remove(ctx, d, false)
	if !fault.Is(err, fault.Busy) || !strings.Contains(err.Error(), "installation inst-1, in use by installation inst-2") {
		t.Fatalf("got %v", err)
	}
	if list := must[[]Info](t)(s.List()); len(list) != 1 || len(list[0].Pinned) != 2 {
		t.Fatalf("list %+v", list)
	}
	check(t, s.Remove(ctx, d, true))
	sweep(t, s, -1)
	if !s.Has(l.Digest) || !s.Has(d) {
		t.Fatal("content of a pinned image was deleted")
	}
	check(t, must2(os.Stat(root)))
	check(t, s.Pin("inst-1", nil))
	check(t, s.Pin("inst-2", nil))
	sweep(t, s, -1)
	if _, err := os.Stat(root); s.Has(l.Digest) || s.Has(d) || err == nil {
		t.Fatal("content stayed without any pin")
	}
}

func TestRemoveWhileHeldLeavesContent(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	l := fileLayer(t, s, "a", "x")
	d := putImage(t, s, "a", l)
	release := must[func()](t)(s.Hold(ctx))
	check(t, s.Remove(ctx, d, false))
	if !s.Has(l.Digest) {
		t.Fatal("a held layer was deleted")
	}
	if _, err := s.GC(ctx, sweeping(-1)); !fault.Is(err, fault.Busy) {
		t.Fatalf("sweep: %v", err)
	}
	putImage(t, s, "a", l)
	release()
	sweep(t, s, -1)
	if !s.Has(l.Digest) {
		t.Fatal("a layer in use was swept")
	}
}

func TestCollectLeftovers(t *testing.T) {
	now := time.Now()
	s := newStore(t, WithClock(func() time.Time { return now }))
	ctx := context.Background()
	orphan, kept, used := fileLayer(t, s, "a", "1"), fileLayer(t, s, "b", "2"), fileLayer(t, s, "c", "3")
	d := putImage(t, s, "a", used)
	root := must[string](t)(s.Rootfs(ctx, d))
	temps := []string{s.path(blobDir, ".tmp-1"), s.path(".tmp-2")}
	for _, path := range temps {
		check(t, os.WriteFile(path, []byte("torn"), 0o644))
	}
	check(t, os.MkdirAll(filepath.Join(filepath.Dir(root)+"0.tmp", "root/x"), 0o700))
	if got := sweep(t, s, 0); len(got) != 1 || got["unpacked root"] != 1 {
		t.Fatalf("young content: %+v", got)
	}
	now = now.Add(2 * time.Hour)
	s.renew(ctx, kept.Digest)
	got := sweep(t, s, 0)
	if got["blob"] != 1 || got["temporary file"] != 2 || s.Has(orphan.Digest) || !s.Has(kept.Digest) || !s.Has(used.Digest) {
		t.Fatalf("%+v", got)
	}
	now = now.Add(2 * time.Hour)
	o := sweeping(0)
	o.Cache = func() ([]Cached, error) { return []Cached{{Kind: "step", Layers: []Digest{kept.Digest}}}, nil }
	must[Collected](t)(s.GC(ctx, o))
	if !s.Has(kept.Digest) {
		t.Fatal("a blob to keep was swept")
	}
	check(t, must2(os.Stat(root)))
}

func TestCollectKeepsWhatADamagedIndexHides(t *testing.T) {
	s := newStore(t)
	l := fileLayer(t, s, "a", "1")
	putImage(t, s, "a", l)
	check(t, os.WriteFile(s.path("index.json"), []byte("torn"), 0o644))
	if _, err := s.GC(context.Background(), sweeping(-1)); err == nil {
		t.Fatal("swept without knowing what is used")
	}
	if !s.Has(l.Digest) {
		t.Fatal("a layer was swept")
	}
}

// sweeping collects what nothing references, and no listed image.
func sweeping(grace time.Duration) GCOptions {
	return GCOptions{Grace: grace, CacheLimit: -1, CachesOnly: true}
}

// sweep does so and counts what went, by kind.
func sweep(t *testing.T, s *Store, grace time.Duration) map[string]int {
	t.Helper()
	count := map[string]int{}
	for _, d := range must[Collected](t)(s.GC(context.Background(), sweeping(grace))).Decisions {
		if !d.Keep {
			count[d.Kind]++
		}
	}
	return count
}

// What Remove deletes goes after the store's lock was let go, so that nobody waits for it; nothing that goes can be found.
func TestRemoveLetsPinsThrough(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	l := fileLayer(t, s, "a", "x")
	d := putImage(t, s, "a", l)
	root := must[string](t)(s.Rootfs(ctx, d))
	blobs, chain, err := s.removeEntry(ctx, d, false)
	check(t, err)
	layers, roots, err := s.forget(ctx, blobs, chain)
	check(t, err)
	if len(layers) != 1 || !s.Has(l.Digest) || len(roots) != 1 || must2(os.Stat(root)) != nil {
		t.Errorf("deleted under the lock: layers %v, roots %v", layers, roots)
	}
	check(t, s.Pin("inst", []Digest{d}))
	if _, err := s.Get(d); !fault.Is(err, fault.NotFound) {
		t.Errorf("the image can be found, and its layers go: %v", err)
	}
	if ready(filepath.Dir(root), must[string](t)(bootID())) {
		t.Error("the root can be found, and goes")
	}
}

func TestPinRefusesBadNames(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"", "../x", "a/b", ".x"} {
		if err := s.Pin(name, nil); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := s.Pin("a", []Digest{"sha256:xyz"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("bad digest: %v", err)
	}
}
