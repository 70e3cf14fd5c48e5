package images

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// EntryType is the kind of a layer's entry.
type EntryType int

// The kinds of entries.
const (
	File EntryType = iota
	Dir
	Symlink
	HardLink
	CharDevice
	BlockDevice
	Fifo
	Whiteout // Path, which a lower layer has, is gone
	Opaque   // the folder Path shows nothing of lower layers; it comes right after Path's Dir entry
)

// Entry is one record of a layer.
type Entry struct {
	Path     string // slash-separated, relative and clean; "." is the root folder and comes first
	Type     EntryType
	Mode     uint32 // permission bits with setuid, setgid and sticky, at most 07777
	UID, GID int
	Size     int64             // of a File, in bytes
	Link     string            // target of a Symlink as it is; Path of an earlier File of the layer for a HardLink
	Major    int64             // of a device
	Minor    int64             // of a device
	Xattrs   map[string]string // name → value, raw bytes
}

// Names that mean removal in a layer (OCI image specification, layer.md).
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// xattrPrefix is how tar carries extended attributes.
const xattrPrefix = "SCHILY.xattr."

// fileBuffer is read at a time of a file of a layer.
const fileBuffer = 256 << 10

// LayerWriter writes one layer from records, straight into the store. Entries come in ascending byte order of Path.
// The format is fixed: uncompressed ustar, PAX records only for what ustar cannot say, no names of owners, the one
// given epoch as time of everything. The same records give the same bytes everywhere.
type LayerWriter struct {
	ctx   context.Context
	blob  *blobWriter
	buf   *bufio.Writer
	tar   *tar.Writer
	epoch time.Time
	last  Entry
	begun bool
	files map[string]bool // paths of the Files so far: what hard links may name
	err   error           // the first error; nothing can be added after it

	written *counter // bytes of the layer
	chunk   []byte
	facts   []FileFacts
	sum     hash.Hash // of a File; nil: no facts are wanted
}

// KeepFacts makes Commit keep the layer's facts as well: to find them out meanwhile costs a third of reading the layer again.
// It comes before the first entry.
func (w *LayerWriter) KeepFacts() { w.sum = sha256.New() }

// counter counts what goes through it.
type counter struct {
	io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	return n, err
}

// NewLayer begins a layer. The epoch is the time of all entries, in seconds since 1970; ctx bounds the whole writing.
func (s *Store) NewLayer(ctx context.Context, epoch int64) (*LayerWriter, error) {
	blob, err := s.newBlob()
	if err != nil {
		return nil, err
	}
	buf := bufio.NewWriterSize(blob, copyBuffer)
	written := &counter{Writer: buf}
	return &LayerWriter{
		ctx: ctx, blob: blob, buf: buf, written: written, tar: tar.NewWriter(written),
		epoch: time.Unix(epoch, 0).UTC(), files: map[string]bool{}, chunk: make([]byte, fileBuffer),
	}, nil
}

// Add appends an entry; content must give exactly e.Size bytes for a File and is not read otherwise. A record that
// is out of order or makes no sense is fault.Internal or fault.Failed; after an error the layer can only be aborted.
func (w *LayerWriter) Add(e Entry, content io.Reader) error {
	if w.err != nil {
		return w.err
	}
	w.err = w.add(e, content)
	return w.err
}

func (w *LayerWriter) add(e Entry, content io.Reader) error {
	if err := w.check(e); err != nil {
		return err
	}
	w.last, w.begun = e, true
	h := w.header(e)
	if err := w.tar.WriteHeader(h); err != nil {
		return diskError(err, "write layer entry %s", e.Path)
	}
	offset := w.written.n
	if e.Type == File {
		w.files[e.Path] = true
		if e.Size > 0 || content != nil {
			if err := w.copy(e, content); err != nil {
				return err
			}
		}
	}
	return w.note(h, offset)
}

// note adds to the facts what was written, as whoever reads the layer sees it.
func (w *LayerWriter) note(h *tar.Header, offset int64) error {
	if w.sum == nil {
		return nil
	}
	facts, _, err := factsOf(h)
	if err != nil {
		return fmt.Errorf("write layer entry %s: %w", h.Name, err)
	}
	if facts.Type == File {
		facts.Offset, facts.Content = offset, digestFromSum(w.sum.Sum(nil))
		w.sum.Reset()
	}
	w.facts = append(w.facts, facts)
	return nil
}

func (w *LayerWriter) copy(e Entry, content io.Reader) error {
	in := io.LimitReader(contextReader{w.ctx, content}, e.Size)
	to := io.Writer(w.tar)
	if w.sum != nil {
		to = io.MultiWriter(to, w.sum)
	}
	n, err := io.CopyBuffer(writerOnly{to}, onlyReader{in}, w.chunk)
	if err != nil {
		return diskError(err, "write layer entry %s", e.Path)
	}
	if n < e.Size {
		return fault.New(fault.Failed, "write layer entry %s: the file became shorter while it was read", e.Path)
	}
	return nil
}

