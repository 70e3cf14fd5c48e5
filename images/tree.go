package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/bootandshoot/release/internal/fault"
)

// tree is a set of files by name: a folder, or a tar file that is read in place.
type tree interface {
	open(name string) (io.ReadCloser, error) // fs.ErrNotExist when it is not there
	close() error
}

// openTree opens a folder or a tar. A compressed tar is unpacked into an unnamed temporary file first.
func openTree(ctx context.Context, name string, limits Limits) (tree, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "open it: %w", err).WithHint("check the path")
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if info.IsDir() {
		defer f.Close()
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		return folder{root}, nil
	}
	if !info.Mode().IsRegular() {
		return nil, errors.Join(fault.New(fault.Invalid, "neither a folder nor a file"), f.Close())
	}
	plain, err := plainFile(ctx, f, limits)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	t, err := indexTar(ctx, plain, limits)
	if err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	return t, nil
}

// plainFile is f itself, or a temporary file with its uncompressed content; f is then closed.
func plainFile(ctx context.Context, f *os.File, limits Limits) (*os.File, error) {
	var head [6]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !compressed(head[:n]) {
		return f, nil
	}
	plain, err := decompress(contextReader{ctx, f})
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	temp, err := os.CreateTemp("", "release-import-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(temp.Name()); err != nil {
		return nil, errors.Join(err, temp.Close())
	}
	in := &countingReader{r: plain, limit: limits.LayerBytes}
	if _, err := io.CopyBuffer(writerOnly{temp}, in, make([]byte, copyBuffer)); err != nil {
		return nil, errors.Join(diskError(err, "decompress into %s", os.TempDir()), temp.Close())
	}
	return temp, f.Close()
}

// folder is a tree on disk; links that lead out of it are refused.
type folder struct{ root *os.Root }

func (t folder) open(name string) (io.ReadCloser, error) {
	f, err := t.root.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fault.New(fault.Invalid, "%s is no file", name), err, f.Close())
	}
	return f, nil
}

func (t folder) close() error { return t.root.Close() }

// tarTree is a tar file with the places of its members.
type tarTree struct {
	file    *os.File
	members map[string]member
}

// member is a file within a tar, or a link to another member.
type member struct {
	offset, size int64
	link         string
}

// maxMembers bounds a tar of images: a member for each layer and a few more.
const maxMembers = 100_000

// indexTar reads through a tar once and notes where its members are.
func indexTar(ctx context.Context, f *os.File, limits Limits) (*tarTree, error) {
	t := &tarTree{file: f, members: map[string]member{}}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	in := io.NewSectionReader(f, 0, info.Size())
	tr := tar.NewReader(in)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fault.New(fault.Invalid, "read it as a tar file: %w", err)
		}
		if n == min(maxMembers, limits.Entries) {
			return nil, fault.New(fault.Invalid, "refused: more than %d members", n)
		}
		if err := t.add(h, in, info.Size()); err != nil {
			return nil, err
		}
	}
}

func (t *tarTree) add(h *tar.Header, in *io.SectionReader, total int64) error {
	name, err := entryPath(h.Name)
	if err != nil {
		return fmt.Errorf("member %q: %w", shorten(h.Name), err)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		offset, err := in.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if h.Size > total-offset {
			return fault.New(fault.Invalid, "member %q: refused: it claims %d bytes, the file ends before", shorten(h.Name), h.Size)
		}
		t.members[name] = member{offset: offset, size: h.Size}
	case tar.TypeSymlink:
		t.members[name] = member{link: path.Join(path.Dir(name), h.Linkname)}
	case tar.TypeLink:
		t.members[name] = member{link: path.Clean(h.Linkname)}
	}
	return nil
}

func (t *tarTree) open(name string) (io.ReadCloser, error) {
	name = path.Clean(name)
	for range 10 {
		m, ok := t.members[name]
		if !ok {
			return nil, fmt.Errorf("member %s: %w", name, fs.ErrNotExist)
		}
		if m.link == "" {
			return io.NopCloser(io.NewSectionReader(t.file, m.offset, m.size)), nil
		}
		name = m.link
	}
	return nil, fault.New(fault.Invalid, "member %s: too many links", name)
}

func (t *tarTree) close() error { return t.file.Close() }

// readTree reads a small file of a tree.
func readTree(t tree, name string) ([]byte, error) {
	f, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readSmall(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}
