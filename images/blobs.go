package images

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
)

// blobDir is the folder of the blobs within the store.
var blobDir = filepath.Join("blobs", "sha256")

// copyBuffer is large because blobs are: fewer system calls, and long runs for the hash.
const copyBuffer = 1 << 20

func (s *Store) blobPath(d Digest) string { return s.path(blobDir, d.Hex()) }

// Has reports whether the blob is in the store.
func (s *Store) Has(d Digest) bool {
	if !d.Valid() {
		return false
	}
	_, err := os.Stat(s.blobPath(d))
	return err == nil
}

// OpenBlob opens a blob for reading; the caller closes it. A missing one is fault.NotFound.
func (s *Store) OpenBlob(d Digest) (*os.File, error) {
	if !d.Valid() {
		return nil, fault.New(fault.Invalid, "open blob %q: not a sha256 digest", string(d))
	}
	f, err := os.Open(s.blobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.missing(d)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", d, err)
	}
	return f, nil
}

// readBlob reads a small blob, such as a manifest, and checks its digest.
func (s *Store) readBlob(d Digest) ([]byte, error) {
	f, err := s.OpenBlob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readSmall(f)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	if got := DigestOf(data); got != d {
		return nil, s.damage(d, f, "its content has the digest "+string(got))
	}
	return data, nil
}

// smallLimit is the largest manifest, config or index that is read into memory: that of most registries.
const smallLimit = 4 << 20

func readSmall(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, smallLimit+1))
	if err == nil && len(data) > smallLimit {
		err = fmt.Errorf("larger than %d bytes", smallLimit)
	}
	return data, err
}

// WriteBlob stores all that r gives and names it. Content that is already there is success and becomes young again.
func (s *Store) WriteBlob(ctx context.Context, r io.Reader) (Descriptor, error) {
	w, err := s.newBlob()
	if err != nil {
		return Descriptor{}, err
	}
	defer w.abort()
	if err := w.copyFrom(ctx, r); err != nil {
		return Descriptor{}, diskError(err, "write blob")
	}
	return w.commit(ctx)
}

// WriteBlobAs stores a blob that must have the digest and, unless it is negative, the size of want. A blob that is
// already there is success without reading r; of a small one, such as a manifest, it is checked that it is whole. Other
// content is fault.Invalid and leaves nothing.
func (s *Store) WriteBlobAs(ctx context.Context, want Descriptor, r io.Reader) error {
	if !want.Digest.Valid() {
		return fault.New(fault.Invalid, "write blob %q: not a sha256 digest", string(want.Digest))
	}
	if s.renew(ctx, want.Digest) && (want.Size > smallLimit || s.sound(want)) {
		return nil
	}
	w, err := s.newBlob()
	if err != nil {
		return err
	}
	defer w.abort()
	if want.Size >= 0 {
		r = io.LimitReader(r, want.Size+1)
	}
	if err := w.copyFrom(ctx, r); err != nil {
		return diskError(err, "write blob %s", want.Digest)
	}
	if want.Size >= 0 && w.size != want.Size {
		return fault.New(fault.Invalid, "write blob %s: content is not the %d bytes that were announced", want.Digest, want.Size)
	}
	if got := w.digest(); got != want.Digest {
		return fault.New(fault.Invalid, "write blob %s: content has digest %s", want.Digest, got)
	}
	_, err = w.commit(ctx)
	return err
}

// renew makes a blob young, so that a collection spares it for the grace time; false when it is not there. It holds
// meanwhile: a collection has either deleted the blob before, or sees its new age.
func (s *Store) renew(ctx context.Context, d Digest) bool {
	if !s.Has(d) {
		return false
	}
	release, err := s.Hold(ctx)
	if err != nil {
		return false
	}
	defer release()
	now := s.now()
	err = os.Chtimes(s.blobPath(d), now, now)
	if errors.Is(err, fs.ErrPermission) {
		return s.Has(d)
	}
	return err == nil
}

// sound says whether the blob that is there has the content it should have. A damaged one is written anew: whoever bakes
// again without the cache does so to get rid of it.
func (s *Store) sound(d Descriptor) bool {
	f, err := os.Open(s.blobPath(d.Digest))
	if err != nil {
		return false
	}
	defer f.Close()
	v := newVerifier(f)
	n, err := io.Copy(io.Discard, v)
	return err == nil && (d.Size < 0 || n == d.Size) && v.digest() == d.Digest
}

// blobWriter is a blob under way, hashed while it is written.
type blobWriter struct {
	store *Store
	file  *atomicfile.File
	hash  hash.Hash
	size  int64
}

func (s *Store) newBlob() (*blobWriter, error) {
	f, err := atomicfile.Create(s.path(blobDir, "blob"), 0o644)
	if err != nil {
		return nil, diskError(err, "write blob")
	}
	return &blobWriter{store: s, file: f, hash: sha256.New()}, nil
}

func (w *blobWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	return n, err
}

func (w *blobWriter) copyFrom(ctx context.Context, r io.Reader) error {
	_, err := io.CopyBuffer(writerOnly{w}, contextReader{ctx, r}, make([]byte, copyBuffer))
	return err
}

// writerOnly hides everything but Write, so that io.CopyBuffer uses the buffer.
type writerOnly struct{ io.Writer }

func (w *blobWriter) digest() Digest { return digestFromSum(w.hash.Sum(nil)) }

func (w *blobWriter) abort() { w.file.Abort() }

// commit makes the blob visible under its digest.
func (w *blobWriter) commit(ctx context.Context) (Descriptor, error) {
	d := Descriptor{Digest: w.digest(), Size: w.size}
	if w.store.renew(ctx, d.Digest) && w.store.sound(d) {
		w.abort()
		return d, nil
	}
	failpoint.Pass(failpoint.BlobWrite)
	if err := w.file.CommitAs(w.store.blobPath(d.Digest)); err != nil {
		return Descriptor{}, diskError(err, "write blob %s", d.Digest)
	}
	failpoint.Pass(failpoint.BlobWritten)
	return d, nil
}
