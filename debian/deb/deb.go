package deb

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

const (
	controlBase = "control.tar"
	dataBase    = "data.tar"
)

// Package is an opened .deb.
type Package struct {
	src           io.ReaderAt
	limits        Limits
	control, data member
}

// Open reads the frame of a .deb of size bytes. Errors are fault.Failed; they say nothing of the file's name.
func Open(src io.ReaderAt, size int64, limits Limits) (*Package, error) {
	members, err := readMembers(src, size, func(name string) bool { return strings.HasPrefix(name, dataBase) })
	if err != nil {
		return nil, err
	}
	p := &Package{src: src, limits: limits.withDefaults()}
	if len(members) == 0 || members[0].name != "debian-binary" {
		return nil, refused("its first member is not debian-binary, so it is no .deb")
	}
	if err := p.checkFormat(members[0]); err != nil {
		return nil, err
	}
	for _, m := range members[1:] {
		switch {
		case strings.HasPrefix(m.name, "_"):
		case strings.HasPrefix(m.name, controlBase) && p.control.name == "":
			p.control = m
		case strings.HasPrefix(m.name, dataBase) && p.control.name != "":
			p.data = m
		default:
			return nil, refused("its member %q is not expected there", m.name)
		}
	}
	if p.data.name == "" {
		return nil, truncated("it has no %s", dataBase)
	}
	return p, nil
}

func (p *Package) checkFormat(m member) error {
	text := make([]byte, min(m.size, 16))
	if _, err := p.src.ReadAt(text, m.offset); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read package: %w", err)
	}
	if !strings.HasPrefix(string(text), "2.") {
		return fault.New(fault.Unsupported, "its format is %q, not 2.0", strings.TrimSpace(string(text)))
	}
	return nil
}

// DataSize is the length of the compressed files in bytes: how much work the package is.
func (p *Package) DataSize() int64 { return p.data.size }

// Control reads the control member: base name of each file → its content.
func (p *Package) Control(ctx context.Context) (map[string]Script, error) {
	files := map[string]Script{}
	err := p.walk(ctx, p.control, controlBase, p.limits.Control, 10_000, func(e Entry, r io.Reader) error {
		if e.Type != File || path.Base(e.Path) != e.Path {
			return nil
		}
		data, err := io.ReadAll(r)
		files[e.Path] = Script{Mode: e.Mode & 0o777, Data: data}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p.control.name, err)
	}
	if _, ok := files["control"]; !ok {
		return nil, refused("%s holds no control file", p.control.name)
	}
	return files, nil
}

// Each gives every name that the package puts into a system, in the package's order. The reader gives a File's content,
// and is good until each returns.
func (p *Package) Each(ctx context.Context, each func(Entry, io.Reader) error) error {
	seen := map[string]Type{}
	err := p.walk(ctx, p.data, dataBase, p.limits.data(p.data.size), p.limits.Entries, func(e Entry, r io.Reader) error {
		if was, ok := seen[e.Path]; ok && (was != Dir || e.Type != Dir) {
			return refused("%q comes twice", e.Path)
		}
		if target, ok := seen[e.Link]; e.Type == HardLink && (!ok || target != File) {
			return refused("%q is a hard link to %q, which is no earlier file of the package", e.Path, e.Link)
		}
		for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
			if t, ok := seen[dir]; ok {
				if t != Dir {
					return refused("%q leads through %q, which the package has as no folder", e.Path, dir)
				}
				break
			}
		}
		seen[e.Path] = e.Type
		return each(e, r)
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", p.data.name, err)
	}
	return nil
}

// tarBuffer is read at a time from a decoder.
const tarBuffer = 256 << 10

// walk reads a member that is a tar.
func (p *Package) walk(ctx context.Context, m member, base string, maxBytes int64, maxEntries int, each func(Entry, io.Reader) error) error {
	plain, done, err := decompress(io.NewSectionReader(p.src, m.offset, m.size), m.name, base)
	defer done()
	if err != nil {
		return err
	}
	in := &bounded{r: plain, left: maxBytes, most: maxBytes, ctx: ctx}
	tr := tar.NewReader(bufio.NewReaderSize(in, tarBuffer))
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			// The rest holds the checks of the compressed stream.
			_, err := io.Copy(io.Discard, in)
			return err
		}
		if err != nil {
			return tarError(err)
		}
		if n >= maxEntries {
			return refused("it has more than %d entries", maxEntries)
		}
		e, skip, err := entryOf(h)
		if err != nil {
			return err
		}
		if skip {
			continue
		}
		if err := each(e, entryReader{tr}); err != nil {
			return err
		}
	}
}

// entryReader keeps the tar reader's errors apart from those of who writes.
type entryReader struct{ r *tar.Reader }

func (e entryReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = tarError(err)
	}
	return n, err
}

func tarError(err error) error {
	var f *fault.Error
	if errors.As(err, &f) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return truncated("read tar: %w", err)
}

// bounded ends a stream that unpacks to too much, and one that nobody waits for any more.
type bounded struct {
	r    io.Reader
	left int64
	most int64
	ctx  context.Context
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, refused("it unpacks to more than %d bytes", b.most)
	}
	return n, err
}
