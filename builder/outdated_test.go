package builder_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
)

// A branch moves on: outdated tells it of repositories and extensions, lock --update takes it where that is asked for.
func TestLockAndOutdated(t *testing.T) {
	p := newProject(t)
	dir, git := repo(t)
	first := git("rev-parse", "HEAD")
	url := "file://" + dir
	recipe := p.recipe(fmt.Sprintf("base: scratch\ngit: [{url: %q, ref: main, to: /srv/app}]\n"+
		"extensions: [{name: tool, version: \"1\", source: %q, ref: main, path: /srv/tool}, {name: old, version: \"1\", source: %q, ref: v1, path: /srv/old}]\n", url, url, url))
	o := builder.Options{Recipe: recipe, Store: p.store}
	lock := func(l builder.LockOptions) builder.Locked {
		t.Helper()
		got, err := builder.Lock(context.Background(), o, l)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	outdated := func(want ...builder.Newer) {
		t.Helper()
		got, err := builder.Outdated(context.Background(), o)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v: outdated is\n%+v, want\n%+v", err, got, want)
		}
	}
	if got := lock(builder.LockOptions{}); !got.Changed || len(got.Changes) != 3 {
		t.Fatalf("first lock: %+v", got)
	}
	outdated()
	git("commit", "-q", "--allow-empty", "-m", "two")
	second := git("rev-parse", "HEAD")
	app := builder.Newer{Kind: "git", Name: url + " main", Locked: first, Available: second}
	outdated(app, builder.Newer{Kind: "extension", Name: "tool", Locked: first, Available: second})
	if got := lock(builder.LockOptions{}); got.Changed {
		t.Fatalf("pins that serve changed: %+v", got)
	}
	got := lock(builder.LockOptions{Update: true, Names: []string{"tool"}})
	if want := []builder.Change{{Kind: "extension", Name: "tool", From: "1 " + first, To: "1 " + second}}; fmt.Sprint(got.Changes) != fmt.Sprint(want) {
		t.Fatalf("update of one: %+v", got)
	}
	outdated(app)
	if _, err := builder.Lock(context.Background(), o, builder.LockOptions{Update: true, Names: []string{"nobody"}}); !fault.Is(err, fault.NotFound) {
		t.Fatalf("update of what is not pinned: %v", err)
	}
	if got := lock(builder.LockOptions{Update: true}); len(got.Changes) != 1 {
		t.Fatalf("update of all: %+v", got)
	}
	outdated()
}
