package docker

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
)

// send gives the engine the image as an archive, without the layers that it has. If the engine loses one of those in
// the meantime the whole image is sent.
func (d *Driver) send(ctx context.Context, digest string, m ocispec.Manifest, r reach, way *carriage) error {
	way.begin("sending")
	skip := 0
	if !r.containerd { // containerd's store takes whole images only
		var err error
		if skip, err = d.layersThere(ctx, m); err != nil {
			return err
		}
	}
	way.there(m.Layers[:skip])
	err := d.load(ctx, digest, m, skip, way)
	if err != nil && skip > 0 && ctx.Err() == nil && !silent(err) {
		d.log.InfoContext(ctx, "engine did not take the missing layers alone, sending all", "image", digest, "error", err)
		err = d.load(ctx, digest, m, 0, way)
	}
	return engineError(err, "send image to docker engine")
}

// layersThere is how many of the image's lowest layers the engine has. A layer counts only on top of the same layers.
func (d *Driver) layersThere(ctx context.Context, m ocispec.Manifest) (int, error) {
	var config ocispec.Image
	if err := d.readJSON(m.Config.Digest, &config); err != nil {
		return 0, err
	}
	list, err := d.engine.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return 0, engineError(err, "list images")
	}
	best := 0
	for _, s := range list {
		in, err := d.engine.ImageInspect(ctx, s.ID)
		if err != nil {
			continue // removed by now: its layers do not count
		}
		best = max(best, common(config.RootFS.DiffIDs, in.RootFS.Layers))
	}
	return best, nil
}

// common is the length of the common beginning of an image's layers and another's.
func common(a []digest.Digest, b []string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n].String() == b[n] {
		n++
	}
	return n
}

// load streams the archive, the lowest skip layers left out.
func (d *Driver) load(ctx context.Context, digest string, m ocispec.Manifest, skip int, way *carriage) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := d.writeArchive(ctx, w, digest, m, skip, way)
		w.CloseWithError(err)
		written <- err
	}()
	res, err := d.engine.ImageLoad(ctx, r, client.ImageLoadWithQuiet(way == nil))
	if err == nil {
		err = messages(res.Body, way)
		res.Body.Close()
	}
	r.Close() // frees the writer if the engine did not read to the end
	writeErr := <-written
	if err != nil && writeErr != nil && writeErr != io.ErrClosedPipe {
		return fmt.Errorf("%w (%w)", err, writeErr)
	}
	return err
}

// archiveEntry is the docker archive's description of an image.
type archiveEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// writeArchive writes an archive that is both docker's own format and an OCI layout, so that engines old and new
// keep the digests: blobs/sha256/…, index.json, oci-layout, manifest.json.
func (d *Driver) writeArchive(ctx context.Context, w io.Writer, digest string, m ocispec.Manifest, skip int, way *carriage) error {
	t := tar.NewWriter(w)
	entry := archiveEntry{Config: blobPath(m.Config.Digest.String()), RepoTags: []string{d.sentName(digest)}}
	blobs := []string{digest, m.Config.Digest.String()}
	for i, l := range m.Layers {
		entry.Layers = append(entry.Layers, blobPath(l.Digest.String()))
		if i >= skip && !slices.Contains(blobs, l.Digest.String()) {
			blobs = append(blobs, l.Digest.String())
		}
	}
	var manifestSize int64
	for _, b := range blobs {
		size, err := d.writeBlob(ctx, t, b, way)
		if err != nil {
			return err
		}
		if b == digest {
			manifestSize = size
		}
	}
	for _, f := range []struct {
		name string
		data any
	}{
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{ocispec.ImageIndexFile, archiveIndex(digest, manifestSize, d.sentName(digest))},
		{"manifest.json", []archiveEntry{entry}},
	} {
		data, err := json.Marshal(f.data)
		if err != nil {
			return fmt.Errorf("encode %s: %w", f.name, err)
		}
		if err := t.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		if _, err := t.Write(data); err != nil {
			return err
		}
	}
	return t.Close()
}

func archiveIndex(manifest string, size int64, name string) ocispec.Index {
	return ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{{
			MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(manifest), Size: size,
			Annotations: map[string]string{"io.containerd.image.name": name},
		}},
	}
}

func blobPath(digest string) string { return "blobs/sha256/" + images.Digest(digest).Hex() }

func (d *Driver) writeBlob(ctx context.Context, t *tar.Writer, digest string, way *carriage) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	blob, err := d.opts.Images.OpenVerified(images.Descriptor{Digest: images.Digest(digest), Size: -1})
	if err != nil {
		return 0, fmt.Errorf("read blob: %w", err)
	}
	defer blob.Close()
	if err := t.WriteHeader(&tar.Header{Name: blobPath(digest), Mode: 0o644, Size: blob.Size()}); err != nil {
		return 0, err
	}
	_, err = io.Copy(t, way.reader(digest, blob))
	return blob.Size(), err
}

func (d *Driver) readJSON(dig digest.Digest, into any) error {
	f, err := d.opts.Images.OpenBlob(images.Digest(dig))
	if err != nil {
		return fmt.Errorf("read blob: %w", err)
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, 16<<20)).Decode(into); err != nil {
		return fmt.Errorf("read blob %s: %w", dig, err)
	}
	return nil
}
