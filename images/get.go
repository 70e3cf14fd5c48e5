package images

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// Get reads manifest and configuration of an image; fault.NotFound when they are not there.
func (s *Store) Get(d Digest) (Image, error) {
	img, _, err := s.read(d)
	return img, err
}

// Blobs lists all blobs an image consists of: configuration, layers lowest first, and the manifest last, the order in
// which they are to be written elsewhere.
func (s *Store) Blobs(d Digest) ([]Descriptor, error) {
	m, raw, err := s.readManifest(d)
	if err != nil {
		return nil, err
	}
	list := []Descriptor{describe(m.Config)}
	for _, l := range m.Layers {
		if b := describe(l); !slices.Contains(list, b) {
			list = append(list, b)
		}
	}
	return append(list, Descriptor{Digest: d, Size: int64(len(raw))}), nil
}

func describe(d ocispec.Descriptor) Descriptor {
	return Descriptor{Digest: Digest(d.Digest), Size: d.Size}
}

func (s *Store) readManifest(d Digest) (ocispec.Manifest, []byte, error) {
	var m ocispec.Manifest
	raw, err := s.readBlob(d)
	if err != nil {
		return m, nil, fmt.Errorf("read image: %w", err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, nil, fault.New(fault.Invalid, "read image %s: its manifest is no JSON: %w", d, err)
	}
	if !Digest(m.Config.Digest).Valid() || m.SchemaVersion != 2 {
		return m, nil, fault.New(fault.Invalid, "read image %s: it is no image manifest", d)
	}
	for _, l := range m.Layers {
		if !Digest(l.Digest).Valid() || l.Size < 0 {
			return m, nil, fault.New(fault.Invalid, "read image %s: its manifest has a layer with digest %q", d, l.Digest)
		}
	}
	return m, raw, nil
}

func (s *Store) read(d Digest) (Image, []byte, error) {
	m, raw, err := s.readManifest(d)
	if err != nil {
		return Image{}, nil, err
	}
	config, err := s.readBlob(Digest(m.Config.Digest))
	if err != nil {
		return Image{}, nil, fmt.Errorf("read image %s: %w", d, err)
	}
	img, err := decode(m, config)
	if err != nil {
		return Image{}, nil, fmt.Errorf("read image %s: %w", d, err)
	}
	return img, raw, nil
}

// decode makes an image of a manifest and the bytes of its configuration.
func decode(m ocispec.Manifest, config []byte) (Image, error) {
	img := Image{Annotations: m.Annotations}
	if err := json.Unmarshal(config, &img.Config); err != nil {
		return img, fault.New(fault.Invalid, "read configuration: %w", err)
	}
	diffIDs := img.Config.RootFS.DiffIDs
	if len(diffIDs) != len(m.Layers) {
		return img, fault.New(fault.Invalid, "read configuration: it has %d layers, the manifest %d", len(diffIDs), len(m.Layers))
	}
	by := createdBy(img.Config.History, len(diffIDs))
	for i, l := range m.Layers {
		diffID := Digest(diffIDs[i])
		if !diffID.Valid() {
			return img, fault.New(fault.Invalid, "read configuration: diff id %q of layer %d", diffIDs[i], i)
		}
		img.Layers = append(img.Layers, Layer{Descriptor: describe(l), DiffID: diffID, MediaType: l.MediaType, CreatedBy: by[i]})
	}
	return img, nil
}

// createdBy is what the history says about each of n layers; "" where it does not fit.
func createdBy(history []ocispec.History, n int) []string {
	var by []string
	for _, h := range history {
		if !h.EmptyLayer {
			by = append(by, h.CreatedBy)
		}
	}
	if len(by) != n {
		return make([]string, n)
	}
	return by
}

// List is all images, newest first; an image with several names has a line for each.
func (s *Store) List() ([]Info, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	pins, err := s.readPins()
	if err != nil {
		return nil, err
	}
	var list []Info
	seen := map[string]bool{}
	for _, e := range slices.Backward(index.Manifests) {
		info, err := s.info(e)
		if fault.Is(err, fault.Invalid) || fault.Is(err, fault.NotFound) {
			continue // another tool's artifact, or removed since the index was read
		}
		if err != nil {
			return nil, err
		}
		info.Newest = info.Name != "" && !seen[info.Name]
		seen[info.Name] = true
		info.Pinned = pins.users(info.Digest)
		list = append(list, info)
	}
	return list, nil
}

// Added is when the image came into this store first; zero when that is not known.
func (s *Store) Added(d Digest) (first time.Time) {
	index, err := s.readIndex()
	if err != nil {
		return first
	}
	for _, e := range index.Manifests {
		t, err := time.Parse(time.RFC3339Nano, e.Annotations[annotationCreated])
		if err == nil && Digest(e.Digest) == d && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

func (s *Store) info(e ocispec.Descriptor) (Info, error) {
	info := Info{Digest: Digest(e.Digest), Name: entryName(e)}
	if t, err := time.Parse(time.RFC3339Nano, e.Annotations[annotationCreated]); err == nil {
		info.Created = t
	}
	m, raw, err := s.readManifest(info.Digest)
	if err != nil {
		return info, err
	}
	info.Size = int64(len(raw)) + m.Config.Size
	for _, l := range m.Layers {
		info.Size += l.Size
	}
	info.Layers = len(m.Layers)
	info.Machine = m.Annotations[AnnotationMachine] != ""
	if e.Platform != nil {
		info.OS, info.Arch = e.Platform.OS, e.Platform.Architecture
	}
	return info, nil
}
