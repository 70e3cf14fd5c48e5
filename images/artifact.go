package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	godigest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// Types of the artifacts that this project attaches to images.
const (
	// ArtifactSignature holds a signature a blob, as cosign lays them out.
	ArtifactSignature = "application/vnd.dev.cosign.artifact.sig.v1+json"
	// ArtifactAttestation is a signed statement: a DSSE envelope.
	ArtifactAttestation = "application/vnd.dsse.envelope.v1+json"
	// ArtifactStatement is an unsigned in-toto statement.
	ArtifactStatement = "application/vnd.in-toto+json"
	// ArtifactSPDX and ArtifactCycloneDX are software bills of materials.
	ArtifactSPDX      = "application/spdx+json"
	ArtifactCycloneDX = "application/vnd.cyclonedx+json"
)

// Artifact is something said about an image, kept beside it: a signature, a bill of materials, an attestation. In a
// store or registry it is a manifest of its own (an OCI 1.1 artifact) that names the image as its subject.
type Artifact struct {
	Subject     Digest
	Type        string // artifactType, a media type
	Blobs       []ArtifactBlob
	Annotations map[string]string // of the manifest
}

// ArtifactBlob is one piece of an artifact's content.
type ArtifactBlob struct {
	MediaType   string
	Annotations map[string]string
	Data        []byte
}

