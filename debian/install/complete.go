package install

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/debian/deb"
	"github.com/bootandshoot/release/images"
)

// entryTypes are a package's types in the words of a layer.
var entryTypes = [...]images.EntryType{deb.File: images.File, deb.Dir: images.Dir, deb.Symlink: images.Symlink,
	deb.HardLink: images.HardLink, deb.CharDevice: images.CharDevice, deb.BlockDevice: images.BlockDevice, deb.Fifo: images.Fifo}

// complete lists what each group's layer holds, and gives the folders what the list says.
func (t *settler) complete(packages []*pkg) error {
	for _, g := range t.batch.groups {
		g.pieces = map[string]*piece{}
	}
	for _, p := range packages {
		for _, r := range p.records {
			if r.at != "" {
				t.addPiece(p.group, r)
			}
		}
	}
	for _, g := range t.batch.groups {
		if err := t.addInfo(g); err != nil {
			return err
		}
		g.settleLinks()
		t.addFolders(g)
		if err := t.finishFolders(g); err != nil {
			return err
		}
		if err := t.clearWay(g); err != nil {
			return err
		}
	}
	return nil
}

func (t *settler) addPiece(g *group, r *record) {
	if r.Type == deb.Dir && t.names[r.at].rec != r {
		g.pieces[r.at] = nil // the one that came first has its attributes
		return
	}
	e := images.Entry{Path: r.at, Type: entryTypes[r.Type], Mode: r.Mode, UID: r.UID, GID: r.GID, Xattrs: r.Xattrs}
	switch r.Type {
	case deb.File:
		e.Size = r.Size
	case deb.Symlink:
		e.Link, e.Mode = r.Link, 0o777
	case deb.CharDevice, deb.BlockDevice:
		e.Major, e.Minor = r.Major, r.Minor
		if r.disk == "" {
			g.skipped = append(g.skipped, images.Skipped{Path: r.at, What: "device: this process may not make devices"})
		}
	}
	g.pieces[r.at] = &piece{Entry: e, disk: r.disk, rec: r}
}

// settleLinks makes the first of the names of a file, in the order of a layer, the file, and the others links to it.
func (g *group) settleLinks() {
	names := map[*record][]string{} // of a file with links
	for at, p := range g.pieces {
		if p == nil || p.Type != images.HardLink {
			continue
		}
		for _, f := range p.rec.pkg.records {
			if f.Type == deb.File && f.Path == p.rec.Link {
				names[f] = append(names[f], at)
			}
		}
	}
	for f, list := range names {
		content := *g.pieces[f.at]
		list = append(list, f.at)
		slices.Sort(list)
		for i, name := range list {
			c := content
			c.Path = name
			c.disk = g.path(name)
			if i > 0 {
				c = piece{Entry: images.Entry{Path: name, Type: images.HardLink, Mode: c.Mode, UID: c.UID, GID: c.GID, Link: list[0]}}
			}
			g.pieces[name] = &c
		}
	}
}

// addFolders names the folders above each entry, with the attributes that they have in the system.
func (t *settler) addFolders(g *group) {
	need := map[string]bool{".": true}
	for at, p := range g.pieces {
		if p == nil {
			need[at] = true
		}
		for dir := path.Dir(at); !need[dir]; dir = path.Dir(dir) {
			need[dir] = true
		}
	}
	for dir := range need {
		if p := g.pieces[dir]; p != nil {
			continue
		}
		e := images.Entry{Path: dir, Type: images.Dir, Mode: 0o755}
		if n := t.look(dir); n.kind == dirNode {
			e.Mode, e.UID, e.GID, e.Xattrs = n.mode, n.uid, n.gid, n.xattrs
		}
		g.pieces[dir] = &piece{Entry: e}
	}
}

// finishFolders makes the folders that nothing is in, and gives all of them their attributes.
func (t *settler) finishFolders(g *group) error {
	for at, p := range g.pieces {
		if p.Type != images.Dir {
			continue
		}
		if err := g.makeDir(at); err != nil {
			return fmt.Errorf("make folder /%s: %w", at, err)
		}
	}
	for at, p := range g.pieces {
		if p.Type != images.Dir {
			continue
		}
		fd, err := g.beneath(at, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("open folder /%s: %w", at, err)
		}
		f := os.NewFile(uintptr(fd), at)
		err = t.stage.setAttrs(f, &record{Entry: deb.Entry{Mode: p.Mode, UID: p.UID, GID: p.GID, Xattrs: p.Xattrs}})
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("folder /%s: %w", at, err)
		}
	}
	// Folders that were made for a name that went elsewhere in the end.
	for dir := range g.made {
		if g.pieces[dir] == nil {
			_ = removeEmpty(g.path(dir), g.root)
		}
	}
	return nil
}

