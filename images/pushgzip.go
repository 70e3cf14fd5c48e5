package images

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	godigest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/atomicfile"
)

// gzipDir keeps compressed layers: <hex of the layer>.gz, and <hex>.json with their descriptor, written after it.
var gzipDir = filepath.Join("cache", "gzip")

// compressed is a manifest with gzipped layers that names the image that it was made of, and how its blobs are opened.
func (s *Store) compressed(ctx context.Context, d Digest, m ocispec.Manifest) (raw []byte, open openBlob, err error) {
	files := map[Digest]string{}
	m.Annotations = maps.Clone(m.Annotations)
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Annotations[AnnotationUncompressed] = string(d)
	layers := make([]ocispec.Descriptor, 0, len(m.Layers))
	for _, l := range m.Layers {
		if l.MediaType == ocispec.MediaTypeImageLayer {
			z, err := s.gzipped(ctx, describe(l))
			if err != nil {
				return nil, nil, fmt.Errorf("compress layer %s: %w", Digest(l.Digest).Short(), err)
			}
			files[z.Digest] = s.path(gzipDir, Digest(l.Digest).Hex()+".gz")
			l.MediaType, l.Digest, l.Size = ocispec.MediaTypeImageLayerGzip, godigest.Digest(z.Digest), z.Size
		}
		layers = append(layers, l)
	}
	m.Layers = layers
	if raw, err = json.Marshal(m); err != nil {
		return nil, nil, err
	}
	return raw, func(b Digest) (io.ReadCloser, error) {
		if path, ok := files[b]; ok {
			return os.Open(path)
		}
		return s.openPushed(b)
	}, nil
}

// gzipped compresses a layer unless that was done before.
func (s *Store) gzipped(ctx context.Context, l Descriptor) (Descriptor, error) {
	var z Descriptor
	base := s.path(gzipDir, l.Digest.Hex())
	if data, err := os.ReadFile(base + ".json"); err == nil && json.Unmarshal(data, &z) == nil && z.Digest.Valid() {
		now := s.now()
		if info, err := os.Stat(base + ".gz"); err == nil && info.Size() == z.Size {
			_ = os.Chtimes(base+".gz", now, now) // used: a collection takes the oldest first
			return z, nil
		}
	}
	if err := os.MkdirAll(s.path(gzipDir), 0o700); err != nil {
		return z, diskError(err, "make folder")
	}
	in, err := s.OpenVerified(l)
	if err != nil {
		return z, err
	}
	defer in.Close()
	out, err := atomicfile.Create(base+".gz", 0o644)
	if err != nil {
		return z, diskError(err, "write")
	}
	defer out.Abort()
	sum := sha256.New()
	count := &countingWriter{w: io.MultiWriter(out, sum)}
	if err := compressTo(ctx, count, in); err != nil {
		return z, diskError(err, "write")
	}
	z = Descriptor{Digest: digestFromSum(sum.Sum(nil)), Size: count.n}
	if err := out.Commit(); err != nil {
		return z, diskError(err, "write")
	}
	data, err := json.Marshal(z)
	if err != nil {
		return z, err
	}
	return z, diskError(atomicfile.Write(base+".json", append(data, '\n'), 0o644), "write")
}

func compressTo(ctx context.Context, w io.Writer, in io.Reader) error {
	z, err := gzip.NewWriterLevel(w, gzip.DefaultCompression)
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(writerOnly{z}, onlyReader{contextReader{ctx, in}}, make([]byte, copyBuffer)); err != nil {
		return err
	}
	return z.Close()
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
