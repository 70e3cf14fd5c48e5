package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// PullOptions says which image comes, and what it is called here.
type PullOptions struct {
	Remote
	Platform string // of an image for several: "os/arch" or "os/arch/variant"; "" is linux on this machine's architecture
	Name     string // in this store; "" for none
}

// Pulled says what a pull did.
type Pulled struct {
	Reference string   `json:"reference"`
	Image     Digest   `json:"image"`     // here
	Digest    Digest   `json:"digest"`    // of the manifest in the registry
	Artifacts []Digest `json:"artifacts"` // signatures, bills of materials and the like that came along
}

// Pull brings an image and its artifacts from a registry. What a cut pull has of a blob is kept, and the next goes on from
// there; every blob is checked by its digest. Layers that are here are not fetched. An image that was pushed from such a
// store has here the digest that it had there, also when it was compressed on the way; another one is stored in this
// store's form, see Import, and then artifacts, which name their image by its digest, are left behind.
//
// Errors are those of Import.
func (s *Store) Pull(ctx context.Context, o PullOptions) (Pulled, error) {
	platform, err := parsePlatform(o.Platform)
	if err != nil {
		return Pulled{}, err
	}
	ref, err := o.parse()
	if err != nil {
		return Pulled{}, err
	}
	release, err := s.Hold(ctx)
	if err != nil {
		return Pulled{}, err
	}
	defer release()
	res, err := s.pull(ctx, o, ref, platform)
	if err != nil {
		return res, fmt.Errorf("pull %s: %w", o.Reference, err)
	}
	return res, nil
}

func (s *Store) pull(ctx context.Context, o PullOptions, ref name.Reference, platform ocispec.Platform) (Pulled, error) {
	res := Pulled{Reference: ref.Name(), Artifacts: []Digest{}}
	get, err := s.newDownloader(ctx, ref, o.Remote)
	if err != nil {
		return res, err
	}
	f, err := openReference(ctx, ref, o.Remote, get, platform)
	if err != nil {
		return res, err
	}
	res.Digest = f.digest
	if res.Image, err = s.adopt(ctx, f, o.Name); err != nil {
		return res, err
	}
	res.Artifacts, err = s.pullArtifacts(ctx, o.Remote, ref, get, res.Image)
	return res, err
}

// pullArtifacts brings what the registry lists as referring to an image. A registry without such a list has none.
func (s *Store) pullArtifacts(ctx context.Context, o Remote, ref name.Reference, get *downloader, d Digest) ([]Digest, error) {
	list := []Digest{}
	index, err := remote.Referrers(ref.Context().Digest(string(d)), o.options(ctx, remote.DefaultTransport)...)
	if err == nil {
		m, merr := index.IndexManifest()
		if merr != nil {
			return list, registryError(ref, merr)
		}
		if len(m.Manifests) > maxArtifacts {
			return list, fault.New(fault.Invalid, "refused: more than %d artifacts", maxArtifacts)
		}
		for _, e := range m.Manifests {
			a := Descriptor{Digest: Digest(e.Digest.String()), Size: e.Size}
			if err := s.pullArtifact(ctx, o, ref, get, a, d); err != nil {
				return list, fmt.Errorf("artifact %s: %w", a.Digest.Short(), err)
			}
			list = append(list, a.Digest)
		}
		return list, nil
	}
	if err := registryError(ref, err); !fault.Is(err, fault.NotFound) {
		return list, fmt.Errorf("list artifacts: %w", err)
	}
	return list, nil
}

func (s *Store) pullArtifact(ctx context.Context, o Remote, ref name.Reference, get *downloader, a Descriptor, subject Digest) error {
	desc, err := remote.Get(ref.Context().Digest(string(a.Digest)), o.options(ctx, remote.DefaultTransport)...)
	if err != nil {
		return registryError(ref, err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(desc.Manifest, &m); err != nil {
		return fault.New(fault.Invalid, "read its manifest: %w", err)
	}
	if m.Subject == nil || Digest(m.Subject.Digest) != subject {
		return fault.New(fault.Invalid, "it is listed for image %s but names another", subject)
	}
	for _, l := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		b := describe(l)
		if !b.Digest.Valid() || b.Size < 0 || b.Size > artifactLimit {
			return fault.New(fault.Invalid, "refused: its manifest names a blob %q of %d bytes", l.Digest, l.Size)
		}
		if err := s.pullBlob(ctx, get, b); err != nil {
			return err
		}
	}
	if err := s.WriteBlobAs(ctx, Descriptor{Digest: a.Digest, Size: int64(len(desc.Manifest))}, bytes.NewReader(desc.Manifest)); err != nil {
		return err
	}
	return s.AttachArtifact(ctx, a.Digest)
}

func (s *Store) pullBlob(ctx context.Context, get *downloader, b Descriptor) error {
	if s.renew(ctx, b.Digest) {
		return nil
	}
	in, err := get.open(ctx, b)
	if err != nil {
		return err
	}
	return errors.Join(s.WriteBlobAs(ctx, b, in), in.Close())
}
