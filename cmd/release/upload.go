package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images"
)

// upload brings an image, and what was said about it, to an agent with another store.
type upload struct {
	client *api.Client
	store  *images.Store
	image  images.Digest
	name   string
	blobs  []images.Descriptor
}

// run sends what the agent lacks and has it listed. With always what was said about the image is listed anew also when
// the agent has all of it: an earlier upload may have ended between the two.
func (u upload) run(ctx context.Context, always bool) error {
	referrers, err := u.store.Referrers(u.image, "")
	if err != nil {
		return err
	}
	parts := make([][]images.Descriptor, len(referrers))
	have := wire(u.blobs)
	for i, r := range referrers {
		if parts[i], err = u.store.Blobs(r.Digest); err != nil {
			return fmt.Errorf("upload what was said about image %s: %w", u.image.Short(), err)
		}
		have = append(have, wire(parts[i])...)
	}
	missing, err := u.client.Missing(ctx, have)
	if err != nil {
		return err
	}
	for _, b := range missing {
		if err := u.send(ctx, b); err != nil {
			return err
		}
	}
	lacked := func(blobs []images.Descriptor) bool {
		return slices.ContainsFunc(wire(blobs), func(b api.Blob) bool { return slices.Contains(missing, b) })
	}
	if lacked(u.blobs) {
		if err := u.client.PutImage(ctx, string(u.image), u.name); err != nil {
			return err
		}
	}
	for i, r := range referrers {
		if always || lacked(parts[i]) {
			if err := u.client.PutImage(ctx, string(r.Digest), ""); err != nil {
				return err
			}
		}
	}
	return nil
}

func wire(blobs []images.Descriptor) []api.Blob {
	var list []api.Blob
	for _, b := range blobs {
		list = append(list, api.Blob{Digest: string(b.Digest), Size: b.Size})
	}
	return list
}

func (u upload) send(ctx context.Context, b api.Blob) error {
	f, err := u.store.OpenBlob(images.Digest(b.Digest))
	if err != nil {
		return fmt.Errorf("upload %s: %w", b.Digest, err)
	}
	defer f.Close()
	if err := u.client.PutBlob(ctx, b, f); err != nil {
		if damage := u.store.CheckBlob(ctx, images.Descriptor{Digest: images.Digest(b.Digest), Size: b.Size}); errors.Is(damage, images.ErrDamaged) {
			return fmt.Errorf("upload: %w", damage) // the agent can only say that it is not what was announced
		}
		return err
	}
	return nil
}
