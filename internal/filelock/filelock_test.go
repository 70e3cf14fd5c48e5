package filelock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestSharing(t *testing.T) {
	for _, c := range []struct {
		first, second Sharing
		together      bool
	}{{Exclusive, Exclusive, false}, {Exclusive, Shared, false}, {Shared, Exclusive, false}, {Shared, Shared, true}} {
		path := filepath.Join(t.TempDir(), "lock")
		f, err := TryLock(path, 0o640, c.first)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		g, err := TryLock(path, 0o640, c.second)
		if together := err == nil; together != c.together || !together && !errors.Is(err, ErrLocked) {
			t.Errorf("%v beside %v: %v", c.second, c.first, err)
		}
		if g != nil {
			_ = g.Close()
		}
		_ = f.Close()
		if g, err = TryLock(path, 0o640, c.second); err != nil {
			t.Errorf("after it was let go: %v", err)
		}
		_ = g.Close()
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := Lock(t.Context(), path, 0o600, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, path, 0o600, Shared); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// Whoever has the lock may remove the file: who waited for that one then has the one at the path, alone.
func TestRemovedWhileWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				f, err := Lock(context.Background(), path, 0o600, Exclusive)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 || !StillThere(f, path) {
					t.Errorf("%d have the lock", n)
				}
				inside.Add(-1)
				_ = os.Remove(path) // from here on another one may have the next file of that name
				_ = f.Close()
			}
		})
	}
	all.Wait()
}

func TestLinkIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(filepath.Join(dir, "lock"), 0o600, Exclusive); err == nil {
		t.Error("a link was followed")
	}
	if _, err := os.Stat(filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("a file was made behind it")
	}
}
