package images

import (
	"archive/tar"
	"cmp"
	"context"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/bootandshoot/release/internal/fault"
)

// ExportDockerArchive writes an image in the form that docker load reads. The tag, "name:tag", is what the engine will
// call it; "" takes the image's name here, and an image without one is loaded without.
func (s *Store) ExportDockerArchive(ctx context.Context, d Digest, tag string, w io.Writer) error {
	m, _, err := s.readManifest(d)
	if err != nil {
		return err
	}
	name, err := s.newestName(d)
	if err != nil {
		return err
	}
	config := describe(m.Config)
	entry := dockerArchiveImage{Config: config.Digest.Hex() + ".json", RepoTags: []string{}, Layers: []string{}}
	if tag = cmp.Or(tag, name); tag != "" {
		full, err := dockerTag(tag)
		if err != nil {
			return err
		}
		entry.RepoTags = append(entry.RepoTags, full)
	}
	tw := tar.NewWriter(w)
	write := tarMember(tw)
	if err := s.exportBlob(ctx, config, entry.Config, write); err != nil {
		return diskError(err, "export image %s", d.Short())
	}
	for _, l := range m.Layers {
		name := path.Join(Digest(l.Digest).Hex(), "layer.tar")
		if !slices.Contains(entry.Layers, name) {
			if err := s.exportBlob(ctx, describe(l), name, write); err != nil {
				return diskError(err, "export image %s", d.Short())
			}
		}
		entry.Layers = append(entry.Layers, name)
	}
	if err := exportJSON(write, "manifest.json", []dockerArchiveImage{entry}); err != nil {
		return diskError(err, "export image %s", d.Short())
	}
	return tw.Close()
}

// dockerTag is the full form that an engine accepts: "shop" becomes "shop:latest".
func dockerTag(tag string) (string, error) {
	ref, err := name.NewTag(tag)
	if err != nil {
		return "", fault.New(fault.Invalid, "name image %q for the engine: %w", tag, err).WithHint("want name:tag in lower case")
	}
	if ref.RegistryStr() == name.DefaultRegistry && !strings.HasSuffix(tag, ":"+ref.TagStr()) {
		return tag + ":" + ref.TagStr(), nil
	}
	if ref.RegistryStr() == name.DefaultRegistry {
		return tag, nil
	}
	return ref.Name(), nil
}