// removeEmpty removes a folder and those above it as far as they are empty.
func removeEmpty(dir, root string) error {
	for ; dir != root; dir = filepath.Dir(dir) {
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	return nil
}

// clearWay removes from the scripts' changes what would hide the group's names: marks of names that are gone, and folders
// that show nothing of what is below.
func (t *settler) clearWay(g *group) error {
	for _, at := range slices.Sorted(maps.Keys(g.pieces)) { // folders before what is in them
		full := filepath.Join(t.stage.upper, at)
		var st unix.Stat_t
		if unix.Lstat(full, &st) != nil {
			continue
		}
		gone, isDir := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0, g.pieces[at].Type == images.Dir
		if gone {
			if err := os.Remove(full); err != nil {
				return err
			}
		}
		if gone && isDir {
			if err := t.upperDir(at); err != nil {
				return err
			}
		}
		if isDir && (gone || isOpaque(full)) {
			if err := t.openFolder(at); err != nil {
				return fmt.Errorf("show /%s again: %w", at, err)
			}
		}
	}
	return nil
}

// openFolder says of an opaque folder by its names what it hides, so that it can show what a package puts into it.
func (t *settler) openFolder(at string) error {
	full := filepath.Join(t.stage.upper, at)
	lower := newView(t.below.dirs[1:])
	names, err := lower.names(at)
	if err != nil {
		return err
	}
	for _, name := range names {
		inside := filepath.Join(full, name)
		var st unix.Stat_t
		switch err := unix.Lstat(inside, &st); {
		case err != nil:
			if err := unix.Mknod(inside, unix.S_IFCHR, 0); err != nil {
				return err
			}
		case kindOf(st.Mode) == dirNode && lower.look(path.Join(at, name)).kind == dirNode:
			if err := unix.Setxattr(inside, opaqueName, []byte("y"), 0); err != nil {
				return err
			}
		}
	}
	if err := unix.Removexattr(full, opaqueName); err != nil && !errors.Is(err, unix.ENODATA) {
		return err
	}
	return nil
}

// infoDir holds what dpkg knows of each package's files.
const infoDir = debian.InfoFolder

// addInfo writes the packages' control files and lists into the group.
func (t *settler) addInfo(g *group) error {
	for _, p := range g.packages {
		files := map[string]deb.Script{"list": {Mode: 0o644, Data: []byte(p.fileList())}}
		for name, f := range p.control {
			if name != "control" && name != "list" && !strings.ContainsAny(name, "/\n") {
				files[name] = f
			}
		}
		if _, ok := files["md5sums"]; !ok {
			files["md5sums"] = deb.Script{Mode: 0o644, Data: []byte(p.sums())}
		}
		for name, f := range files {
			if err := t.writeInfo(g, path.Join(infoDir, p.db()+"."+name), f); err != nil {
				return p.inPackage(err)
			}
		}
	}
	return nil
}

func (t *settler) writeInfo(g *group, at string, content deb.Script) error {
	f, err := g.createFile(at)
	if err != nil {
		return fmt.Errorf("write /%s: %w", at, err)
	}
	_, err = f.Write(content.Data)
	if err == nil {
		err = t.stage.setAttrs(f, &record{Entry: deb.Entry{Mode: content.Mode}})
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write /%s: %w", at, err)
	}
	g.pieces[at] = &piece{Entry: images.Entry{Path: at, Type: images.File, Mode: content.Mode, Size: int64(len(content.Data))}, disk: g.path(at)}
	return nil
}

// fileList is the list of a package's names as dpkg keeps it.
func (p *pkg) fileList() string {
	var b strings.Builder
	for _, r := range p.records {
		switch {
		case r.unlisted:
		case r.Path == ".":
			b.WriteString("/.\n")
		default:
			b.WriteString("/" + r.Path + "\n")
		}
	}
	return b.String()
}

// sums is the list of md5 sums of a package that brings none. Conffiles have theirs elsewhere.
func (p *pkg) sums() string {
	conffile := map[string]bool{}
	for _, c := range p.conffiles {
		conffile[c.path] = true
	}
	var b strings.Builder
	for _, r := range p.records {
		if r.Type == deb.File && r.md5 != "" && !conffile["/"+r.Path] {
			b.WriteString(r.md5 + "  " + r.Path + "\n")
		}
	}
	return b.String()
}
