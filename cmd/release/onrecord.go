package main

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator"
)

// onRecord is what there should be at AWS by what the agent knows, of all its apps.
type onRecord struct {
	fleets map[string]bool // ids
	images map[string]bool // digests of what has nodes, waits to have some, or may be rolled back to
}

// onRecord asks the agent. Another machine's image store may have images that this one's lacks, so no store can tell instead.
func (c *cli) onRecord(ctx context.Context) (onRecord, error) {
	known := onRecord{fleets: map[string]bool{}, images: map[string]bool{}}
	client, _, err := c.reach(ctx)
	if errors.Is(err, api.ErrNoAgent) {
		return known, fault.New(fault.Unavailable, "no agent answers, and it alone knows which fleets and releases there should be").WithHint("start it: release agent")
	}
	if err != nil {
		return known, err
	}
	apps, err := client.Apps(ctx)
	if err != nil {
		return known, err
	}
	for _, app := range apps {
		status, err := client.Status(ctx, app)
		if err != nil {
			return known, err
		}
		releases, err := client.Releases(ctx, app)
		if err != nil {
			return known, err
		}
		known.add(status, releases)
	}
	return known, nil
}

// add adds an app by the rule that its agent pins images by: releases are kept for a rollback as long as the app has a fleet.
func (k onRecord) add(status api.Status, releases []api.Release) {
	for _, fl := range status.Fleets {
		k.fleets[fl.ID], k.images[fl.Image] = true, true
	}
	for _, w := range status.Queue {
		k.images[w.Image] = true
	}
	kept := 0
	for _, rel := range slices.Backward(releases) {
		if len(status.Fleets) == 0 || kept == orchestrator.KeptImages {
			return
		}
		if rel.State == string(orchestrator.ReleaseCompleted) {
			kept++
			k.images[rel.Image] = true
			for _, image := range rel.Images {
				k.images[image] = true
			}
		}
	}
}

// needs tells whether an image is in the store and not among those that go, or else needed by what is on record, which is asked for once.
// What neither can tell is an error, not a no.
func needs(store *images.Store, goes map[string]bool, record func() (onRecord, error)) func(image string) (bool, error) {
	record = sync.OnceValues(record)
	return func(image string) (bool, error) {
		_, err := store.Get(images.Digest(image))
		if here := err == nil; here && !goes[image] {
			return true, nil
		} else if !here && (!fault.Is(err, fault.NotFound) || errors.Is(err, images.ErrDamaged)) {
			return false, err
		}
		known, err := record()
		return known.images[image], err
	}
}
