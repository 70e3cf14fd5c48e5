package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// Media types of Docker that mean the same as those of OCI.
const (
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig       = "application/vnd.docker.container.image.v1+json"
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
)

// openImage finds the image in a tree: an OCI layout, else what docker save writes.
func openImage(t tree, selected string, platform ocispec.Platform) (foreign, error) {
	data, err := readTree(t, ocispec.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return openDockerArchive(t, selected, platform)
	}
	if err != nil {
		return foreign{}, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return foreign{}, fault.New(fault.Invalid, "read index.json: %w", err)
	}
	d, err := choose(t, index.Manifests, selected, platform, 0)
	if err != nil {
		return foreign{}, err
	}
	return openManifest(t, d)
}

// maxNesting bounds indexes within indexes.
const maxNesting = 4

// choose finds the one manifest that is meant. Of several with the same name the last is: a layout written over time
// has the newest last.
func choose(t tree, list []ocispec.Descriptor, selected string, platform ocispec.Platform, depth int) (ocispec.Descriptor, error) {
	list = slices.DeleteFunc(slices.Clone(list), isArtifact)
	if depth == maxNesting {
		return ocispec.Descriptor{}, fault.New(fault.Invalid, "refused: indexes are nested too deeply")
	}
	list, err := bySelection(list, selected, platform)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var other []string
	for _, d := range slices.Backward(list) {
		switch {
		case d.MediaType == ocispec.MediaTypeImageIndex || d.MediaType == dockerManifestList:
			inner, err := readIndexBlob(t, d)
			if err != nil {
				return d, err
			}
			found, err := choose(t, inner, "", platform, depth+1)
			if err == nil || !fault.Is(err, fault.NotFound) {
				return found, err
			}
			other = append(other, err.Error())
		case d.Platform == nil || fits(platform, d.Platform):
			return d, nil
		default:
			other = append(other, platformText(*d.Platform))
		}
	}
	return ocispec.Descriptor{}, wrongPlatform(platform, other)
}

// isArtifact says that an entry of an index is about an image and no image itself. Some tools give images an artifact type
// too: that of their configuration.
func isArtifact(d ocispec.Descriptor) bool {
	return d.ArtifactType != "" && d.ArtifactType != ocispec.MediaTypeImageConfig && d.ArtifactType != dockerConfig
}

func wrongPlatform(platform ocispec.Platform, have []string) error {
	return fault.New(fault.NotFound, "no image for %s in it", platformText(platform)).
		WithHint("it has: %s", strings.Join(have, ", "))
}

// bySelection leaves the descriptors that a name, tag or digest selects; without one, there may be one name only.
func bySelection(list []ocispec.Descriptor, selected string, platform ocispec.Platform) ([]ocispec.Descriptor, error) {
	var names []string
	for _, d := range list {
		if n := entryName(d); !slices.Contains(names, n) && (d.Platform == nil || fits(platform, d.Platform)) {
			names = append(names, n)
		}
	}
	if selected == "" {
		if len(names) > 1 {
			return nil, fault.New(fault.Invalid, "it has several images").WithHint("name one of: %s", strings.Join(names, ", "))
		}
		return list, nil
	}
	list = slices.DeleteFunc(slices.Clone(list), func(d ocispec.Descriptor) bool {
		return entryName(d) != selected && string(d.Digest) != selected
	})
	if len(list) == 0 {
		return nil, fault.New(fault.NotFound, "no image %q in it", selected).WithHint("it has: %s", strings.Join(names, ", "))
	}
	return list, nil
}

func readIndexBlob(t tree, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	data, err := readVerified(t, Digest(d.Digest))
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fault.New(fault.Invalid, "read index %s: %w", d.Digest, err)
	}
	for i := range index.Manifests {
		index.Manifests[i].Annotations = nil // names within an index mean nothing to the reader
	}
	return index.Manifests, nil
}

// openManifest reads a manifest of a layout and its configuration.
func openManifest(t tree, d ocispec.Descriptor) (foreign, error) {
	var f foreign
	raw, err := readVerified(t, Digest(d.Digest))
	if err != nil {
		return f, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil || !Digest(m.Config.Digest).Valid() {
		return f, fault.New(fault.Invalid, "manifest %s is none of an image", d.Digest)
	}
	config, err := readVerified(t, Digest(m.Config.Digest))
	if err != nil {
		return f, err
	}
	f = foreign{digest: Digest(d.Digest), config: config, annotations: m.Annotations}
	for _, l := range m.Layers {
		if !Digest(l.Digest).Valid() {
			return f, fault.New(fault.Invalid, "manifest %s has a layer with digest %q", d.Digest, l.Digest)
		}
		f.layers = append(f.layers, foreignLayer{name: string(l.Digest), open: func(context.Context) (io.ReadCloser, error) {
			return openMember(t, layoutPath(Digest(l.Digest)))
		}})
	}
	return f, nil
}

func layoutPath(d Digest) string { return path.Join("blobs", "sha256", d.Hex()) }

func openMember(t tree, name string) (io.ReadCloser, error) {
	f, err := t.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Invalid, "it is incomplete: no %s", name)
	}
	return f, err
}

// readVerified reads a small blob of a layout and checks it.
func readVerified(t tree, d Digest) ([]byte, error) {
	if !d.Valid() {
		return nil, fault.New(fault.Invalid, "%q is no sha256 digest", string(d))
	}
	f, err := openMember(t, layoutPath(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readSmall(f)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	if got := DigestOf(data); got != d {
		return nil, fault.New(fault.Invalid, "blob %s is damaged: its content has digest %s", d, got)
	}
	return data, nil
}
