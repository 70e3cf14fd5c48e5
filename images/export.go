package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// ExportOCI writes an image and its artifacts as an OCI layout into the folder dir, which must be absent or empty: another is
// fault.Exists. The folder appears when it is complete.
func (s *Store) ExportOCI(ctx context.Context, d Digest, dir string) error {
	blobs, err := s.Blobs(d)
	if err != nil {
		return err
	}
	temp, err := exportTemp(dir)
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	write := func(name string, content io.Reader, _ int64) error {
		return writeExported(filepath.Join(temp, filepath.FromSlash(name)), content)
	}
	if err := s.exportLayout(ctx, d, blobs, write); err != nil {
		return diskError(err, "export image %s to %s", d.Short(), dir)
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return fmt.Errorf("export image %s: %w", d.Short(), err)
	}
	if err := os.Rename(temp, dir); err != nil {
		return fmt.Errorf("export image %s: %w", d.Short(), err)
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}

// exportTemp makes a folder beside dir that can be renamed to it.
func exportTemp(dir string) (string, error) {
	dir = filepath.Clean(dir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) > 0 {
		return "", fault.New(fault.Exists, "export image: %s exists and is no empty folder", dir).
			WithHint("name a folder that does not exist yet")
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".tmp-*")
	return temp, diskError(err, "export image")
}

func writeExported(path string, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := atomicfile.Create(path, 0o644)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := io.CopyBuffer(writerOnly{f}, content, make([]byte, copyBuffer)); err != nil {
		return err
	}
	return f.Commit()
}

// ExportOCIArchive writes an image as an OCI layout in a tar.
func (s *Store) ExportOCIArchive(ctx context.Context, d Digest, w io.Writer) error {
	blobs, err := s.Blobs(d)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	if err := s.exportLayout(ctx, d, blobs, tarMember(tw)); err != nil {
		return diskError(err, "export image %s", d.Short())
	}
	return tw.Close()
}

// writeMember stores one file of an export.
type writeMember func(name string, content io.Reader, size int64) error

// tarMember writes members with fixed owner, mode and time, so that equal exports are equal files.
func tarMember(tw *tar.Writer) writeMember {
	return func(name string, content io.Reader, size int64) error {
		h := &tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.CopyBuffer(writerOnly{tw}, content, make([]byte, copyBuffer))
		return err
	}
}

func (s *Store) exportLayout(ctx context.Context, d Digest, blobs []Descriptor, write writeMember) error {
	for _, b := range blobs {
		if err := s.exportBlob(ctx, b, layoutPath(b.Digest), write); err != nil {
			return err
		}
	}
	attached, err := s.artifactBlobs(d)
	if err != nil {
		return err
	}
	for _, b := range attached {
		if slices.Contains(blobs, b) {
			continue
		}
		if err := s.exportBlob(ctx, b, layoutPath(b.Digest), write); err != nil {
			return err
		}
	}
	entry, err := s.exportEntry(d)
	if err != nil {
		return err
	}
	index, err := s.readReferrers(d) // artifacts are entries beside their subject
	if err != nil {
		return err
	}
	index.Manifests = append([]ocispec.Descriptor{entry}, index.Manifests...)
	if err := exportJSON(write, ocispec.ImageIndexFile, index); err != nil {
		return err
	}
	return exportJSON(write, ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
}

// exportEntry is the image's descriptor with its newest name and without the times of this store.
func (s *Store) exportEntry(d Digest) (ocispec.Descriptor, error) {
	img, raw, err := s.read(d)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	entry := s.indexEntry(Descriptor{Digest: d, Size: int64(len(raw))}, img.Config.Platform, "")
	entry.Annotations = nil
	name, err := s.newestName(d)
	if name != "" {
		entry.Annotations = map[string]string{ocispec.AnnotationRefName: name}
	}
	return entry, err
}

// newestName is the name under which the image was listed last; "" for none.
func (s *Store) newestName(d Digest) (string, error) {
	index, err := s.readIndex()
	if err != nil {
		return "", err
	}
	for _, e := range slices.Backward(index.Manifests) {
		if name := entryName(e); Digest(e.Digest) == d && name != "" {
			return name, nil
		}
	}
	return "", nil
}

func exportJSON(write writeMember, name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return write(name, bytes.NewReader(data), int64(len(data)))
}

// exportBlob copies a blob and checks it meanwhile: a damaged store makes no damaged export.
func (s *Store) exportBlob(ctx context.Context, b Descriptor, name string, write writeMember) error {
	r, err := s.OpenVerified(b)
	if err != nil {
		return err
	}
	defer r.Close()
	return write(name, contextReader{ctx, r}, b.Size)
}
