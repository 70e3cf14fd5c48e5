package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

// patience bounds every wait of the suite.
const patience = 20 * time.Second

// Run is the conformance suite: what the contract in package store promises. open returns an empty store; it cleans
// up by itself.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	tests := []struct {
		name string
		run  func(*testing.T, context.Context, store.Store)
	}{
		{"absent keys are not found", absent},
		{"what is committed is read", committed},
		{"listing is by prefix and sorted", listed},
		{"conditions are checked", conditions},
		{"a commit is all or nothing", atomic},
		{"a check holds a commit back and changes nothing", checks},
		{"a commit takes so many writes and no more", many},
		{"malformed writes are refused", malformed},
		{"versions rise over deletes", versions},
		{"values are copies", copies},
		{"one of many increments wins each time", contended},
		{"an ended context changes nothing", ended},
		{"a watch begins with a change", watchBegins},
		{"a watch sees its prefix only", watchPrefix},
		{"a watch merges but keeps the last", watchMerges},
		{"a watch ends with its context", watchEnds},
		{"a right is exclusive and epochs rise", exclusive},
		{"a right passes on at release", passesOn},
		{"waiting for a right ends with the context", waitEnds},
		{"rights of other names are apart", otherNames},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			test.run(t, ctx, open(t))
		})
	}
}

func absent(t *testing.T, ctx context.Context, s store.Store) {
	if _, err := s.Get(ctx, "apps/shop"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get of an absent key: %v, want ErrNotFound", err)
	}
	if got := list(t, ctx, s, "apps/"); len(got) != 0 {
		t.Fatalf("list of an empty store: %v", got)
	}
}

func committed(t *testing.T, ctx context.Context, s store.Store) {
	version := commit(t, ctx, s, put("a", "1"), put("b", ""))
	if version == 0 {
		t.Fatal("a commit got version 0, which means absent")
	}
	for key, value := range map[string]string{"a": "1", "b": ""} {
		e := get(t, ctx, s, key)
		if e.Key != key || string(e.Value) != value || e.Version != version {
			t.Fatalf("get %s: %+v, want value %q at version %d", key, e, value, version)
		}
	}
	if got, err := s.Commit(ctx); err != nil || got < version {
		t.Fatalf("a commit of nothing: version %d, %v", got, err)
	}
}

func listed(t *testing.T, ctx context.Context, s store.Store) {
	commit(t, ctx, s, put("apps/b", "2"), put("apps/a", "1"), put("apps", "0"), put("appsx", "3"), put("b", "4"))
	want := map[string]string{
		"apps/": "apps/a=1 apps/b=2 ", "apps": "apps=0 apps/a=1 apps/b=2 appsx=3 ", "none/": "",
		"": "apps=0 apps/a=1 apps/b=2 appsx=3 b=4 ",
	}
	for prefix, expect := range want {
		var got string
		for _, e := range list(t, ctx, s, prefix) {
			got += fmt.Sprintf("%s=%s ", e.Key, e.Value)
		}
		if got != expect {
			t.Errorf("list %q: %q, want %q", prefix, got, expect)
		}
	}
}

func conditions(t *testing.T, ctx context.Context, s store.Store) {
	v1 := commit(t, ctx, s, store.Write{Key: "k", Value: []byte("1")})
	tests := []struct {
		name  string
		write store.Write
		ok    bool
	}{
		{"absent asked, present", store.Write{Key: "k", Value: []byte("x")}, false},
		{"other version", store.Write{Key: "k", Value: []byte("x"), IfVersion: v1 + 100}, false},
		{"a version of an absent key", store.Write{Key: "none", Value: []byte("x"), IfVersion: v1}, false},
		{"delete at another version", store.Write{Key: "k", IfVersion: v1 + 100}, false},
		{"any version", store.Write{Key: "other", Value: []byte("x"), Any: true, IfVersion: 99}, true},
		{"delete of what is absent", store.Write{Key: "gone"}, true},
		{"the right version", store.Write{Key: "k", Value: []byte("2"), IfVersion: v1}, true},
		{"the same version again", store.Write{Key: "k", Value: []byte("3"), IfVersion: v1}, false},
		{"delete whatever is there", store.Write{Key: "k", Any: true}, true},
		{"absent after the delete", store.Write{Key: "k", Value: []byte("4")}, true},
	}
	for _, test := range tests {
		_, err := s.Commit(ctx, test.write)
		if test.ok && err != nil || !test.ok && !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if got := string(get(t, ctx, s, "k").Value); got != "4" {
		t.Errorf("value %q, want 4", got)
	}
}

func atomic(t *testing.T, ctx context.Context, s store.Store) {
	commit(t, ctx, s, put("b", "old"))
	_, err := s.Commit(ctx, put("a", "new"), store.Write{Key: "b", Value: []byte("new")}, put("c", "new"))
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("commit: %v, want ErrConflict", err)
	}
	if got := list(t, ctx, s, ""); len(got) != 1 || string(got[0].Value) != "old" {
		t.Fatalf("a refused commit left %v", got)
	}
}

