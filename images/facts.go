package images

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// factsDir is the folder of the facts within the store: facts/<two digits>/<hex of the layer's digest>.
var factsDir = filepath.Join("cache", "facts")

// FileFacts is what is known of one entry of a layer without unpacking it.
type FileFacts struct {
	Entry
	Content Digest // of a File's bytes; "" for all else
	Offset  int64  // of a File's bytes within the layer; -1 when they are not in one piece (sparse)
}

// LayerFacts is what is known of a layer, in the layer's order: layers of foreign images may name a path twice, and
// then the later entry holds. They follow from the layer's digest, so they are found out once and kept.
type LayerFacts struct {
	Layer   Digest
	Entries []FileFacts
}

// LayerFacts gives the facts of a layer: from the cache, where LayerWriter.KeepFacts may have put them, else by reading the layer
// once. The layer's digest is checked while it is read: a damaged one is fault.Failed, a compressed one or no tar fault.Invalid.
func (s *Store) LayerFacts(ctx context.Context, l Layer) (LayerFacts, error) {
	if !l.Digest.Valid() {
		return LayerFacts{}, fault.New(fault.Invalid, "look into layer %q: not a sha256 digest", string(l.Digest))
	}
	if facts, ok := s.knownFacts(l.Digest); ok {
		return facts, nil
	}
	facts, err := s.readFacts(ctx, l)
	if err != nil {
		return LayerFacts{}, fmt.Errorf("look into layer %s: %w", l.Digest.Short(), err)
	}
	return facts, s.keepFacts(facts)
}

// knownFacts reads the cache. What was torn by a dying disk or written by another version is as good as nothing.
func (s *Store) knownFacts(d Digest) (LayerFacts, bool) {
	data, err := os.ReadFile(s.factsPath(d))
	if err != nil {
		return LayerFacts{}, false
	}
	facts, err := decodeFacts(data)
	return facts, err == nil && facts.Layer == d
}

// names gives the facts of a layer without the digests of files, unless they are known: it reads no content.
func (s *Store) names(ctx context.Context, l Layer) (LayerFacts, error) {
	if facts, ok := s.knownFacts(l.Digest); ok {
		return facts, nil
	}
	f, err := s.OpenBlob(l.Digest)
	if err != nil {
		return LayerFacts{}, err
	}
	defer f.Close()
	if err := plainLayer(f); err != nil {
		return LayerFacts{}, fmt.Errorf("look into layer %s: %w", l.Digest.Short(), err)
	}
	info, err := f.Stat()
	if err != nil {
		return LayerFacts{}, err
	}
	scan := layerScan{ctx: ctx, in: io.NewSectionReader(f, 0, info.Size()), size: info.Size(), limits: s.limits}
	entries, err := scan.run()
	if err != nil {
		return LayerFacts{}, fmt.Errorf("look into layer %s: %w", l.Digest.Short(), cmp.Or(s.CheckBlob(ctx, l.Descriptor), err))
	}
	return LayerFacts{Layer: l.Digest, Entries: entries}, nil
}

func (s *Store) factsPath(d Digest) string { return s.path(factsDir, d.Hex()[:2], d.Hex()) }

// keepFacts writes the cache. A store that may only be read has none.
func (s *Store) keepFacts(facts LayerFacts) error {
	name := s.factsPath(facts.Layer)
	err := os.MkdirAll(filepath.Dir(name), 0o700)
	if err == nil {
		err = atomicfile.Write(name, encodeFacts(facts), 0o644)
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil
	}
	return diskError(err, "keep what layer %s holds", facts.Layer.Short())
}

// keepNew writes the cache of a layer that was just written, unless it is there.
func (s *Store) keepNew(facts LayerFacts) error {
	if _, err := os.Stat(s.factsPath(facts.Layer)); err == nil {
		return nil
	}
	return s.keepFacts(facts)
}

