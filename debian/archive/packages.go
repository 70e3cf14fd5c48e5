package archive

import (
	"compress/bzip2"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/download"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/xz"
)

// maxIndex bounds an index, packed and unpacked. The largest of Debian has 60 MB.
const maxIndex = 1 << 30

// index gives the text of an index: from the cache when it is there, else from a mirror.
func (c *Client) index(ctx context.Context, r *checked, name string, report *progress) (string, error) {
	file, listed := r.rel.Files[name]
	if listed {
		if file.Size == 0 {
			return "", nil
		}
		if text, ok := c.keptIndex(file); ok {
			return text, nil
		}
	}
	packed, packing, ok := c.choose(r.rel, name)
	if !ok {
		return "", fault.New(fault.NotFound, "read package index of %s: its release file lists no %s that is packed with xz or gzip or not at all", r.source, name).
			WithHint("choose another component or architecture")
	}
	if err := bounded(r.source, packed, file); err != nil {
		return "", err
	}
	if err := c.fetchIndex(ctx, r, packed, report); err != nil {
		return "", err
	}
	if !listed || packing == "" {
		return c.unpackIndex(r.source, packed, packing, file, io.Discard)
	}
	// Kept unpacked, under the hash that the release file has for it: the next one to read it need not unpack it.
	kept, err := atomicfile.Create(c.indexes.Path(file.SHA256), 0o644)
	if err != nil {
		return "", fmt.Errorf("keep package index of %s: %w", r.source, err)
	}
	defer kept.Abort()
	text, err := c.unpackIndex(r.source, packed, packing, file, kept)
	if errors.Is(err, fs.ErrNotExist) { // another process has unpacked it meanwhile
		if text, ok := c.keptIndex(file); ok {
			return text, nil
		}
	}
	if err != nil {
		return "", err
	}
	if err := kept.Commit(); err != nil {
		return "", fmt.Errorf("keep package index of %s: %w", r.source, err)
	}
	return text, c.indexes.Remove(packed.SHA256)
}

// choose finds the best form of an index that the release file lists.
func (c *Client) choose(rel *debian.Release, name string) (debian.File, string, bool) {
	for _, packing := range c.packings {
		if f, ok := rel.Files[name+packing]; ok {
			return f, packing, true
		}
	}
	return debian.File{}, "", false
}

func bounded(s *Source, files ...debian.File) error {
	for _, f := range files {
		if f.Size > maxIndex {
			return fault.New(fault.Failed, "read package index of %s: %s has %d bytes, more than the %d that are taken", s, f.Path, f.Size, maxIndex)
		}
	}
	return nil
}

// keptIndex reads an index from the cache; one that is damaged does not count.
func (c *Client) keptIndex(f debian.File) (string, bool) {
	in, err := os.Open(c.indexes.Path(f.SHA256))
	if err != nil {
		return "", false
	}
	defer in.Close()
	text, err := readIndex(in, f, io.Discard)
	return text, err == nil
}

// fetchIndex brings the packed index into the cache.
func (c *Client) fetchIndex(ctx context.Context, r *checked, f debian.File, report *progress) error {
	if known, ok := c.indexes.Lookup(f.SHA256); ok && known.Size == f.Size {
		return nil
	}
	if c.o.Offline {
		return fault.New(fault.NotFound, "read package index of %s offline: %s is not in the cache", r.source, f.Path).
			WithHint("run it once with the network")
	}
	d := Download{Name: r.source.String() + " " + f.Path, Mirrors: r.mirrors, Path: path.Join(r.source.folder(), f.Path), Size: f.Size, SHA256: f.SHA256}
	if r.rel.ByHash {
		d.byHash = path.Join(r.source.folder(), path.Dir(f.Path), "by-hash/SHA256", f.SHA256)
	}
	report.expect(f.Size)
	return c.fetch(ctx, c.indexes, &d, report)
}

// unpackIndex reads the packed index from the cache and writes it to keep as well. want is the unpacked one, empty if the
// release file does not list it.
func (c *Client) unpackIndex(s *Source, packed debian.File, packing string, want debian.File, keep io.Writer) (string, error) {
	in, err := os.Open(c.indexes.Path(packed.SHA256))
	if err != nil {
		return "", fmt.Errorf("read package index of %s: %w", s, err)
	}
	defer in.Close()
	r, err := unpacker(in, packing)
	var text string
	if err == nil {
		text, err = readIndex(r, want, keep)
	}
	if err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) { // of keep: nothing is wrong with the index
			return "", fault.New(fault.NoSpace, "unpack package index of %s: %w", s, err).
				WithHint("make room, or put the cache elsewhere with RELEASE_IMAGES_DIR; what has come is kept")
		}
		// Whatever is wrong with it, the next try shall not find it here.
		return "", errors.Join(fault.New(fault.Failed, "unpack package index of %s: %s: %w", s, packed.Path, err).
			WithHint("try again; if it stays, the archive has published a broken index"), c.indexes.Remove(packed.SHA256))
	}
	return text, nil
}

func unpacker(in io.Reader, packing string) (io.Reader, error) {
	switch packing {
	case ".xz":
		return xz.NewReader(in, xz.MaxDictionary)
	case ".gz":
		return gzip.NewReader(in)
	case ".bz2":
		return bzip2.NewReader(in), nil
	}
	return in, nil
}

// readIndex reads a text of the size and hash that are wanted; without a hash, one of a bounded size. It writes it to keep, too.
func readIndex(in io.Reader, want debian.File, keep io.Writer) (string, error) {
	limit := int64(maxIndex)
	if want.SHA256 != "" {
		limit = want.Size
	}
	var text strings.Builder
	text.Grow(int(want.Size) + 1)
	sum := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(&text, sum, keep), io.LimitReader(in, limit+1), make([]byte, 128<<10))
	switch {
	case err != nil:
		return "", err
	case n > limit || want.SHA256 != "" && n != want.Size:
		return "", fmt.Errorf("it has not %d bytes", limit)
	case want.SHA256 != "" && hex.EncodeToString(sum.Sum(nil)) != want.SHA256:
		return "", fmt.Errorf("its sha256 is not %s, which the release file says", want.SHA256)
	}
	return text.String(), nil
}

// notFound reports whether a server answered that it has not the file.
func notFound(err error) bool {
	var status *download.StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}
