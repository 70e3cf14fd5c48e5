package certstore

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/test/tools/consultest"
)

func start(t *testing.T) (a, b *Storage, c *consultest.Cluster) {
	t.Helper()
	c = consultest.Start(t, consultest.Options{})
	for _, s := range []**Storage{&a, &b} {
		var err error
		if *s, err = New(consulapi.Settings{Address: c.Servers[0].Address}, "release/"); err != nil {
			t.Fatal(err)
		}
	}
	return a, b, c
}

func TestStorage(t *testing.T) {
	a, b, _ := start(t)
	ctx := t.Context()
	value := bytes.Repeat([]byte("key\n\x00"), 1000)
	began := time.Now()
	for _, name := range []string{"certificates/ca/x.example/x.example.key", "certificates/ca/x.example/x.example.crt", "acme/ca/users/ops.json"} {
		if err := a.Store(ctx, name, value); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Load(ctx, "certificates/ca/x.example/x.example.key")
	if err != nil || !bytes.Equal(got, value) {
		t.Errorf("read by another: %d bytes (%v)", len(got), err)
	}
	info, err := b.Stat(ctx, "acme/ca/users/ops.json")
	if err != nil || !info.IsTerminal || info.Size != int64(len(value)) || info.Modified.Before(began.Add(-time.Second)) || info.Modified.After(time.Now()) {
		t.Errorf("stat of a file: %+v (%v)", info, err)
	}
	if info, err := b.Stat(ctx, "acme/ca"); err != nil || info.IsTerminal {
		t.Errorf("stat of a folder: %+v (%v)", info, err)
	}
	for _, c := range []struct {
		folder    string
		recursive bool
		want      []string
	}{
		{"certificates", false, []string{"certificates/ca"}},
		{"certificates/ca/x.example", false, []string{"certificates/ca/x.example/x.example.crt", "certificates/ca/x.example/x.example.key"}},
		{"acme", true, []string{"acme/ca", "acme/ca/users", "acme/ca/users/ops.json"}},
		{"", false, []string{"acme", "certificates"}},
	} {
		if got, err := b.List(ctx, c.folder, c.recursive); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("list %q: %v (%v), want %v", c.folder, got, err, c.want)
		}
	}
	if err := a.Delete(ctx, "certificates/ca"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"certificates/ca/x.example/x.example.key", "certificates/ca", "none"} {
		if _, err := b.Load(ctx, name); !errors.Is(err, fs.ErrNotExist) || b.Exists(ctx, name) {
			t.Errorf("%s is still there (%v)", name, err)
		}
	}
	if _, err := b.List(ctx, "certificates", true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("list of nothing: %v", err)
	}
	if !b.Exists(ctx, "acme/ca/users/ops.json") {
		t.Error("too much was removed")
	}
}

func TestLock(t *testing.T) {
	a, b, _ := start(t)
	ctx := t.Context()
	var inside, most, entered atomic.Int32
	var all sync.WaitGroup
	for _, s := range []*Storage{a, b, a, b} {
		all.Go(func() {
			if err := s.Lock(ctx, "x.example"); err != nil {
				t.Error(err)
				return
			}
			most.Store(max(most.Load(), inside.Add(1)))
			entered.Add(1)
			inside.Add(-1)
			if err := s.Unlock(ctx, "x.example"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most.Load() != 1 || entered.Load() != 4 {
		t.Errorf("%d entered, %d at a time", entered.Load(), most.Load())
	}
	if keys, _, err := a.client.KV().Keys(a.lockKey(""), "", nil); err != nil || len(keys) != 0 {
		t.Errorf("locks left: %v (%v)", keys, err)
	}
	if err := a.Lock(ctx, "y"); err != nil {
		t.Fatal(err)
	}
	if ok, err := b.TryLock(ctx, "y"); ok || err != nil {
		t.Errorf("a lock that another one has: %v, %v", ok, err)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := b.Lock(short, "y"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait in vain: %v", err)
	}
	if err := b.Unlock(ctx, "y"); err == nil {
		t.Error("unlocked what another one has")
	}
}

// The lock of an edge that died is free once its session is over.
func TestLockOfTheDead(t *testing.T) {
	a, b, _ := start(t)
	ctx := t.Context()
	session, _, err := a.client.Session().CreateNoChecks(&api.SessionEntry{TTL: "10s", LockDelay: lockDelay, Behavior: api.SessionBehaviorDelete}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := a.client.KV().Acquire(&api.KVPair{Key: a.lockKey("z"), Session: session}, nil); !ok || err != nil {
		t.Fatal(ok, err)
	}
	waits, cancel := context.WithTimeout(ctx, 2*ttl+10*time.Second)
	defer cancel()
	if err := b.Lock(waits, "z"); err != nil {
		t.Error(err)
	}
}