// readFacts reads a layer twice at the same time: as a whole, for its digest, and file by file.
func (s *Store) readFacts(ctx context.Context, l Layer) (LayerFacts, error) {
	f, err := s.OpenBlob(l.Digest)
	if err != nil {
		return LayerFacts{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return LayerFacts{}, err
	}
	if err := plainLayer(f); err != nil {
		return LayerFacts{}, cmp.Or(s.CheckBlob(ctx, l.Descriptor), err)
	}
	facts := LayerFacts{Layer: l.Digest}
	var whole error
	var both errgroup.Group
	both.Go(func() error {
		whole = s.CheckBlob(ctx, l.Descriptor)
		return nil
	})
	both.Go(func() (err error) {
		scan := layerScan{ctx: ctx, in: io.NewSectionReader(f, 0, info.Size()), size: info.Size(), limits: s.limits,
			sum: sha256.New(), buf: make([]byte, copyBuffer)}
		facts.Entries, err = scan.run()
		return err
	})
	err = both.Wait()
	return facts, cmp.Or(whole, err) // what is damaged makes no sense either
}

// plainLayer refuses a compressed layer.
func plainLayer(f io.ReaderAt) error {
	var head [6]byte
	if n, _ := f.ReadAt(head[:], 0); compressed(head[:n]) {
		return fault.New(fault.Invalid, "it is compressed").
			WithHint("import the image again: an import stores layers uncompressed")
	}
	return nil
}

// onlyReader hides everything but Read, so that io.CopyBuffer uses the buffer.
type onlyReader struct{ io.Reader }

// layerScan lists a tar. in knows its position, which is where a file's bytes begin.
type layerScan struct {
	ctx    context.Context
	in     *io.SectionReader
	size   int64
	limits Limits
	sum    hash.Hash // nil: files are not read
	buf    []byte
}

func (s layerScan) run() ([]FileFacts, error) {
	var list []FileFacts
	for tr := tar.NewReader(s.in); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fault.New(fault.Invalid, "read tar: %w", err)
		}
		if err := s.ctx.Err(); err != nil {
			return nil, err
		}
		if len(list) == s.limits.Entries {
			return nil, refused("more than %d entries", s.limits.Entries)
		}
		if h.Size > s.size {
			return nil, fmt.Errorf("entry %q: %w", shorten(h.Name), refused("it claims %d bytes, the whole layer has %d", h.Size, s.size))
		}
		e, ok, err := factsOf(h)
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", shorten(h.Name), err)
		}
		if !ok {
			continue
		}
		if e.Type == File {
			if err := s.content(&e, h, tr); err != nil {
				return nil, fmt.Errorf("entry %q: %w", shorten(h.Name), err)
			}
		}
		list = append(list, e)
	}
}

// content notes place and digest of a file's bytes.
func (s layerScan) content(e *FileFacts, h *tar.Header, tr io.Reader) error {
	offset, err := s.in.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	e.Offset = offset
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			e.Offset = -1
		}
	}
	if s.sum == nil {
		return nil
	}
	s.sum.Reset()
	if _, err := io.CopyBuffer(writerOnly{s.sum}, onlyReader{contextReader{s.ctx, tr}}, s.buf); err != nil {
		return err
	}
	e.Content = digestFromSum(s.sum.Sum(nil))
	return nil
}