func checks(t *testing.T, ctx context.Context, s store.Store) {
	fence := commit(t, ctx, s, put("leader", "1"))
	holds := store.Write{Key: "leader", IfVersion: fence, Check: true}
	commit(t, ctx, s, holds, store.Write{Key: "none", Check: true}, put("a", "1"))
	if e := get(t, ctx, s, "leader"); e.Version != fence || string(e.Value) != "1" {
		t.Fatalf("a check changed its key: %+v", e)
	}
	newest := commit(t, ctx, s, put("leader", "2"))
	if version, err := s.Commit(ctx, store.Write{Key: "leader", IfVersion: newest, Check: true}); err != nil || version < newest {
		t.Errorf("a commit of a check alone: version %d, %v", version, err)
	}
	for name, check := range map[string]store.Write{
		"changed": holds, "present": {Key: "a", Check: true}, "absent": {Key: "none", IfVersion: fence, Check: true},
	} {
		if _, err := s.Commit(ctx, check, put("late", "x")); !errors.Is(err, store.ErrConflict) {
			t.Errorf("a commit behind a check of what is %s: %v, want ErrConflict", name, err)
		}
	}
	if got := list(t, ctx, s, ""); len(got) != 2 || string(got[0].Value) != "1" {
		t.Fatalf("refused commits left %v", got)
	}
}

// many has all kinds of writes, since a store may need more than one step for some.
func many(t *testing.T, ctx context.Context, s store.Store) {
	var writes, again []store.Write
	for i := range store.MaxWrites {
		writes = append(writes, store.Write{Key: fmt.Sprintf("k/%02d", i), Value: fmt.Append(nil, i)})
	}
	version := commit(t, ctx, s, writes...)
	for _, w := range writes {
		again = append(again, store.Write{Key: w.Key, IfVersion: version})
	}
	if _, err := s.Commit(ctx, append(again, put("one/more", "x"))...); !fault.Is(err, fault.Internal) {
		t.Errorf("%d writes: %v, want a refusal", len(again)+1, err)
	}
	commit(t, ctx, s, again...)
	if got := list(t, ctx, s, ""); len(got) != 0 {
		t.Errorf("%d entries are left", len(got))
	}
}

func malformed(t *testing.T, ctx context.Context, s store.Store) {
	for name, writes := range map[string][]store.Write{
		"no key": {put("", "x")}, "leading slash": {put("/a", "x")}, "zero byte": {put("a\x00b", "x")},
		"twice": {put("a", "x"), put("a", "y")}, "check with a value": {{Key: "a", Value: []byte("x"), Check: true}},
		"check of nothing": {{Key: "a", Any: true, Check: true}},
	} {
		if _, err := s.Commit(ctx, writes...); err == nil || errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	if got := list(t, ctx, s, ""); len(got) != 0 {
		t.Errorf("refused writes left %v", got)
	}
}

func versions(t *testing.T, ctx context.Context, s store.Store) {
	last := commit(t, ctx, s, put("a", "1"))
	for i := range 20 {
		w := put("a", "x")
		if i%2 == 0 {
			w = store.Write{Key: "a", Any: true}
		}
		v := commit(t, ctx, s, w)
		if v <= last {
			t.Fatalf("version %d after %d", v, last)
		}
		last = v
	}
}

func copies(t *testing.T, ctx context.Context, s store.Store) {
	value := []byte("abc")
	commit(t, ctx, s, store.Write{Key: "k", Value: value, Any: true})
	value[0] = 'X'
	get(t, ctx, s, "k").Value[1] = 'X'
	list(t, ctx, s, "k")[0].Value[2] = 'X'
	if got := string(get(t, ctx, s, "k").Value); got != "abc" {
		t.Fatalf("the stored value became %q", got)
	}
}

func contended(t *testing.T, ctx context.Context, s store.Store) {
	const workers, each = 4, 10
	commit(t, ctx, s, put("n", "0"))
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range each {
				if err := increment(ctx, s, "n"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := string(get(t, ctx, s, "n").Value); got != fmt.Sprint(workers*each) {
		t.Fatalf("%s after %d increments", got, workers*each)
	}
}

func increment(ctx context.Context, s store.Store, key string) error {
	for {
		e, err := s.Get(ctx, key)
		if err != nil {
			return err
		}
		var n int
		if _, err := fmt.Sscan(string(e.Value), &n); err != nil {
			return err
		}
		_, err = s.Commit(ctx, store.Write{Key: key, Value: fmt.Append(nil, n+1), IfVersion: e.Version})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func ended(t *testing.T, ctx context.Context, s store.Store) {
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Commit(over, put("a", "1")); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
	if _, err := s.Get(over, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.List(over, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("list: %v", err)
	}
	if _, err := s.Acquire(over, "n", "me", time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("acquire: %v", err)
	}
	if got := list(t, ctx, s, ""); len(got) != 0 {
		t.Errorf("an ended context left %v", got)
	}
}

func put(key, value string) store.Write {
	return store.Write{Key: key, Value: []byte(value), Any: true}
}

func commit(t *testing.T, ctx context.Context, s store.Store, writes ...store.Write) uint64 {
	t.Helper()
	version, err := s.Commit(ctx, writes...)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return version
}

func get(t *testing.T, ctx context.Context, s store.Store, key string) store.Entry {
	t.Helper()
	e, err := s.Get(ctx, key)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	return e
}

func list(t *testing.T, ctx context.Context, s store.Store, prefix string) []store.Entry {
	t.Helper()
	entries, err := s.List(ctx, prefix)
	if err != nil {
		t.Fatalf("list %s: %v", prefix, err)
	}
	return entries
}
