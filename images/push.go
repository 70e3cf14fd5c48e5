package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	godigest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// AnnotationUncompressed is on the manifest of an image that was pushed compressed: the digest that it has here.
const AnnotationUncompressed = "release.uncompressed.digest"

// PushOptions says where an image goes, and how.
type PushOptions struct {
	Remote
	Compress string // "": layers as they are here; "gzip"
}

// Pushed says what a push did.
type Pushed struct {
	Reference string   `json:"reference"`
	Digest    Digest   `json:"digest"`     // of the manifest in the registry
	Image     Digest   `json:"image"`      // of the image here; another one when it was compressed
	Blobs     int      `json:"blobs"`      // of image and artifacts
	Moved     int      `json:"moved"`      // blobs that were sent
	MovedSize int64    `json:"moved_size"` // bytes of them
	Mounted   int      `json:"mounted"`    // blobs that the registry had in another repository
	Artifacts []Digest `json:"artifacts"`  // signatures, bills of materials and the like that went along
}

// Push sends an image and its artifacts to a registry. Blobs that are there are not sent, so a push that was cut goes on
// with those that are missing; the manifest comes last. A failure that may pass is tried again, see Remote.
//
// Signatures and attestations also get the tag under which cosign looks for them. What is signed is the digest that the
// image has here, so those of a compressed push are found by it and not by the compressed digest.
//
// Errors: fault.NotFound (no such image here, no such repository), fault.Denied (credentials), fault.Unavailable
// (network, registry), fault.Invalid (reference, compression).
func (s *Store) Push(ctx context.Context, d Digest, o PushOptions) (Pushed, error) {
	ref, err := o.parse()
	if err != nil {
		return Pushed{}, err
	}
	if _, byDigest := ref.(name.Digest); byDigest {
		return Pushed{}, fault.New(fault.Invalid, "push image %s to %s: want a tag, the digest follows from the image", d.Short(), o.Reference)
	}
	release, err := s.Hold(ctx)
	if err != nil {
		return Pushed{}, err
	}
	defer release()
	p := &push{store: s, ref: ref, meter: &meter{next: remote.DefaultTransport, states: map[Digest]string{}},
		report: &reporter{call: o.Progress}, blobs: map[Digest]Descriptor{}}
	if p.known, err = s.readPushed(); err != nil {
		return Pushed{}, err
	}
	if p.pusher, err = remote.NewPusher(o.options(ctx, p.meter)...); err != nil {
		return Pushed{}, err
	}
	res, err := p.run(ctx, d, o.Compress)
	// Also after a failure: what was sent is there, and a mount from it spares sending it again.
	return res, errors.Join(err, s.notePushed(context.WithoutCancel(ctx), ref.Context(), p.there()))
}

// push is one push under way.
type push struct {
	store  *Store
	ref    name.Reference
	pusher *remote.Pusher
	meter  *meter
	report *reporter
	known  pushedBlobs
	blobs  map[Digest]Descriptor // of everything that is to be there
}

func (p *push) run(ctx context.Context, d Digest, compress string) (Pushed, error) {
	m, raw, err := p.store.readManifest(d)
	if err != nil {
		return Pushed{}, err
	}
	open := p.store.openPushed
	switch compress {
	case "":
	case "gzip":
		if raw, open, err = p.store.compressed(ctx, d, m); err != nil {
			return Pushed{}, err
		}
	default:
		return Pushed{}, fault.New(fault.Invalid, "push image %s: compression %q is none of gzip", d.Short(), compress)
	}
	res := Pushed{Reference: p.ref.Name(), Digest: DigestOf(raw), Image: d, Artifacts: []Digest{}}
	if err := p.send(ctx, p.ref, raw, open); err != nil {
		return res, err
	}
	list, err := p.store.Referrers(d, "")
	if err != nil {
		return res, err
	}
	for _, r := range list {
		if err := p.sendArtifact(ctx, d, r); err != nil {
			return res, fmt.Errorf("artifact %s: %w", r.Type, err)
		}
		res.Artifacts = append(res.Artifacts, r.Digest)
	}
	res.Blobs = len(p.blobs)
	for blob, size := range p.blobs {
		switch p.meter.state(blob) {
		case "moved":
			res.Moved++
			res.MovedSize += size.Size
		case "mounted":
			res.Mounted++
		}
	}
	return res, nil
}

