package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	godigest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// Put writes configuration and manifest of an image whose layers are in the store and lists it as the newest of its
// name. The digest depends on img alone. A layer that is not there is fault.NotFound, and nothing is listed. Putting
// what already is the newest changes nothing.
func (s *Store) Put(ctx context.Context, img Image, name string) (Digest, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	release, err := s.Hold(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	d, err := s.Write(ctx, img)
	if err != nil {
		return "", err
	}
	return d, s.Tag(ctx, d, name)
}

// Write is Put without the list: whoever has more to say about the image before anybody sees it lists it with Tag, and
// holds until then.
func (s *Store) Write(ctx context.Context, img Image) (Digest, error) {
	config, manifest, err := encode(img)
	if err != nil {
		return "", err
	}
	if _, err := s.WriteBlob(ctx, bytes.NewReader(config)); err != nil {
		return "", err
	}
	d, err := s.WriteBlob(ctx, bytes.NewReader(manifest))
	return d.Digest, err
}

// Digest is the name that the image gets when it is put into a store.
func (i Image) Digest() (Digest, error) {
	_, manifest, err := encode(i)
	return DigestOf(manifest), err
}

// Tag lists an image as the newest of a name ("" for none). Manifest and all blobs must be in the store, as after an
// upload; a missing one is fault.NotFound.
func (s *Store) Tag(ctx context.Context, d Digest, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	img, raw, err := s.read(d)
	if err != nil {
		return err
	}
	release, err := s.Hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.complete(d); err != nil {
		return err
	}
	index, err := s.readIndex()
	if err != nil {
		return err
	}
	entry := s.indexEntry(Descriptor{Digest: d, Size: int64(len(raw))}, img.Config.Platform, name)
	if !upsert(&index, entry) {
		return nil
	}
	return s.writeIndex(index)
}

// complete checks that all blobs of an image are there.
func (s *Store) complete(d Digest) error {
	blobs, err := s.Blobs(d)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		if !s.Has(b.Digest) {
			return fault.New(fault.NotFound, "list image %s: its blob %s is not in the store", d, b.Digest).
				WithHint("bake or import the image again")
		}
	}
	return nil
}

// encode gives the canonical bytes of configuration and manifest.
func encode(img Image) (config, manifest []byte, err error) {
	for i, l := range img.Layers {
		if !l.Digest.Valid() || l.Size < 0 || l.DiffID != "" && !l.DiffID.Valid() {
			return nil, nil, fault.New(fault.Invalid, "write image: layer %d has no proper digest and size", i)
		}
	}
	config, err = json.Marshal(canonicalConfig(img))
	if err != nil {
		return nil, nil, fmt.Errorf("write image configuration: %w", err)
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageConfig,
			Digest:    godigest.Digest(DigestOf(config)),
			Size:      int64(len(config)),
		},
		Layers:      make([]ocispec.Descriptor, 0, len(img.Layers)),
		Annotations: maps.Clone(img.Annotations),
	}
	for _, l := range img.Layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{
			MediaType: l.mediaType(), Digest: godigest.Digest(l.Digest), Size: l.Size,
		})
	}
	manifest, err = json.Marshal(m)
	if err != nil {
		return nil, nil, fmt.Errorf("write image manifest: %w", err)
	}
	return config, manifest, nil
}

func (l Layer) mediaType() string {
	if l.MediaType == "" {
		return ocispec.MediaTypeImageLayer
	}
	return l.MediaType
}

func (l Layer) diffID() Digest {
	if l.DiffID == "" {
		return l.Digest
	}
	return l.DiffID
}

// canonicalConfig fills what follows from the layers and drops what could differ between equal images.
func canonicalConfig(img Image) ocispec.Image {
	c := img.Config
	if c.Created != nil {
		t := c.Created.UTC().Truncate(time.Second)
		c.Created = &t
	}
	c.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: make([]godigest.Digest, 0, len(img.Layers))}
	c.History = make([]ocispec.History, 0, len(img.Layers))
	for _, l := range img.Layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, godigest.Digest(l.diffID()))
		c.History = append(c.History, ocispec.History{Created: c.Created, CreatedBy: l.CreatedBy})
	}
	return c
}
