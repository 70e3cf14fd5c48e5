package builder

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/upper"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/xz"
)

// Bounds of what an archive may unpack to. They are far above what people ship and below what fills a disk by mistake.
const (
	maxUnpacked = 32 << 30
	maxEntries  = 1_000_000
	// freeUnpacked bytes unpack from any archive; beyond, maxRatio for each byte of it. Zeros alone come to 1,030 with gzip.
	freeUnpacked = 256 << 20
	maxRatio     = 400
	// maxDictionary is what `xz -9` asks for; it bounds the memory of a decoder.
	maxDictionary = 64 << 20
)

// unpacking lists what an archive holds. Nothing of it is written under its own name: contents go one behind the other
// into one spool file, names only into records, so no name can lead anywhere.
type unpacking struct {
	b       *bake
	given   *fs.FileMode // the step's mode, if it has one
	archive *os.File
	spool   *os.File
	size    int64 // of the spool, or of all contents of a zip
	most    int64 // that size may get
	files   map[string]file
}

// Close ends the use of the listed files' contents.
func (u *unpacking) Close() error {
	if u.spool == nil {
		return nil
	}
	return u.spool.Close()
}

// list reads the archive.
func (u *unpacking) list(ctx context.Context) ([]file, error) {
	u.files = map[string]file{}
	head := make([]byte, 6)
	n, err := u.archive.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n == 0 {
		return nil, fault.New(fault.Failed, "it is empty, and so no archive").
			WithHint("see what its address gives; if it was meant to be a file, use to: instead of unpack:")
	}
	fi, err := u.archive.Stat()
	if err != nil {
		return nil, err
	}
	u.most = mostUnpacked(fi.Size())
	if head = head[:n]; bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06")) {
		err = u.zip()
	} else {
		err = u.tar(ctx, head)
	}
	if err != nil {
		return nil, err
	}
	if err := u.complete(); err != nil {
		return nil, err
	}
	list := make([]file, 0, len(u.files))
	for _, f := range u.files {
		list = append(list, f)
	}
	sortFiles(list)
	return list, nil
}

// mostUnpacked is how much may come out of an archive of that many bytes.
func mostUnpacked(size int64) int64 {
	if size > maxUnpacked/maxRatio {
		return maxUnpacked
	}
	return min(maxUnpacked, freeUnpacked+size*maxRatio)
}

// plain undoes the compression, which the first bytes tell.
func plain(r io.Reader, head []byte) (io.Reader, func(), error) {
	buf := bufio.NewReaderSize(r, 1<<20)
	nothing := func() {}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buf)
		return z, nothing, err
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buf, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(256<<20))
		if err != nil {
			return nil, nothing, err
		}
		return z, z.Close, nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(buf), nothing, nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		z, err := xz.NewReader(buf, maxDictionary)
		return z, nothing, err
	}
	return buf, nothing, nil
}

func (u *unpacking) tar(ctx context.Context, head []byte) error {
	in, done, err := plain(io.NewSectionReader(u.archive, 0, 1<<62), head)
	if err != nil {
		return fault.New(fault.Failed, "read archive: %w", err)
	}
	defer done()
	if u.spool, err = u.b.spool(); err != nil {
		return err
	}
	out := bufio.NewWriterSize(u.spool, 1<<20)
	tr := tar.NewReader(endsWith{ctx, in})
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fault.New(fault.Failed, "it is no tar or zip archive, or damaged: %w", err)
		}
		if err := u.tarEntry(h, tr, out); err != nil {
			return fmt.Errorf("entry %q: %w", shortName(h.Name), err)
		}
	}
}

// endsWith is a reader that ends with its context: a large file is no reason to go on.
type endsWith struct {
	ctx context.Context
	r   io.Reader
}

func (e endsWith) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.r.Read(p)
}

func shortName(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}

func (u *unpacking) tarEntry(h *tar.Header, content io.Reader, out io.Writer) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	f := file{mode: uint32(h.Mode) & 0o7777, link: h.Linkname, major: h.Devmajor, minor: h.Devminor, xattrs: keptXattrs(xattrsOf(h))}
	var err error
	if f.rel, err = entryName(h.Name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		f.kind = images.File
		n, err := io.Copy(out, io.LimitReader(content, u.most-u.size+1))
		if errors.Is(err, context.Canceled) || errors.Is(err, unix.ENOSPC) {
			return err
		}
		if err != nil {
			return fault.New(fault.Failed, "read content: %w", err)
		}
		f.open, f.size = u.part(u.size, n), n
		u.size += n
	case tar.TypeDir:
		f.kind = images.Dir
	case tar.TypeSymlink:
		f.kind = images.Symlink
	case tar.TypeLink:
		f.kind = images.HardLink
		if f.link, err = entryName(h.Linkname); err != nil {
			return fmt.Errorf("hard link: %w", err)
		}
	case tar.TypeChar:
		f.kind = images.CharDevice
	case tar.TypeBlock:
		f.kind = images.BlockDevice
	case tar.TypeFifo:
		f.kind = images.Fifo
	default:
		return fault.New(fault.Failed, "entries of type %q are not supported", h.Typeflag)
	}
	return u.add(f)
}

// part gives a piece of the spool.
func (u *unpacking) part(at, n int64) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(u.spool, at, n)), nil }
}

// keptXattrs are those that mean something in an image.
func keptXattrs(all map[string]string) map[string]string {
	var kept map[string]string
	for name, value := range all {
		if upper.KeepXattr(name) {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[name] = value
		}
	}
	return kept
}