// sendArtifact sends an artifact by its digest, and under its tag, where the newest of a type ends up.
func (p *push) sendArtifact(ctx context.Context, subject Digest, r Referrer) error {
	_, raw, err := p.store.readManifest(r.Digest)
	if err != nil {
		return err
	}
	refs := []name.Reference{p.ref.Context().Digest(string(r.Digest))}
	if tag := ArtifactTag(subject, r.Type); tag != "" {
		refs = append(refs, p.ref.Context().Tag(tag))
	}
	for _, ref := range refs {
		if err := p.send(ctx, ref, raw, p.store.openPushed); err != nil {
			return err
		}
	}
	return nil
}

// send brings a manifest and what it names to the registry.
func (p *push) send(ctx context.Context, ref name.Reference, raw []byte, open openBlob) error {
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return fault.New(fault.Invalid, "read manifest: %w", err)
	}
	img, err := partial.CompressedToImage(&pushedManifest{push: p, raw: raw, manifest: m, open: open})
	if err != nil {
		return err
	}
	for _, l := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		p.blobs[Digest(l.Digest)] = describe(l)
	}
	if err := p.pusher.Push(ctx, ref, mountable{img, p}); err != nil {
		return registryError(p.ref, err)
	}
	for d, b := range p.blobs {
		if state := p.meter.state(d); state != "" {
			p.report.report(Transfer{Blob: d, Size: b.Size, Moved: b.Size, State: state})
		}
	}
	return nil
}

// there is the blobs that the repository is known to have now.
func (p *push) there() []Digest {
	var list []Digest
	for d := range p.blobs {
		if p.meter.state(d) != "" {
			list = append(list, d)
		}
	}
	return list
}

// openBlob opens a blob of a push for reading.
type openBlob func(Digest) (io.ReadCloser, error)

func (s *Store) openPushed(d Digest) (io.ReadCloser, error) {
	return s.OpenVerified(Descriptor{Digest: d, Size: -1})
}

// pushedManifest is a manifest in the form that the client of registries takes.
type pushedManifest struct {
	push     *push
	raw      []byte
	manifest ocispec.Manifest
	open     openBlob
}

// RawManifest gives the manifest's bytes.
func (m *pushedManifest) RawManifest() ([]byte, error) { return m.raw, nil }

// MediaType is that of the manifest.
func (m *pushedManifest) MediaType() (types.MediaType, error) {
	if m.manifest.MediaType == "" {
		return types.OCIManifestSchema1, nil
	}
	return types.MediaType(m.manifest.MediaType), nil
}

// RawConfigFile gives the configuration's bytes.
func (m *pushedManifest) RawConfigFile() ([]byte, error) {
	r, err := m.open(Digest(m.manifest.Config.Digest))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readSmall(r)
}

// LayerByDigest finds a layer.
func (m *pushedManifest) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, l := range m.manifest.Layers {
		if l.Digest == godigest.Digest(h.String()) {
			return &pushedLayer{push: m.push, desc: l, open: m.open}, nil
		}
	}
	return nil, fault.New(fault.NotFound, "no layer %s in the manifest", h)
}

// pushedLayer is a blob of a push.
type pushedLayer struct {
	push *push
	desc ocispec.Descriptor
	open openBlob
}

// Digest names the blob.
func (l *pushedLayer) Digest() (v1.Hash, error) { return v1.NewHash(string(l.desc.Digest)) }

// Size is in bytes.
func (l *pushedLayer) Size() (int64, error) { return l.desc.Size, nil }

// MediaType is that in the manifest.
func (l *pushedLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(l.desc.MediaType), nil
}

// Compressed opens the blob as it moves.
func (l *pushedLayer) Compressed() (io.ReadCloser, error) {
	r, err := l.open(Digest(l.desc.Digest))
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{l.push.report.reader(r, describe(l.desc), 0), r}, nil
}

// mountable is an image whose layers say in which other repository of the registry they are.
type mountable struct {
	v1.Image
	push *push
}

// Layers gives the layers, lowest first.
func (m mountable) Layers() ([]v1.Layer, error) {
	layers, err := m.Image.Layers()
	if err != nil {
		return nil, err
	}
	for i, l := range layers {
		d, err := l.Digest()
		if err != nil {
			return nil, err
		}
		if from, ok := m.push.known.find(m.push.ref.Context(), Digest(d.String())); ok {
			layers[i] = &remote.MountableLayer{Layer: l, Reference: from}
		}
	}
	return layers, nil
}