// factsOf makes a record of a tar header; ok is false for entries that make nothing.
func factsOf(h *tar.Header) (e FileFacts, ok bool, err error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return e, false, nil
	}
	name, err := entryPath(h.Name)
	if err != nil {
		return e, false, err
	}
	base := path.Base(name)
	if strings.HasPrefix(name, bookkeeping) && base != opaqueName {
		return e, false, nil
	}
	if target, is := strings.CutPrefix(base, whiteoutPrefix); is {
		return removalFacts(path.Dir(name), base, target)
	}
	e.Entry = Entry{Path: name, Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid}
	for key, value := range h.PAXRecords {
		if attr, is := strings.CutPrefix(key, xattrPrefix); is {
			if e.Xattrs == nil {
				e.Xattrs = map[string]string{}
			}
			e.Xattrs[attr] = value
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont:
		e.Type, e.Size = File, h.Size
	case tar.TypeDir:
		e.Type = Dir
	case tar.TypeSymlink:
		e.Type, e.Link = Symlink, h.Linkname
	case tar.TypeLink:
		e.Type = HardLink
		if e.Link, err = entryPath(h.Linkname); err != nil {
			return e, false, refused("a hard link to %q: %w", shorten(h.Linkname), err)
		}
	case tar.TypeChar, tar.TypeBlock:
		e.Type, e.Major, e.Minor = CharDevice, h.Devmajor, h.Devminor
		if h.Typeflag == tar.TypeBlock {
			e.Type = BlockDevice
		}
	case tar.TypeFifo:
		e.Type = Fifo
	default:
		return e, false, refused("unknown type %q", h.Typeflag)
	}
	return e, true, nil
}

func removalFacts(dir, base, target string) (FileFacts, bool, error) {
	switch {
	case base == opaqueName:
		return FileFacts{Entry: Entry{Path: dir, Type: Opaque}}, true, nil
	case target == "" || target == "." || target == "..":
		return FileFacts{}, false, refused("it removes no proper name")
	}
	return FileFacts{Entry: Entry{Path: path.Join(dir, target), Type: Whiteout}}, true, nil
}

// OpenContent opens a File of a layer for reading, out of the layer's blob; the caller closes it. l is the layer whose
// facts e is from. Where the content's digest is known, it is checked: other bytes are ErrDamaged in place of io.EOF.
func (s *Store) OpenContent(l Digest, e FileFacts) (io.ReadCloser, error) {
	if e.Type != File {
		return nil, fault.New(fault.Invalid, "read %s: it is no file", e.Path)
	}
	f, err := s.OpenBlob(l)
	if err != nil {
		return nil, err
	}
	var r io.Reader = io.NewSectionReader(f, e.Offset, e.Size)
	if e.Offset < 0 {
		if r, err = findContent(f, e); err != nil {
			return nil, errors.Join(fmt.Errorf("read %s: %w", e.Path, err), f.Close())
		}
	}
	return &content{store: s, layer: l, entry: e, file: f, check: newVerifier(r)}, nil
}

// findContent goes through a layer for a file that is not in one piece.
func findContent(f *os.File, e FileFacts) (io.Reader, error) {
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if err != nil {
			return nil, err
		}
		if name, err := entryPath(h.Name); err == nil && name == e.Path && h.Size == e.Size {
			return tr, nil
		}
	}
}

// content is a file within a layer that stays open with it.
type content struct {
	store *Store
	layer Digest
	entry FileFacts
	file  *os.File
	check *verifier
}

// Read checks the whole at its end.
func (c *content) Read(p []byte) (int, error) {
	n, err := c.check.Read(p)
	if errors.Is(err, io.EOF) && c.entry.Content != "" && c.check.digest() != c.entry.Content {
		return 0, c.store.damage(c.layer, c.file, "/"+c.entry.Path+" in it has the digest "+string(c.check.digest()))
	}
	return n, err
}

// Close closes the layer.
func (c *content) Close() error { return c.file.Close() }

// ReadContent reads a File of at most limit bytes out of a layer and checks it.
func (s *Store) ReadContent(l Digest, e FileFacts, limit int64) ([]byte, error) {
	if e.Size > limit {
		return nil, fault.New(fault.Invalid, "read %s: it has %d bytes, more than %d", e.Path, e.Size, limit)
	}
	r, err := s.OpenContent(l, e)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var buf bytes.Buffer
	buf.Grow(int(e.Size))
	if _, err := io.Copy(&buf, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", e.Path, err)
	}
	return buf.Bytes(), nil
}
