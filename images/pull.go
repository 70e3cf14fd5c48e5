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
	Skipped   []Skip   `json:"skipped"`   // that the registry lists and that this store cannot keep
}

// Skip is an artifact that a pull left behind, and why.
type Skip struct {
	Digest Digest `json:"digest"`
	Reason string `json:"reason"`
}

// Pull brings an image and its artifacts from a registry. What a cut pull has of a blob is kept, and the next goes on from
// there; every blob is checked by its digest. Layers that are here are not fetched. An image that was pushed from such a
// store has here the digest that it had there, also when it was compressed on the way; another one is stored in this
// store's form, see Import, and then artifacts, which name their image by its digest, are left behind. So is, and is said
// to be, what is listed as an artifact and has no form that this store keeps, such as an index.
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
	res := Pulled{Reference: ref.Name(), Artifacts: []Digest{}, Skipped: []Skip{}}
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
	err = s.pullArtifacts(ctx, o.Remote, ref, get, &res)
	return res, err
}

// pullArtifacts brings what the registry lists as referring to an image. A registry without such a list has none.
func (s *Store) pullArtifacts(ctx context.Context, o Remote, ref name.Reference, get *downloader, res *Pulled) error {
	index, err := remote.Referrers(ref.Context().Digest(string(res.Image)), o.options(ctx, remote.DefaultTransport)...)
	if err != nil {
		if err := registryError(ref, err); !fault.Is(err, fault.NotFound) {
			return fmt.Errorf("list artifacts: %w", err)
		}
		return nil
	}
	m, err := index.IndexManifest()
	if err != nil {
		return registryError(ref, err)
	}
	if len(m.Manifests) > maxArtifacts {
		return fault.New(fault.Invalid, "refused: more than %d artifacts", maxArtifacts)
	}
	for _, e := range m.Manifests {
		d := Digest(e.Digest.String())
		skip, err := s.pullArtifact(ctx, o, ref, get, d, res.Image)
		switch {
		case err != nil:
			return fmt.Errorf("artifact %s: %w", d.Short(), err)
		case skip != "":
			res.Skipped = append(res.Skipped, Skip{d, skip})
		default:
			res.Artifacts = append(res.Artifacts, d)
		}
	}
	return nil
}

// pullArtifact brings one artifact, or says why it is none for this store.
func (s *Store) pullArtifact(ctx context.Context, o Remote, ref name.Reference, get *downloader, d, subject Digest) (skip string, err error) {
	if !d.Valid() {
		return "it is listed without a sha256 digest", nil
	}
	desc, err := remote.Get(ref.Context().Digest(string(d)), o.options(ctx, remote.DefaultTransport)...)
	if err != nil {
		return "", registryError(ref, err)
	}
	m, skip := decodeArtifact(desc.Manifest, subject, s.limits.LayerBytes)
	if skip != "" {
		return skip, nil
	}
	for _, l := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if err := s.pullBlob(ctx, get, describe(l)); err != nil {
			return "", err
		}
	}
	if err := s.WriteBlobAs(ctx, Descriptor{Digest: d, Size: int64(len(desc.Manifest))}, bytes.NewReader(desc.Manifest)); err != nil {
		return "", err
	}
	return "", s.AttachArtifact(ctx, d)
}

// decodeArtifact reads the manifest of an artifact from elsewhere, or says why the store cannot keep it: it takes what
// AttachArtifact takes.
func decodeArtifact(raw []byte, subject Digest, largest int64) (m ocispec.Manifest, skip string) {
	if len(raw) > smallLimit {
		return m, fmt.Sprintf("its manifest is larger than %d bytes", smallLimit)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, "its manifest cannot be read: " + err.Error()
	}
	switch {
	case m.SchemaVersion != 2 || m.Config.Digest == "":
		return m, "it is no image manifest"
	case m.Subject == nil || Digest(m.Subject.Digest) != subject:
		return m, "it does not name the image as its subject"
	case artifactType(m) == "":
		return m, "it has no type"
	}
	for _, l := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if b := describe(l); !b.Digest.Valid() || b.Size < 0 || b.Size > largest {
			return m, fmt.Sprintf("its manifest names a blob %.100q of %d bytes", l.Digest, l.Size)
		}
	}
	return m, ""
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
