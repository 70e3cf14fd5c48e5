package images

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/internal/fault"
)

// Files is the root file system of an image as its layers make it, without unpacking: the same tree as Rootfs gives.
type Files struct {
	Image Image
	store *Store
	root  *ImageFile
	seen  map[string]bool // while layers are laid: paths of the present one and their parents, which its removals spare
}

// ImageFile is one name in the root file system of an image. Path and the entry's other facts are those that hold at
// the end; a hard link is a File with the facts of the file that it names.
type ImageFile struct {
	FileFacts
	Layer    int    // which layer brought this name, 0 the lowest; -1 for a folder that no layer names
	HardLink string // the path that a hard link was made from; "" for all else

	source   int // which layer has the bytes
	children map[string]*ImageFile
}

// factsAtOnce is how many layers are read at the same time; each takes two processors.
const factsAtOnce = 2

// Files looks into an image; a layer not yet known is read once, see LayerFacts.
func (s *Store) Files(ctx context.Context, d Digest) (*Files, error) {
	return s.filesBut(ctx, d, nil)
}

// FilesOfBoth looks into two images that are to be compared. Layers that both have are not read as long as it is not known
// what they hold: then their files have no Content until ContentOf is asked.
func (s *Store) FilesOfBoth(ctx context.Context, a, b Digest) (first, second *Files, err error) {
	shared := map[Digest]bool{}
	have := map[Digest]bool{}
	for i, d := range []Digest{a, b} {
		img, err := s.Get(d)
		if err != nil {
			return nil, nil, err
		}
		for _, l := range img.Layers {
			if i == 0 {
				have[l.Digest] = true
			} else if have[l.Digest] {
				shared[l.Digest] = true
			}
		}
	}
	if first, err = s.filesBut(ctx, a, shared); err != nil {
		return nil, nil, err
	}
	second, err = s.filesBut(ctx, b, shared)
	return first, second, err
}

// filesBut is Files without reading the content of some layers.
func (s *Store) filesBut(ctx context.Context, d Digest, unread map[Digest]bool) (*Files, error) {
	img, err := s.Get(d)
	if err != nil {
		return nil, err
	}
	f, err := s.filesOfImage(ctx, img, unread)
	if err != nil {
		return nil, fmt.Errorf("look into image %s: %w", d.Short(), err)
	}
	return f, nil
}

// FilesOf looks into an image that is not written yet, but whose layers are.
func (s *Store) FilesOf(ctx context.Context, img Image) (*Files, error) {
	return s.filesOfImage(ctx, img, nil)
}