// check refuses records that would make a layer that unpacks to something else than they say.
func (w *LayerWriter) check(e Entry) error {
	refuse := func(code fault.Code, format string, args ...any) error {
		return fault.New(code, "write layer entry %q: %s", e.Path, fmt.Sprintf(format, args...))
	}
	switch {
	case e.Path == "" || path.IsAbs(e.Path) || path.Clean(e.Path) != e.Path || e.Path == ".." || strings.HasPrefix(e.Path, "../") || strings.ContainsRune(e.Path, 0):
		return refuse(fault.Internal, "want a clean relative path")
	case e.Path == "." && e.Type != Dir && e.Type != Opaque:
		return refuse(fault.Failed, "the root is a folder")
	case strings.HasPrefix(path.Base(e.Path), whiteoutPrefix):
		return refuse(fault.Failed, "names that begin with %s mean removal in a layer", whiteoutPrefix)
	case tooLong(e.Path):
		return refuse(fault.Failed, "a file system takes names of 255 bytes and paths of 4095")
	case !w.inOrder(e):
		return refuse(fault.Internal, "out of order after %q", w.last.Path)
	case e.Mode&^0o7777 != 0 || e.UID < 0 || e.GID < 0 || e.Size < 0 || e.Size != 0 && e.Type != File:
		return refuse(fault.Internal, "mode, owner or size out of range")
	case e.Type == HardLink && !w.files[e.Link]:
		return refuse(fault.Internal, "its target %q is no earlier file of this layer", e.Link)
	case e.Type == Symlink && e.Link == "":
		return refuse(fault.Internal, "a link needs a target")
	case e.Type < File || e.Type > Opaque:
		return refuse(fault.Internal, "unknown type %d", e.Type)
	}
	return nil
}

// tooLong reports whether no Linux file system can have the path (NAME_MAX, PATH_MAX): the image could not be unpacked.
func tooLong(name string) bool {
	if len(name) <= 255 {
		return false
	}
	return len(name) > 4095 || slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return len(part) > 255 })
}

func (w *LayerWriter) inOrder(e Entry) bool {
	switch {
	case !w.begun:
		return true
	case e.Type == Opaque && w.last.Type == Dir && e.Path == w.last.Path:
		return true
	case w.last.Path == ".":
		return e.Path != "."
	}
	return e.Path > w.last.Path
}

// header is the tar header of a record.
func (w *LayerWriter) header(e Entry) *tar.Header {
	h := &tar.Header{
		Format: tar.FormatPAX, Typeflag: typeflags[e.Type], Name: e.Path, Mode: int64(e.Mode),
		Uid: e.UID, Gid: e.GID, ModTime: w.epoch, Size: e.Size,
	}
	switch e.Type {
	case Dir:
		h.Name += "/"
	case Symlink, HardLink:
		h.Linkname = e.Link
	case CharDevice, BlockDevice:
		h.Devmajor, h.Devminor = e.Major, e.Minor
	case Whiteout:
		h.Name = path.Join(path.Dir(e.Path), whiteoutPrefix+path.Base(e.Path))
	case Opaque:
		h.Name = path.Join(e.Path, opaqueName)
	}
	if len(e.Xattrs) > 0 && e.Type != HardLink {
		h.PAXRecords = map[string]string{}
		for name, value := range maps.All(e.Xattrs) {
			h.PAXRecords[xattrPrefix+name] = value
		}
	}
	return h
}

var typeflags = [...]byte{
	File: tar.TypeReg, Dir: tar.TypeDir, Symlink: tar.TypeSymlink, HardLink: tar.TypeLink, CharDevice: tar.TypeChar,
	BlockDevice: tar.TypeBlock, Fifo: tar.TypeFifo, Whiteout: tar.TypeReg, Opaque: tar.TypeReg,
}

// Commit completes the layer and stores it durably; createdBy goes into the image's history. A layer without entries
// is valid.
func (w *LayerWriter) Commit(createdBy string) (Layer, error) {
	if w.err != nil {
		return Layer{}, w.err
	}
	w.err = errors.New("write layer: already committed")
	if err := errors.Join(w.tar.Close(), w.buf.Flush()); err != nil {
		w.blob.abort()
		return Layer{}, diskError(err, "write layer")
	}
	d, err := w.blob.commit(w.ctx)
	if err != nil {
		w.blob.abort()
		return Layer{}, err
	}
	if w.sum != nil {
		if err := w.blob.store.keepNew(LayerFacts{Layer: d.Digest, Entries: w.facts}); err != nil {
			return Layer{}, err
		}
	}
	return Layer{Descriptor: d, DiffID: d.Digest, MediaType: ocispec.MediaTypeImageLayer, CreatedBy: createdBy}, nil
}

// Abort drops the layer; after Commit it does nothing, so it can be deferred.
func (w *LayerWriter) Abort() { w.blob.abort() }
