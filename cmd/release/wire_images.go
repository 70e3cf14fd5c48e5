package main

import (
	"context"
	"io"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/console"
	"github.com/bootandshoot/release/images"
)

// uploads is the image store as the console sees it.
type uploads struct{ store *images.Store }

var _ console.Images = uploads{}

func (u uploads) Has(digest string) bool { return u.store.Has(images.Digest(digest)) }

func (u uploads) Write(ctx context.Context, b api.Blob, r io.Reader) error {
	d, err := images.ParseDigest(b.Digest)
	if err != nil {
		return err
	}
	return u.store.WriteBlobAs(ctx, images.Descriptor{Digest: d, Size: b.Size}, r)
}

// Tag lists an image, or what was said about one with it.
func (u uploads) Tag(ctx context.Context, digest, name string) error {
	d, err := images.ParseDigest(digest)
	if err != nil {
		return err
	}
	if u.store.IsArtifact(d) {
		return u.store.AttachArtifact(ctx, d)
	}
	return u.store.Tag(ctx, d, name)
}