// Referrer is one line of the list of an image's artifacts.
type Referrer struct {
	Descriptor                    // of the artifact's manifest
	Type        string            `json:"type"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// artifactLimit is the largest blob of an artifact that is read into memory: bills of materials of images with very many
// files stay below it.
const artifactLimit = 256 << 20

// PutArtifact stores an artifact and lists it with its subject, which must be in the store. The digest depends on a
// alone; putting what is already listed changes nothing. Artifacts named in replaces leave the list in the same step;
// one that is not listed is fault.Busy: somebody else was quicker, look again.
func (s *Store) PutArtifact(ctx context.Context, a Artifact, replaces ...Digest) (Digest, error) {
	release, err := s.Hold(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	manifest, err := s.encodeArtifact(a)
	if err != nil {
		return "", err
	}
	for _, b := range append(slices.Clone(a.Blobs), ArtifactBlob{Data: emptyConfig}, ArtifactBlob{Data: manifest}) {
		// Not WriteBlobAs: it would trust a damaged blob that is there.
		if _, err := s.WriteBlob(ctx, bytes.NewReader(b.Data)); err != nil {
			return "", fmt.Errorf("attach %s to image %s: %w", a.Type, a.Subject.Short(), err)
		}
	}
	d := DigestOf(manifest)
	return d, s.refer(ctx, a.Subject, d, replaces)
}

// AttachArtifact lists an artifact whose manifest and blobs are in the store, as after an upload, with its subject.
// A missing blob or subject is fault.NotFound, a manifest that is no artifact's fault.Invalid.
func (s *Store) AttachArtifact(ctx context.Context, d Digest) error {
	m, _, err := s.readArtifact(d)
	if err != nil {
		return err
	}
	release, err := s.Hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := s.complete(d); err != nil {
		return err
	}
	return s.refer(ctx, Digest(m.Subject.Digest), d, nil)
}

// OpenArtifact reads an artifact with its content, every blob checked by its digest.
func (s *Store) OpenArtifact(d Digest) (Artifact, error) {
	m, _, err := s.readArtifact(d)
	if err != nil {
		return Artifact{}, err
	}
	a := Artifact{Subject: Digest(m.Subject.Digest), Type: artifactType(m), Annotations: m.Annotations}
	for _, l := range m.Layers {
		data, err := s.readArtifactBlob(describe(l))
		if err != nil {
			return a, fmt.Errorf("read artifact %s: %w", d.Short(), err)
		}
		a.Blobs = append(a.Blobs, ArtifactBlob{MediaType: l.MediaType, Annotations: l.Annotations, Data: data})
	}
	return a, nil
}

// IsArtifact says that a manifest of the store is about another and no image itself.
func (s *Store) IsArtifact(d Digest) bool {
	_, _, err := s.readArtifact(d)
	return err == nil
}

// readArtifact reads a manifest that has a subject and a type.
func (s *Store) readArtifact(d Digest) (ocispec.Manifest, []byte, error) {
	m, raw, err := s.readManifest(d)
	if err != nil {
		return m, nil, err
	}
	if m.Subject == nil || !Digest(m.Subject.Digest).Valid() || artifactType(m) == "" {
		return m, nil, fault.New(fault.Invalid, "read artifact %s: it names no image as its subject", d)
	}
	return m, raw, nil
}

// artifactType is that of the manifest, else of its configuration, as in the OCI image specification.
func artifactType(m ocispec.Manifest) string {
	if m.ArtifactType != "" {
		return m.ArtifactType
	}
	return m.Config.MediaType
}

func (s *Store) readArtifactBlob(d Descriptor) ([]byte, error) {
	f, err := s.OpenBlob(d.Digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if d.Size > artifactLimit {
		return nil, fault.New(fault.Invalid, "refused: blob %s has more than %d bytes", d.Digest, artifactLimit)
	}
	data, err := io.ReadAll(io.LimitReader(f, artifactLimit+1))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d.Digest, err)
	}
	if got := DigestOf(data); got != d.Digest {
		return nil, s.damage(d.Digest, f, "its content has the digest "+string(got))
	}
	return data, nil
}

// emptyConfig is the configuration of artifacts (OCI image specification, manifest.md, "empty descriptor").
var emptyConfig = []byte("{}")

// encodeArtifact gives the canonical bytes of an artifact's manifest.
func (s *Store) encodeArtifact(a Artifact) ([]byte, error) {
	if a.Type == "" || !strings.Contains(a.Type, "/") || len(a.Blobs) == 0 {
		return nil, fault.New(fault.Internal, "attach %q to image %s: want a media type and content", a.Type, a.Subject.Short())
	}
	_, subject, err := s.readManifest(a.Subject)
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", a.Type, err)
	}
	m := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: a.Type,
		Config:       contentDescriptor(ocispec.MediaTypeEmptyJSON, emptyConfig),
		Subject:      new(contentDescriptor(ocispec.MediaTypeImageManifest, subject)),
		Annotations:  maps.Clone(a.Annotations),
	}
	for _, b := range a.Blobs {
		l := contentDescriptor(b.MediaType, b.Data)
		l.Annotations = maps.Clone(b.Annotations)
		m.Layers = append(m.Layers, l)
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write artifact manifest: %w", err)
	}
	return manifest, nil
}

func contentDescriptor(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: godigest.Digest(DigestOf(data)), Size: int64(len(data))}
}

// ArtifactTag is the tag under which tools that ask no registry for referrers look for an artifact of this type, as
// cosign does: sha256-<hex of the subject>.sig and so on. It is "" for other types.
func ArtifactTag(subject Digest, artifactType string) string {
	for _, t := range artifactTags() {
		if t.kind == artifactType {
			return "sha256-" + subject.Hex() + "." + t.suffix
		}
	}
	return ""
}

type artifactTag struct{ suffix, kind string }

// artifactTags are cosign's tag suffixes.
func artifactTags() []artifactTag {
	return []artifactTag{{"sig", ArtifactSignature}, {"att", ArtifactAttestation}, {"sbom", ArtifactSPDX}}
}

// artifactByTag finds the newest artifact that a tag of ArtifactTag stands for; ok is false for other tags.
func (s *Store) artifactByTag(tag string) (d Digest, ok bool, err error) {
	rest, is := strings.CutPrefix(tag, "sha256-")
	hex, suffix, dotted := strings.Cut(rest, ".")
	subject, kind := Digest(digestPrefix+hex), ""
	for _, t := range artifactTags() {
		if t.suffix == suffix {
			kind = t.kind
		}
	}
	if !is || !dotted || !subject.Valid() || kind == "" {
		return "", false, nil
	}
	list, err := s.Referrers(subject, kind)
	if err != nil {
		return "", false, err
	}
	if len(list) == 0 {
		return "", false, fault.New(fault.NotFound, "image %s has no artifact of type %s", subject.Short(), kind)
	}
	return list[len(list)-1].Digest, true, nil
}