// entryName is the clean relative path of an archive's entry.
func entryName(name string) (string, error) {
	if name == "" || len(name) > maxPath || strings.ContainsRune(name, 0) {
		return "", fault.New(fault.Failed, "refused: its name is empty, too long or has a zero byte")
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", fault.New(fault.Failed, "refused: its name leads upward")
	}
	if clean := strings.TrimPrefix(path.Clean("/"+name), "/"); clean != "" {
		return clean, nil
	}
	return ".", nil
}

// add takes one entry; a later one of the same name counts.
func (u *unpacking) add(f file) error {
	switch {
	case u.size > u.most:
		return fault.New(fault.Failed, "refused: the archive unpacks to more than %d bytes, which is out of proportion to its size", u.most).
			WithHint("it is made to fill disks, or holds little but zeros: put what is needed of it into an archive of its own")
	case len(u.files) >= maxEntries:
		return fault.New(fault.Failed, "refused: the archive has more than %d entries", maxEntries)
	case f.rel == "." && f.kind != images.Dir:
		return fault.New(fault.Failed, "refused: the archive's own folder is no folder")
	}
	if f.rel == "." {
		f.mode = 0o755 // an archive of "." has the mode of whatever folder it was made in
	}
	if f.kind == images.Symlink {
		f.mode = 0o777
	} else if u.given != nil && f.kind != images.HardLink {
		f.mode = copyMode(f.kind, 0, u.given)
	}
	u.files[f.rel] = f
	return nil
}

// complete adds folders that the archive does not name, and refuses entries below something that is no folder.
func (u *unpacking) complete() error {
	names := []string{"."}
	for rel := range u.files {
		names = append(names, rel)
	}
	for _, rel := range names {
		for at := parentOf(rel); ; at = parentOf(at) {
			f, ok := u.files[at]
			if !ok {
				f = file{rel: at, kind: images.Dir, mode: 0o755}
				if u.given != nil {
					f.mode = copyMode(images.Dir, 0, u.given)
				}
				u.files[at] = f
			}
			if f.kind != images.Dir {
				return fault.New(fault.Failed, "entry %q: refused: it lies below %q, which is no folder", shortName(rel), shortName(at))
			}
			if at == "." {
				break
			}
		}
	}
	return nil
}

// zip lists a zip archive; its contents are read in place.
func (u *unpacking) zip() error {
	fi, err := u.archive.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(u.archive, fi.Size())
	if err != nil {
		return fault.New(fault.Failed, "it is a damaged zip archive: %w", err)
	}
	for _, e := range z.File {
		if err := u.zipEntry(e); err != nil {
			return fmt.Errorf("entry %q: %w", shortName(e.Name), err)
		}
	}
	return nil
}

// unixZip is the number of the system in a zip whose entries carry modes (APPNOTE.TXT, 4.4.2.2).
const unixZip = 3

func (u *unpacking) zipEntry(e *zip.File) error {
	rel, err := entryName(strings.ReplaceAll(e.Name, `\`, "/"))
	if err != nil {
		return err
	}
	f := file{rel: rel, kind: images.File, mode: 0o644, open: wholeEntry(e), size: int64(e.UncompressedSize64)}
	mode := e.Mode()
	if e.CreatorVersion>>8 == unixZip && mode.Perm() != 0 {
		f.mode = modeBits(mode)
	}
	switch {
	case mode.IsDir():
		f.kind, f.size, f.open = images.Dir, 0, nil
		if f.mode == 0o644 {
			f.mode = 0o755
		}
	case mode&fs.ModeSymlink != 0:
		target, err := readLink(e)
		if err != nil {
			return err
		}
		f.kind, f.link, f.size, f.open = images.Symlink, target, 0, nil
	case !mode.IsRegular():
		return fault.New(fault.Failed, "entries of type %s are not supported", mode.Type())
	}
	if f.size < 0 || f.size > u.most {
		return fault.New(fault.Failed, "refused: it claims %d bytes", e.UncompressedSize64)
	}
	u.size += f.size
	return u.add(f)
}

// wholeEntry opens an entry so that closing it checks what reading its claimed length alone does not: that it ends there, and
// its checksum.
func wholeEntry(e *zip.File) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		r, err := e.Open()
		if err != nil {
			return nil, fault.New(fault.Failed, "entry %q: %w", shortName(e.Name), err)
		}
		return &checkedEntry{ReadCloser: r, name: e.Name}, nil
	}
}

// checkedEntry is an entry of a zip archive under reading.
type checkedEntry struct {
	io.ReadCloser
	name string
}

func (c *checkedEntry) Close() error {
	n, err := io.ReadFull(c.ReadCloser, make([]byte, 1))
	switch {
	case n > 0:
		err = errors.New("it is longer than it claims")
	case errors.Is(err, io.EOF):
		err = nil
	}
	if err = errors.Join(err, c.ReadCloser.Close()); err != nil {
		return fault.New(fault.Failed, "entry %q: damaged: %w", shortName(c.name), err)
	}
	return nil
}

func readLink(e *zip.File) (string, error) {
	r, err := e.Open()
	if err != nil {
		return "", fault.New(fault.Failed, "read link: %w", err)
	}
	defer r.Close()
	target, err := io.ReadAll(io.LimitReader(r, maxPath+1))
	if err != nil || len(target) > maxPath || len(target) == 0 {
		return "", fault.New(fault.Failed, "read link: its target is damaged, empty or too long (%v)", err)
	}
	return string(target), nil
}
