// Package upper turns what was written over an overlay into the entries of a layer.
//
// The kernel's overlay has two marks (Documentation/filesystems/overlayfs.rst): a character device 0:0 stands for a
// name that is gone, the attribute overlay.opaque=y for a folder that hides what is below it.
package upper

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/images"
)

// leftOut are the folders whose content belongs to a running system and not to an image.
var leftOut = [...]string{"dev", "proc", "sys", "tmp", run + "/secrets", run + "/release-install"}

// run is the folder of which only the folders are kept, as daemons want to find them in a container, where nothing makes
// them at boot. What a bake mounts there itself is left out.
const run = "run"

// Piece is an entry of a layer with its content; Open is nil for what has none.
type Piece struct {
	images.Entry
	Open func() (io.ReadCloser, error)
}

// scan is one upper folder being read.
type scan struct {
	dir     string
	correct func(*images.Entry)
	list    []Piece
}

// Read lists what is in an upper folder in the order of a layer, without what belongs to a running system. correct, when
// given, is called for every entry before it is used: it may mend owner and mode.
func Read(ctx context.Context, dir string, correct func(*images.Entry)) ([]Piece, error) {
	s := &scan{dir: dir, correct: correct}
	if err := s.folder(ctx, "."); err != nil {
		return nil, fmt.Errorf("capture changes: %w", err)
	}
	s.settleLinks()
	return s.list, nil
}

// folder takes what is in a folder.
func (s *scan) folder(ctx context.Context, rel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, rel))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(rel, e.Name())
		if slices.Contains(leftOut[:], name) || strings.HasPrefix(name, run+"/") && !e.IsDir() {
			continue
		}
		before := len(s.list)
		if err := s.name(ctx, name); err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
		if name == run && len(s.list) == before+1 {
			s.list = s.list[:before] // nothing in it is kept
		}
	}
	return nil
}

// name takes one name and, if it is a folder, what is in it.
func (s *scan) name(ctx context.Context, rel string) error {
	at := filepath.Join(s.dir, rel)
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil {
		return err
	}
	e := images.Entry{Path: rel, Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid)}
	if s.correct != nil {
		s.correct(&e)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return s.subfolder(ctx, e, at)
	case unix.S_IFREG:
		return s.file(e, at, &st)
	case unix.S_IFLNK:
		target, err := os.Readlink(at)
		if err != nil {
			return err
		}
		e.Type, e.Link, e.Mode = images.Symlink, target, 0o777
	case unix.S_IFIFO:
		e.Type = images.Fifo
	case unix.S_IFSOCK:
		return nil // its server is gone
	case unix.S_IFCHR, unix.S_IFBLK:
		e = device(e, &st)
	}
	s.list = append(s.list, Piece{Entry: e})
	return nil
}

func device(e images.Entry, st *unix.Stat_t) images.Entry {
	major, minor := unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	e.Type, e.Major, e.Minor = images.CharDevice, int64(major), int64(minor)
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		e.Type = images.BlockDevice
	} else if major == 0 && minor == 0 {
		e = images.Entry{Path: e.Path, Type: images.Whiteout}
	}
	return e
}

func (s *scan) subfolder(ctx context.Context, e images.Entry, at string) error {
	xattrs, opaque, err := readXattrs(at)
	if err != nil {
		return err
	}
	e.Type, e.Xattrs = images.Dir, xattrs
	s.list = append(s.list, Piece{Entry: e})
	if opaque {
		s.list = append(s.list, Piece{Entry: images.Entry{Path: e.Path, Type: images.Opaque}})
	}
	return s.folder(ctx, e.Path)
}

func (s *scan) file(e images.Entry, at string, st *unix.Stat_t) error {
	xattrs, _, err := readXattrs(at)
	if err != nil {
		return err
	}
	e.Type, e.Size, e.Xattrs = images.File, st.Size, xattrs
	if st.Nlink > 1 {
		e.Link = fmt.Sprintf("%d:%d", st.Dev, st.Ino) // until settleLinks
	}
	s.list = append(s.list, Piece{Entry: e, Open: Opener(at)})
	return nil
}

// Opener opens a file of the disk without following a link and without a trace of the reading.
func Opener(at string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		return os.OpenFile(at, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NOATIME, 0)
	}
}

// settleLinks puts entries in order and makes the first name of each file the file and its others links to it.
func (s *scan) settleLinks() {
	slices.SortStableFunc(s.list, func(a, b Piece) int { return Compare(a.Path, b.Path) })
	first := map[string]string{}
	for i := range s.list {
		p := &s.list[i]
		if p.Type != images.File || p.Link == "" {
			continue
		}
		id := p.Link
		p.Link = ""
		if name, ok := first[id]; ok {
			p.Entry = images.Entry{Path: p.Path, Type: images.HardLink, Mode: p.Mode, UID: p.UID, GID: p.GID, Link: name}
			p.Open = nil
			continue
		}
		first[id] = p.Path
	}
}

// Compare is the order of a layer's entries: that of bytes, the root first.
func Compare(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == ".":
		return -1
	case b == ".":
		return 1
	}
	return strings.Compare(a, b)
}

// Write writes entries in their order. Nothing is visible until the caller commits.
func Write(ctx context.Context, s *images.Store, epoch int64, list []Piece) (*images.LayerWriter, error) {
	w, err := s.NewLayer(ctx, epoch)
	if err != nil {
		return nil, err
	}
	w.KeepFacts() // the bill of materials needs them
	for _, p := range list {
		if err := p.addTo(w); err != nil {
			w.Abort()
			return nil, err
		}
	}
	return w, nil
}

func (p Piece) addTo(w *images.LayerWriter) error {
	if p.Open == nil {
		return w.Add(p.Entry, nil)
	}
	r, err := p.Open()
	if err != nil {
		return fmt.Errorf("read %s: %w", p.Path, err)
	}
	err = w.Add(p.Entry, r)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return err
}
