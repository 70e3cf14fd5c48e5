package disk

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/images"
)

// streamBuffer is handed over at a time between who writes the stream and who reads it.
const streamBuffer = 1 << 20

// treeWriter writes the tree of an image as one tar.
type treeWriter struct {
	ctx   context.Context
	files *images.Files
	tar   *tar.Writer
	epoch time.Time
	first map[string]*images.ImageFile // by origin: the name that has the bytes
	chunk []byte
}

// treeStream gives the tree of an image as an uncompressed tar: all folders, each before what is in it, and then the rest in the order in
// which it lies on the disk. Whiteouts are gone with what they remove. Who stops reading early closes it.
func treeStream(ctx context.Context, files *images.Files, own int, epoch int64) *io.PipeReader {
	r, w := io.Pipe()
	go func() {
		buf := bufio.NewWriterSize(w, streamBuffer)
		t := treeWriter{ctx: ctx, files: files, tar: tar.NewWriter(buf), epoch: time.Unix(epoch, 0).UTC(),
			first: map[string]*images.ImageFile{}, chunk: make([]byte, streamBuffer)}
		err := t.all(own)
		if err == nil {
			err = t.tar.Close()
		}
		if err == nil {
			err = buf.Flush()
		}
		w.CloseWithError(err) // nil is the end
	}()
	return r
}

func (t *treeWriter) all(own int) error {
	for _, n := range ordered(t.files, own) {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		if err := t.entry(n); err != nil {
			return fmt.Errorf("take /%s of the image: %w", strings.TrimPrefix(n.Path, "."), err)
		}
	}
	return nil
}

// ordered are the folders, and then the files of each layer: first those of the topmost own layers, then from the lowest on. What changes
// often is in a high layer, and moves nothing of what lies before it on the disk when it gets longer.
func ordered(files *images.Files, own int) []*images.ImageFile {
	layers := len(files.Image.Layers)
	rank := func(n *images.ImageFile) int {
		switch {
		case n.Type == images.Dir:
			return -1 - own
		case n.Layer >= layers-own:
			return n.Layer - layers
		}
		return n.Layer
	}
	list := slices.Collect(files.All())
	slices.SortStableFunc(list, func(a, b *images.ImageFile) int { return cmp.Compare(rank(a), rank(b)) })
	return list
}

func (t *treeWriter) entry(n *images.ImageFile) error {
	h := t.header(n)
	if err := t.tar.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg || h.Size == 0 {
		return err
	}
	content, err := t.files.Open(n)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{t.tar}, struct{ io.Reader }{content}, t.chunk)
	return err
}

var typeflags = map[images.EntryType]byte{images.File: tar.TypeReg, images.Dir: tar.TypeDir, images.Symlink: tar.TypeSymlink,
	images.CharDevice: tar.TypeChar, images.BlockDevice: tar.TypeBlock, images.Fifo: tar.TypeFifo}

func (t *treeWriter) header(n *images.ImageFile) *tar.Header {
	if target := t.linkTarget(n); target != nil {
		return &tar.Header{Format: tar.FormatPAX, Typeflag: tar.TypeLink, Name: n.Path, Linkname: target.Path, ModTime: t.epoch}
	}
	h := &tar.Header{Format: tar.FormatPAX, Typeflag: typeflags[n.Type], Name: n.Path, Mode: int64(n.Mode), Uid: n.UID, Gid: n.GID,
		ModTime: t.epoch}
	switch n.Type {
	case images.File:
		h.Size = n.Size
	case images.Dir:
		h.Name += "/"
	case images.Symlink:
		h.Linkname = n.Link
	case images.CharDevice, images.BlockDevice:
		h.Devmajor, h.Devminor = n.Major, n.Minor
	}
	for name, value := range n.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = value
	}
	return h
}

// linkTarget is the earlier name of the same file, nil when this is the first. The name that a hard link was made from may be
// gone by now, or another file, or come later.
func (t *treeWriter) linkTarget(n *images.ImageFile) *images.ImageFile {
	if n.Type != images.File {
		return nil
	}
	origin := cmp.Or(n.HardLink, n.Path)
	first, ok := t.first[origin]
	if !ok {
		t.first[origin] = n
		return nil
	}
	if !t.files.SameBytes(n, t.files, first) {
		return nil
	}
	return first
}
