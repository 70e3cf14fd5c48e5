package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// piece is an entry of a layer with its content.
type piece struct {
	images.Entry
	open func() (io.ReadCloser, error)
}

// maxPath bounds paths in an image, as the kernel does (PATH_MAX).
const maxPath = 4095

// assemble makes the entries of a layer: the folders on the way and the files, in the order of a layer. A file that
// comes twice counts as its last.
func assemble(places []placement, files [][]file) ([]piece, error) {
	pieces := map[string]piece{}
	for i := range places {
		for at, d := range places[i].Dirs {
			if _, ok := pieces[at]; !ok {
				pieces[at] = d.piece(at)
			}
		}
		if err := addFiles(pieces, &places[i], files[i]); err != nil {
			return nil, err
		}
	}
	return inOrder(pieces), nil
}

// piece is the entry that repeats a folder.
func (d dir) piece(at string) piece {
	e := images.Entry{Path: at, Type: images.Dir, Mode: d.Mode, UID: d.UID, GID: d.GID}
	for name, value := range d.Xattrs {
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name] = string(value)
	}
	return piece{Entry: e}
}

func addFiles(pieces map[string]piece, p *placement, files []file) error {
	links := map[string]string{} // rel of a hard link → rel of what it means
	for _, f := range files {
		at := p.path(f.rel)
		if len(at) > maxPath {
			return fault.New(fault.Failed, "path /%.60s… is longer than %d bytes", at, maxPath)
		}
		if f.kind == images.Dir && p.merged(at) {
			continue
		}
		if f.kind == images.HardLink {
			links[f.rel] = f.link
		}
		pieces[at] = piece{open: f.open, Entry: images.Entry{Path: at, Type: f.kind, Mode: f.mode, UID: p.Owner.UID, GID: p.Owner.GID,
			Size: f.size, Link: f.link, Major: f.major, Minor: f.minor, Xattrs: f.xattrs}}
	}
	return joinLinks(p, pieces, links)
}

// joinLinks makes the first of the names of a file, in the order of a layer, the file, and the others links to it.
func joinLinks(p *placement, pieces map[string]piece, links map[string]string) error {
	groups := map[string][]string{}
	for rel, target := range links {
		for n := 0; links[target] != "" && n < len(links); n++ {
			target = links[target]
		}
		at := p.path(target)
		if f, ok := pieces[at]; !ok || f.Type != images.File {
			return fault.New(fault.Failed, "hard link %s leads to %s, which is no file of the same step", rel, target)
		}
		groups[at] = append(groups[at], p.path(rel))
	}
	for at, names := range groups {
		content := pieces[at]
		names = append(names, at)
		slices.Sort(names)
		for i, name := range names {
			c := content
			c.Path = name
			if i > 0 {
				c = piece{Entry: images.Entry{Path: name, Type: images.HardLink, Mode: content.Mode, UID: content.UID, GID: content.GID, Link: names[0]}}
			}
			pieces[name] = c
		}
	}
	return nil
}

func inOrder(pieces map[string]piece) []piece {
	list := make([]piece, 0, len(pieces))
	for _, p := range pieces {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b piece) int { return compare(a.Path, b.Path) })
	return list
}

// writePieces writes entries in their order. Nothing is visible until the caller commits.
func writePieces(ctx context.Context, s *images.Store, epoch int64, list []piece) (*images.LayerWriter, error) {
	w, err := s.NewLayer(ctx, epoch)
	if err != nil {
		return nil, err
	}
	for _, p := range list {
		if err := addPiece(w, p); err != nil {
			w.Abort()
			return nil, err
		}
	}
	return w, nil
}

func addPiece(w *images.LayerWriter, p piece) error {
	if p.open == nil {
		return w.Add(p.Entry, nil)
	}
	r, err := p.open()
	if err != nil {
		return fmt.Errorf("read %s: %w", p.Path, err)
	}
	return errors.Join(w.Add(p.Entry, r), r.Close())
}
