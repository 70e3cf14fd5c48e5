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
	must[Swept](t)(s.Sweep(ctx, SweepOptions{Grace: -1}))
	if !s.Has(l.Digest) || !s.Has(d) {
		t.Fatal("content of a pinned image was deleted")
	}
	check(t, must2(os.Stat(root)))
	check(t, s.Pin("inst-1", nil))
	check(t, s.Pin("inst-2", nil))
	must[Swept](t)(s.Sweep(ctx, SweepOptions{Grace: -1}))
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
	if _, err := s.Sweep(ctx, SweepOptions{Grace: -1}); !fault.Is(err, fault.Busy) {
		t.Fatalf("sweep: %v", err)
	}
	putImage(t, s, "a", l)
	release()
	must[Swept](t)(s.Sweep(ctx, SweepOptions{Grace: -1}))
	if !s.Has(l.Digest) {
		t.Fatal("a layer in use was swept")
	}
}

func TestSweep(t *testing.T) {
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
	if got := must[Swept](t)(s.Sweep(ctx, SweepOptions{})); got.Blobs+got.Temps != 0 || got.Roots != 1 {
		t.Fatalf("young content: %+v", got)
	}
	now = now.Add(2 * time.Hour)
	s.renew(ctx, kept.Digest)
	got := must[Swept](t)(s.Sweep(ctx, SweepOptions{}))
	if got.Blobs != 1 || got.Temps != 2 || s.Has(orphan.Digest) || !s.Has(kept.Digest) || !s.Has(used.Digest) {
		t.Fatalf("%+v", got)
	}
	now = now.Add(2 * time.Hour)
	must[Swept](t)(s.Sweep(ctx, SweepOptions{Keep: []Digest{kept.Digest}}))
	if !s.Has(kept.Digest) {
		t.Fatal("a blob to keep was swept")
	}
	check(t, must2(os.Stat(root)))
}

func TestSweepKeepsWhatADamagedIndexHides(t *testing.T) {
	s := newStore(t)
	l := fileLayer(t, s, "a", "1")
	putImage(t, s, "a", l)
	check(t, os.WriteFile(s.path("index.json"), []byte("torn"), 0o644))
	if _, err := s.Sweep(context.Background(), SweepOptions{Grace: -1}); err == nil {
		t.Fatal("swept without knowing what is used")
	}
	if !s.Has(l.Digest) {
		t.Fatal("a layer was swept")
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
