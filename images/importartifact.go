package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// maxArtifacts bounds the artifacts that an import takes out of one layout, and a pull for one image.
const maxArtifacts = 1000

// importArtifacts takes the artifacts of an image out of an OCI layout. The caller holds.
func (s *Store) importArtifacts(ctx context.Context, t tree, subject Digest) error {
	data, err := readTree(t, ocispec.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return fault.New(fault.Invalid, "read index.json: %w", err)
	}
	attached := slices.DeleteFunc(index.Manifests, func(d ocispec.Descriptor) bool { return !isArtifact(d) })
	if len(attached) > maxArtifacts {
		return fault.New(fault.Invalid, "refused: more than %d artifacts", maxArtifacts)
	}
	for _, d := range attached {
		if err := s.importArtifact(ctx, t, Digest(d.Digest), subject); err != nil {
			return fmt.Errorf("artifact %s: %w", d.Digest, err)
		}
	}
	return nil
}

// importArtifact copies one artifact, if it is one of the subject.
func (s *Store) importArtifact(ctx context.Context, t tree, d, subject Digest) error {
	raw, err := readVerified(t, d)
	if err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return fault.New(fault.Invalid, "read manifest: %w", err)
	}
	if m.Subject == nil || Digest(m.Subject.Digest) != subject {
		return nil
	}
	for _, b := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if err := s.importBlob(ctx, t, describe(b)); err != nil {
			return err
		}
	}
	if err := s.WriteBlobAs(ctx, Descriptor{Digest: d, Size: int64(len(raw))}, bytes.NewReader(raw)); err != nil {
		return err
	}
	return s.AttachArtifact(ctx, d)
}

func (s *Store) importBlob(ctx context.Context, t tree, b Descriptor) error {
	if !b.Digest.Valid() || b.Size < 0 || b.Size > s.limits.LayerBytes {
		return fault.New(fault.Invalid, "refused: blob %q of %d bytes", string(b.Digest), b.Size)
	}
	f, err := openMember(t, layoutPath(b.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	return s.WriteBlobAs(ctx, b, io.LimitReader(f, s.limits.LayerBytes))
}
