package builder

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// tree is what an image's layers make, read from their records: names, owners and modes, no content.
type tree struct{ root *node }

// node is one name of a tree.
type node struct {
	kind     images.EntryType
	mode     uint32
	uid, gid int
	link     string
	xattrs   map[string]string
	kids     map[string]*node

	layer     *images.Layer // where a file's content lies, with its offset and length
	off, size int64
}

func newDir() *node { return &node{kind: images.Dir, mode: 0o755, kids: map[string]*node{}} }

func newTree() *tree { return &tree{root: newDir()} }

// tarXattr is how tar carries extended attributes.
const tarXattr = "SCHILY.xattr."

// apply puts a layer on top.
func (t *tree) apply(ctx context.Context, s *images.Store, l images.Layer) error {
	f, err := s.OpenBlob(l.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	// The reader seeks over content, so only the headers are read; no buffer may stand between.
	tr := tar.NewReader(f)
	fresh := map[*node]bool{}
	for ctx.Err() == nil {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layer %s: %w", l.Digest.Short(), cmp.Or(s.CheckBlob(ctx, l.Descriptor), err))
		}
		off, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return fmt.Errorf("read layer %s: %w", l.Digest.Short(), err)
		}
		t.entry(h, &l, off, fresh)
	}
	return ctx.Err()
}

// entry applies one record. Odd ones are ignored here: unpacking is what refuses them.
func (t *tree) entry(h *tar.Header, layer *images.Layer, off int64, fresh map[*node]bool) {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	dir, base := path.Split(name)
	if gone, ok := strings.CutPrefix(base, ".wh."); ok {
		t.whiteout(path.Clean("/"+dir), gone, fresh)
		return
	}
	if name == "" {
		if h.Typeflag == tar.TypeDir {
			t.root.mode, t.root.uid, t.root.gid = uint32(h.Mode)&0o7777, h.Uid, h.Gid
		}
		return
	}
	parent := t.parent(dir)
	n := &node{mode: uint32(h.Mode) & 0o7777, uid: h.Uid, gid: h.Gid, link: h.Linkname, xattrs: xattrsOf(h), layer: layer, off: off, size: h.Size}
	fresh[n] = true
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont:
		n.kind = images.File
	case tar.TypeDir:
		n.kind, n.kids = images.Dir, map[string]*node{}
		if old := parent.kids[base]; old != nil && old.kind == images.Dir {
			n.kids = old.kids
		}
	case tar.TypeSymlink:
		n.kind = images.Symlink
	case tar.TypeLink:
		if n = t.lookup(h.Linkname); n == nil {
			return
		}
	case tar.TypeChar:
		n.kind = images.CharDevice
	case tar.TypeBlock:
		n.kind = images.BlockDevice
	case tar.TypeFifo:
		n.kind = images.Fifo
	default:
		return
	}
	parent.kids[base] = n
}

func xattrsOf(h *tar.Header) map[string]string {
	var list map[string]string
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, tarXattr); ok {
			if list == nil {
				list = map[string]string{}
			}
			list[name] = value
		}
	}
	return list
}

// parent is the folder dir, made if it is missing. Layers name parents by their real path, but links are followed for
// those that do not.
func (t *tree) parent(dir string) *node {
	real, n, err := t.resolve("/" + dir)
	if err == nil && n != nil && n.kind == images.Dir {
		return n
	}
	if err != nil {
		real = path.Clean("/" + dir)
	}
	at := t.root
	for part := range strings.SplitSeq(strings.Trim(real, "/"), "/") {
		if part == "" {
			continue
		}
		next := at.kids[part]
		if next == nil || next.kind != images.Dir {
			next = newDir()
			at.kids[part] = next
		}
		at = next
	}
	return at
}

// whiteout removes a name, or all that lower layers have in dir. Records of the layer under way stay.
func (t *tree) whiteout(dir, gone string, fresh map[*node]bool) {
	_, n, err := t.resolve(dir)
	if err != nil || n == nil || n.kind != images.Dir {
		return
	}
	if gone != ".wh..opq" {
		if kid := n.kids[gone]; kid != nil && !fresh[kid] {
			delete(n.kids, gone)
		}
		return
	}
	prune(n, fresh)
}

func prune(n *node, fresh map[*node]bool) {
	for name, kid := range n.kids {
		if !fresh[kid] {
			delete(n.kids, name)
		} else if kid.kind == images.Dir {
			prune(kid, fresh)
		}
	}
}

// lookup finds a path as it is, without following links; nil when there is none.
func (t *tree) lookup(name string) *node {
	at := t.root
	for part := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		if part == "" {
			continue
		}
		if at == nil || at.kids == nil {
			return nil
		}
		at = at.kids[part]
	}
	return at
}

// maxLinks is how many links a path may lead over, as in the kernel.
const maxLinks = 40

// resolve follows links, as a process with this root would. It gives the real path and what is there; nil when nothing
// is, with the rest of the path as it was.
func (t *tree) resolve(name string) (string, *node, error) {
	rest := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
	at := []*node{t.root}
	names := []string{}
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(names) > 0 {
				at, names = at[:len(at)-1], names[:len(names)-1]
			}
			continue
		}
		kid := at[len(at)-1].kids[part]
		if kid == nil {
			return "/" + path.Join(path.Join(names...), part, path.Join(rest...)), nil, nil
		}
		if kid.kind == images.Symlink {
			if links++; links > maxLinks {
				return "", nil, fault.New(fault.Failed, "%s leads over too many links of the image", name)
			}
			if strings.HasPrefix(kid.link, "/") {
				at, names = at[:1], names[:0]
			}
			rest = append(strings.Split(kid.link, "/"), rest...)
			continue
		}
		at, names = append(at, kid), append(names, part)
	}
	return "/" + path.Join(names...), at[len(at)-1], nil
}

// readLimit is the largest file that is read whole, in bytes.
const readLimit = 16 << 20

// read gives the content of a small file, following links; nil when there is none. It is held against the digest that the
// facts of its layer have of it.
func (t *tree) read(ctx context.Context, s *images.Store, name string) ([]byte, error) {
	_, n, err := t.resolve(name)
	if err != nil || n == nil || n.kind != images.File {
		return nil, nil //nolint:nilerr // a file that leads nowhere is not there
	}
	if n.size > readLimit {
		return nil, fault.New(fault.Failed, "read %s of the image: it has %d bytes, more than %d", name, n.size, readLimit)
	}
	facts, err := s.LayerFacts(ctx, *n.layer)
	if err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", name, err)
	}
	for _, e := range facts.Entries {
		if e.Type == images.File && e.Offset == n.off && e.Size == n.size {
			return s.ReadContent(n.layer.Digest, e, readLimit)
		}
	}
	return nil, fault.New(fault.Failed, "read %s of the image: layer %s does not hold it in one piece", name, n.layer.Digest.Short())
}
