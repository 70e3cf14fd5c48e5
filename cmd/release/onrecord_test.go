package main

import (
	"errors"
	"os"
	"testing"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images"
)

// What a fleet runs, waits for, or may go back to is needed, as the agent pins it; what was destroyed is not.
func TestOnRecord(t *testing.T) {
	var releases []api.Release
	for _, id := range []string{"r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8"} {
		releases = append(releases, api.Release{ID: id, Image: "web " + id, Images: map[string]string{"worker": "worker " + id}, State: "completed"})
	}
	releases[6].State = "aborted"
	status := api.Status{Fleets: []api.Fleet{{ID: "fleet", Image: "web r1"}}, Queue: []api.Queued{{Image: "web r9"}}}
	known := onRecord{fleets: map[string]bool{}, images: map[string]bool{}}
	known.add(status, releases)
	for image, want := range map[string]bool{"web r1": true, "web r2": false, "worker r2": false, "web r3": true, "worker r3": true, "web r7": false, "worker r8": true, "web r9": true} {
		if known.images[image] != want {
			t.Errorf("%s is needed: %v", image, !want)
		}
	}
	if !known.fleets["fleet"] {
		t.Error("the fleet is not known")
	}
	destroyed := onRecord{fleets: map[string]bool{}, images: map[string]bool{}}
	destroyed.add(api.Status{}, releases)
	if len(destroyed.images) != 0 {
		t.Errorf("of a destroyed app: %v", destroyed.images)
	}
}

// An image is needed if the store or the record says so; only a plain no of both is a no.
func TestNeeds(t *testing.T) {
	dir := t.TempDir()
	store, err := images.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	here, err := store.Put(t.Context(), images.Image{}, "here")
	if err != nil {
		t.Fatal(err)
	}
	const other, none = "sha256:1111111111111111111111111111111111111111111111111111111111111111", "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	away := errors.New("the agent is away")
	asked := 0
	record := func() (onRecord, error) { asked++; return onRecord{images: map[string]bool{other: true}}, nil }
	gone := func() (onRecord, error) { return onRecord{}, away }
	ask := func(image string, goes map[string]bool, record func() (onRecord, error), want bool, wrong error) {
		t.Helper()
		if got, err := needs(store, goes, record)(image); got != want || !errors.Is(err, wrong) || (err == nil) != (wrong == nil) {
			t.Errorf("%v %v, want %v %v", got, err, want, wrong)
		}
	}
	ask(string(here), nil, gone, true, nil)
	ask(string(here), map[string]bool{string(here): true}, record, false, nil)
	ask(other, nil, record, true, nil)
	ask(none, nil, record, false, nil)
	ask(none, nil, gone, false, away)
	if err := os.WriteFile(store.BlobPath(here), []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first look puts it aside
		ask(string(here), nil, record, false, images.ErrDamaged)
	}
	if n := asked; n != 3 {
		t.Errorf("the agent was asked %d times", n)
	}
}