func (s *Store) filesOfImage(ctx context.Context, img Image, unread map[Digest]bool) (*Files, error) {
	all := make([]LayerFacts, len(img.Layers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(factsAtOnce)
	for i, l := range img.Layers {
		group.Go(func() (err error) {
			if unread[l.Digest] {
				all[i], err = s.names(ctx, l)
			} else {
				all[i], err = s.LayerFacts(ctx, l)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return s.filesOf(img, all)
}

// filesOf lays the layers of an image over one another.
func (s *Store) filesOf(img Image, layers []LayerFacts) (*Files, error) {
	f := &Files{Image: img, store: s, root: impliedDir(".")}
	for i, l := range layers {
		f.seen = map[string]bool{}
		for _, e := range l.Entries {
			if err := f.apply(e, i); err != nil {
				return nil, fmt.Errorf("layer %s: entry %q: %w", l.Layer.Short(), shorten(e.Path), err)
			}
		}
	}
	f.seen = nil
	return f, nil
}

// impliedDir is a folder that no layer names.
func impliedDir(name string) *ImageFile {
	return &ImageFile{FileFacts: FileFacts{Entry: Entry{Path: name, Type: Dir, Mode: 0o755}}, Layer: -1, children: map[string]*ImageFile{}}
}

// apply puts one entry of a layer over what is there, as an unpacker does: links to folders are followed above it.
func (f *Files) apply(e FileFacts, layer int) error {
	switch e.Type {
	case Opaque:
		if dir := f.walkDir(e.Path); dir != nil {
			f.clearLower(dir, e.Path)
		}
		return nil
	case Whiteout:
		if dir := f.walkDir(path.Dir(e.Path)); dir != nil {
			if !f.seen[e.Path] {
				delete(dir.children, path.Base(e.Path))
			}
		}
		return nil
	}
	for name := e.Path; !f.seen[name]; name = path.Dir(name) {
		f.seen[name] = true
	}
	if e.Path == "." {
		if e.Type != Dir {
			return refused("the root is a folder")
		}
		f.root.FileFacts, f.root.Layer = e, layer
		return nil
	}
	dir, err := f.makeDir(path.Dir(e.Path))
	if err != nil {
		return err
	}
	n := &ImageFile{FileFacts: e, Layer: layer, source: layer}
	n.Path = path.Join(dir.Path, path.Base(e.Path))
	old := dir.children[path.Base(e.Path)]
	switch e.Type {
	case Dir:
		n.children = map[string]*ImageFile{}
		if old != nil && old.Type == Dir {
			n.children = old.children
		}
	case HardLink:
		target, err := f.hardLinkTarget(e.Link)
		if err != nil {
			return err
		}
		if target == old {
			return refused("a hard link to itself")
		}
		n.FileFacts, n.HardLink, n.source = target.FileFacts, target.Path, target.source
		n.Path = path.Join(dir.Path, path.Base(e.Path))
	}
	dir.children[path.Base(e.Path)] = n
	return nil
}

func (f *Files) hardLinkTarget(link string) (*ImageFile, error) {
	dir := f.walkDir(path.Dir(link))
	if dir == nil || dir.children[path.Base(link)] == nil {
		return nil, refused("a hard link to %q, which is not there", shorten(link))
	}
	target := dir.children[path.Base(link)]
	if target.Type == Dir {
		return nil, refused("a hard link to the folder %q", shorten(link))
	}
	return target, nil
}

// clearLower removes what the layers below brought into a folder, which the present layer calls by that name.
func (f *Files) clearLower(n *ImageFile, name string) {
	for base, c := range n.children {
		if at := path.Join(name, base); !f.seen[at] {
			delete(n.children, base)
		} else if c.Type == Dir {
			f.clearLower(c, at)
		}
	}
}

// walkDir finds a folder; nil when there is none.
func (f *Files) walkDir(name string) *ImageFile {
	n, err := f.follow(name)
	if err != nil || n.Type != Dir {
		return nil
	}
	return n
}

// makeDir finds the folder for an entry of a layer and makes what is missing of it.
func (f *Files) makeDir(name string) (*ImageFile, error) {
	at := f.root
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		next := at.children[part]
		if next == nil {
			next = impliedDir(path.Join(at.Path, part))
			at.children[part] = next
		}
		if next.Type == Symlink {
			found, err := f.follow(next.Path)
			if err != nil {
				return nil, refused("its folder %s is not one of the root: %w", next.Path, err)
			}
			next = found
		}
		if next.Type != Dir {
			return nil, refused("its folder %s is not one of the root", next.Path)
		}
		at = next
	}
	return at, nil
}

// maxLinks is how many symbolic links are followed on the way to one name, as in the kernel.
const maxLinks = 40

// follow finds a name and follows all links on the way, also the last; ".." stays within the root.
func (f *Files) follow(name string) (*ImageFile, error) { return f.find(name, true) }

func (f *Files) find(name string, last bool) (*ImageFile, error) {
	up := []*ImageFile{f.root}
	rest := splitPath(name)
	for links := 0; len(rest) > 0; {
		at, part := up[len(up)-1], rest[0]
		rest = rest[1:]
		if at.Type != Dir {
			return nil, fault.New(fault.NotFound, "%s is no folder", "/"+at.Path)
		}
		if part == ".." {
			up = up[:max(1, len(up)-1)]
			continue
		}
		next := at.children[part]
		if next == nil {
			return nil, fault.New(fault.NotFound, "no %s in it: %w", "/"+strings.TrimPrefix(path.Join(at.Path, part), "./"), fs.ErrNotExist)
		}
		if next.Type != Symlink || len(rest) == 0 && !last {
			up = append(up, next)
			continue
		}
		if links++; links > maxLinks {
			return nil, fault.New(fault.Invalid, "/%s: too many links", name)
		}
		if path.IsAbs(next.Link) {
			up = up[:1]
		}
		rest = slices.Concat(splitPath(next.Link), rest)
	}
	return up[len(up)-1], nil
}

func splitPath(name string) []string {
	return slices.DeleteFunc(strings.Split(name, "/"), func(p string) bool { return p == "" || p == "." })
}

// Lookup finds a path, relative or absolute; links above it are followed, the last is not. One that is not there is
// fault.NotFound and fs.ErrNotExist.
func (f *Files) Lookup(name string) (*ImageFile, error) { return f.find(name, false) }

// Resolve is Lookup that follows the last link as well. No link leaves the image.
func (f *Files) Resolve(name string) (*ImageFile, error) { return f.find(name, true) }

// Children lists what is in a folder, by name.
func (n *ImageFile) Children() []*ImageFile {
	list := make([]*ImageFile, 0, len(n.children))
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		list = append(list, n.children[name])
	}
	return list
}

// Root is the root folder, whose Path is ".".
func (f *Files) Root() *ImageFile { return f.root }

// All gives every name of the image, each folder before what is in it, names in byte order; the root comes first.
func (f *Files) All() iter.Seq[*ImageFile] {
	return func(yield func(*ImageFile) bool) { f.root.walk(yield) }
}

func (n *ImageFile) walk(yield func(*ImageFile) bool) bool {
	if !yield(n) {
		return false
	}
	for _, c := range n.Children() {
		if !c.walk(yield) {
			return false
		}
	}
	return true
}

// SameBytes reports whether two Files are the same bytes of the same layer, which needs no reading.
func (f *Files) SameBytes(n *ImageFile, other *Files, m *ImageFile) bool {
	a, x := f.content(n)
	b, y := other.content(m)
	return a == b && a != "" && x.Offset == y.Offset && x.Offset >= 0
}

// ContentOf is the digest of a File's bytes, which are read if need be; "" for all else.
func (f *Files) ContentOf(n *ImageFile) (Digest, error) {
	if n.Type != File || n.Content != "" {
		return n.Content, nil
	}
	r, err := f.Open(n)
	if err != nil {
		return "", err
	}
	defer r.Close()
	v := newVerifier(r)
	if _, err := io.Copy(io.Discard, v); err != nil {
		return "", fmt.Errorf("read %s: %w", n.Path, err)
	}
	n.Content = v.digest()
	return n.Content, nil
}

// Open opens a File for reading, out of its layer; the caller closes it.
func (f *Files) Open(n *ImageFile) (io.ReadCloser, error) {
	layer, e := f.content(n)
	return f.store.OpenContent(layer, e)
}

// Read reads a small file by its path, following links, and checks it. One that is not there is fs.ErrNotExist; one
// larger than limit bytes is fault.Invalid.
func (f *Files) Read(name string, limit int64) ([]byte, error) {
	n, err := f.Resolve(name)
	if err != nil {
		return nil, err
	}
	layer, e := f.content(n)
	if e.Type == File && e.Size <= limit {
		if e.Content, err = f.ContentOf(n); err != nil {
			return nil, err
		}
	}
	return f.store.ReadContent(layer, e, limit)
}

func (f *Files) content(n *ImageFile) (Digest, FileFacts) {
	e := n.FileFacts
	if n.HardLink != "" {
		e.Path = n.HardLink
	}
	if n.source < len(f.Image.Layers) {
		return f.Image.Layers[n.source].Digest, e
	}
	return "", e
}
