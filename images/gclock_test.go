package images

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

// settled is a collection that holds the store and has let its lock go; content is still there. It ends with end.
func settled(t *testing.T, s *Store, o GCOptions) (g *collection, end func()) {
	t.Helper()
	end = must[func()](t)(s.beginGC(t.Context(), false))
	g = &collection{store: s, o: o, young: s.now().Add(time.Hour)}
	g.o.Keep = 1
	check(t, g.measureRoots())
	check(t, g.settleNames(t.Context()))
	return g, end
}

// TestGCLetsPinsThrough pins while a collection still deletes content: nothing that it took can be found any more.
func TestGCLetsPinsThrough(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	l1, l2, unlisted := fileLayer(t, s, "f", "1"), fileLayer(t, s, "f", "2"), fileLayer(t, s, "f", "3")
	gone, kept := putImage(t, s, "shop", l1), putImage(t, s, "shop", l2)
	loose := must[Digest](t)(s.Write(ctx, Image{Config: testConfig(), Layers: []Layer{unlisted}}))
	root := must[string](t)(s.Rootfs(ctx, kept))
	o := everything()
	o.CacheLimit = 0 // the root goes, though its image stays
	g, end := settled(t, s, o)
	if !s.Has(l1.Digest) || !s.Has(unlisted.Digest) {
		t.Error("layers are deleted under the lock")
	}
	check(t, must2(os.Stat(root)))
	check(t, s.PinFor(ctx, "inst", map[Digest][]string{gone: {"r1"}, kept: {"r2"}, loose: {"r3"}}))
	for _, d := range []Digest{gone, loose} {
		if _, err := s.Get(d); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s can be found, and its layers go: %v", d.Short(), err)
		}
	}
	boot := must[string](t)(bootID())
	if ready(filepath.Dir(root), boot) {
		t.Error("the root can be found, and goes")
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := s.GC(short, everything()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two collections at once: %v", err)
	}
	check(t, g.removeContent(ctx))
	end()
	if s.Has(l1.Digest) || s.Has(unlisted.Digest) || !s.Has(l2.Digest) {
		t.Errorf("layers: gone %v, loose %v, kept %v", s.Has(l1.Digest), s.Has(unlisted.Digest), s.Has(l2.Digest))
	}
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the root is there: %v", err)
	}
	check(t, s.complete(kept))
	check(t, must2(os.Stat(must[string](t)(s.Rootfs(ctx, kept)))))
}

// TestGCKilledAfterTheLock leaves content without a name, and what a root was; the next collection finds both.
func TestGCKilledAfterTheLock(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	l1, l2 := fileLayer(t, s, "f", "1"), fileLayer(t, s, "f", "2")
	putImage(t, s, "shop", l1)
	kept := putImage(t, s, "shop", l2)
	root := must[string](t)(s.Rootfs(ctx, kept))
	o := everything()
	o.CacheLimit = 0
	_, end := settled(t, s, o)
	end()
	check(t, s.complete(kept))
	gc(t, s, everything()) // without a limit: what remains of a root is no cache
	if _, err := os.Stat(filepath.Dir(root)); s.Has(l1.Digest) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: layer %v, root %v", s.Has(l1.Digest), err)
	}
	check(t, s.complete(kept))
}

// TestPinForEndsWithItsContext waits for a lock no longer than it may, and changes nothing then.
func TestPinForEndsWithItsContext(t *testing.T) {
	s := newStore(t)
	d := putImage(t, s, "shop", fileLayer(t, s, "f", "1"))
	unlock := must[func()](t)(s.lock(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.PinFor(ctx, "inst", map[Digest][]string{d: nil}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if pinned := must[pins](t)(s.readPins()); len(pinned) > 0 {
		t.Errorf("pinned %v", pinned)
	}
	unlock()
	check(t, s.PinFor(t.Context(), "inst", map[Digest][]string{d: nil}))
}
