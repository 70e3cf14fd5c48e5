package images

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// Source says where an image to import is: a path or a reference, not both.
type Source struct {
	Path      string // OCI layout folder, or a tar of one or of docker save, plain or compressed
	Reference string // registry/name:tag or registry/name@sha256:…
	Select    string // which image of a path that has several: a name or tag in it, or a digest
	Platform  string // "os/arch" or "os/arch/variant"; "" is linux on this machine's architecture
	Name      string // name of the image in this store; "" for none

	Annotations map[string]string // that an image from a path gets, over its own
	Unlisted    bool              // only written, as by Write: the caller lists it with Tag, and holds until then
}

// foreign is an image somewhere else, of the platform that was asked for.
type foreign struct {
	digest      Digest // of its manifest; "" where it has none
	config      []byte
	annotations map[string]string
	layers      []foreignLayer
}

// foreignLayer is a layer somewhere else, in whatever compression.
type foreignLayer struct {
	name string // for messages
	open func(ctx context.Context) (io.ReadCloser, error)
}

// Import copies an image into the store and lists it, unless it is to stay unlisted. Its layers are stored uncompressed and checked by their diff
// ids, and its manifest is written in this store's canonical form; where that gives another digest than the source's,
// the annotation release.source.digest keeps the source's. Artifacts come along from an OCI layout whose digest stays.
//
// Errors: fault.NotFound (no such path, tag or platform), fault.Unavailable (no network, no registry), fault.Denied
// (the registry wants other credentials than the Docker configuration has), fault.Invalid (the content is not what
// its digests say, or no image at all).
func (s *Store) Import(ctx context.Context, src Source) (Digest, error) {
	if (src.Path == "") == (src.Reference == "") {
		return "", fault.New(fault.Invalid, "import image: want a path or a reference")
	}
	platform, err := parsePlatform(src.Platform)
	if err != nil {
		return "", err
	}
	release, err := s.Hold(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	var d Digest
	if src.Reference != "" {
		d, err = s.importReference(ctx, src, platform)
	} else {
		d, err = s.importPath(ctx, src, platform)
	}
	if err != nil {
		return "", fmt.Errorf("import %s: %w", cmp.Or(src.Reference, src.Path), err)
	}
	return d, nil
}

func (s *Store) importReference(ctx context.Context, src Source, platform ocispec.Platform) (Digest, error) {
	f, err := s.openRemote(ctx, src.Reference, platform)
	if err != nil {
		return "", err
	}
	return s.adoptAs(ctx, f, src)
}

func (s *Store) importPath(ctx context.Context, src Source, platform ocispec.Platform) (Digest, error) {
	t, err := openTree(ctx, src.Path, s.limits)
	if err != nil {
		return "", err
	}
	defer t.close()
	f, err := openImage(t, src.Select, platform)
	if err != nil {
		return "", err
	}
	if len(src.Annotations) > 0 {
		all := map[string]string{}
		maps.Copy(all, f.annotations)
		maps.Copy(all, src.Annotations)
		f.annotations = all
	}
	d, err := s.adoptAs(ctx, f, src)
	if err != nil || d != f.digest {
		return d, err // under another digest nothing that was said about the image holds
	}
	return d, s.importArtifacts(ctx, t, d)
}

// adoptAs stores a foreign image and lists it if the source wants that.
func (s *Store) adoptAs(ctx context.Context, f foreign, src Source) (Digest, error) {
	if !src.Unlisted {
		return s.adopt(ctx, f, src.Name)
	}
	img, err := s.adoptLayers(ctx, f)
	if err != nil {
		return "", err
	}
	return s.Write(ctx, img)
}

// adopt stores a foreign image in canonical form and lists it.
func (s *Store) adopt(ctx context.Context, f foreign, name string) (Digest, error) {
	img, err := s.adoptLayers(ctx, f)
	if err != nil {
		return "", err
	}
	return s.Put(ctx, img, name)
}

// adoptLayers stores a foreign image's layers and gives the image as it is here.
func (s *Store) adoptLayers(ctx context.Context, f foreign) (Image, error) {
	img, err := decodeForeign(f)
	if err != nil {
		return Image{}, err
	}
	for i, l := range f.layers {
		d, err := s.adoptLayer(ctx, l, img.Layers[i].DiffID)
		if err != nil {
			return Image{}, fmt.Errorf("layer %s: %w", l.name, err)
		}
		img.Layers[i].Descriptor = d
		img.Layers[i].MediaType = ocispec.MediaTypeImageLayer
	}
	img.Annotations, err = originOf(img, f.digest)
	return img, err
}

// originOf is the annotations that an image gets here. One that left a store like this one is as it was, without what a
// compressed push added; one that is another here than there says which it was.
func originOf(img Image, there Digest) (map[string]string, error) {
	plain := img
	plain.Annotations = maps.Clone(img.Annotations)
	delete(plain.Annotations, AnnotationUncompressed)
	_, manifest, err := encode(plain)
	if err != nil {
		return nil, err
	}
	d := DigestOf(manifest)
	if there == "" || d == there || string(d) == img.Annotations[AnnotationUncompressed] {
		return plain.Annotations, nil
	}
	if plain.Annotations == nil {
		plain.Annotations = map[string]string{}
	}
	plain.Annotations[AnnotationSourceDigest] = string(there)
	return plain.Annotations, nil
}

// decodeForeign reads the configuration; the layers have diff ids but no blobs yet.
func decodeForeign(f foreign) (Image, error) {
	m := ocispec.Manifest{Layers: make([]ocispec.Descriptor, len(f.layers)), Annotations: f.annotations}
	return decode(m, f.config)
}

// adoptLayer stores a layer uncompressed, unless it is there already.
func (s *Store) adoptLayer(ctx context.Context, l foreignLayer, diffID Digest) (Descriptor, error) {
	if s.renew(ctx, diffID) {
		return s.stored(diffID)
	}
	in, err := l.open(ctx)
	if err != nil {
		return Descriptor{}, err
	}
	defer in.Close()
	plain, err := decompress(in)
	if err != nil {
		return Descriptor{}, err
	}
	defer plain.Close()
	count := &countingReader{r: plain, limit: s.limits.LayerBytes}
	if err := s.WriteBlobAs(ctx, Descriptor{Digest: diffID, Size: -1}, count); err != nil {
		return Descriptor{}, err
	}
	// Not what was counted: another import may have stored it meanwhile, and then nothing was read.
	return s.stored(diffID)
}

// stored describes a blob that is there.
func (s *Store) stored(d Digest) (Descriptor, error) {
	info, err := os.Stat(s.blobPath(d))
	if err != nil {
		return Descriptor{}, err
	}
	return Descriptor{Digest: d, Size: info.Size()}, nil
}

// countingReader counts and refuses more than its limit.
type countingReader struct {
	r     io.Reader
	n     int64
	limit int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.n += int64(n); c.n > c.limit {
		return n, fault.New(fault.Invalid, "refused: uncompressed it has more than %d bytes", c.limit)
	}
	return n, err
}

func parsePlatform(text string) (ocispec.Platform, error) {
	if text == "" {
		return ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, nil
	}
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return ocispec.Platform{}, fault.New(fault.Invalid, "read platform %q: want os/arch, such as linux/arm64", text)
	}
	p := ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

func platformText(p ocispec.Platform) string {
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}

// fits reports whether an image of platform have is one for want.
func fits(want ocispec.Platform, have *ocispec.Platform) bool {
	return have != nil && have.OS == want.OS && have.Architecture == want.Architecture &&
		(want.Variant == "" || want.Variant == have.Variant)
}
