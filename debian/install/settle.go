package install

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/debian/deb"
	"github.com/bootandshoot/release/internal/fault"
)

// settler puts the names of a batch in order, as dpkg would have unpacked one package after the other.
type settler struct {
	stage     *stage
	batch     *batch
	below     *view            // what was there before the batch: the scripts' changes, the batches before, Under
	names     map[string]*node // of this batch, by real path
	dirs      map[string]string
	diverted  map[string]diversion // by real path
	overrides map[string]override  // by real path
	db        *database
}

// settle decides where each name of the batch goes, moves what lies elsewhere and brings dpkg's database up to date.
func (s *stage) settle(ctx context.Context, b *batch) error {
	below := newView(append([]string{s.upper}, s.lower()...))
	t := &settler{stage: s, batch: b, below: below, names: map[string]*node{}, dirs: map[string]string{}}
	if err := t.readRules(); err != nil {
		return err
	}
	var err error
	if t.db, err = t.openDatabase(); err != nil {
		return err
	}
	packages := slices.Clone(b.packages)
	slices.SortFunc(packages, func(x, y *pkg) int { return x.order - y.order })
	if s.merged != nil && b == s.batches[0] {
		packages = slices.Insert(packages, 0, s.merged)
	}
	for _, p := range packages {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, r := range p.records {
			if err := t.place(r); err != nil {
				return p.inPackage(fmt.Errorf("/%s: %w", r.Path, err))
			}
		}
	}
	if err := t.move(packages); err != nil {
		return err
	}
	if err := t.db.write(packages); err != nil {
		return err
	}
	return t.complete(packages)
}

// look is what a name is now.
func (t *settler) look(name string) *node {
	if n, ok := t.names[name]; ok {
		return n
	}
	return t.below.look(name)
}

// folder is the real path of a folder.
func (t *settler) folder(dir string) (string, error) {
	if real, ok := t.dirs[dir]; ok {
		return real, nil
	}
	real, ok := resolve(dir, t.look)
	if !ok {
		return "", fault.New(fault.Failed, "refused: its folder /%s leads through a file, or through links in a circle", dir).
			WithHint("this package does not fit the others: leave one of them out")
	}
	t.dirs[dir] = real
	return real, nil
}

// real is the real path of a name; what it is itself is not followed.
func (t *settler) real(name string) (string, error) {
	dir, err := t.folder(path.Dir(name))
	return path.Join(dir, path.Base(name)), err
}

// place decides where a record goes.
func (t *settler) place(r *record) error {
	at, err := t.real(r.Path)
	if err != nil {
		return err
	}
	if d, ok := t.diverted[at]; ok && d.by != r.pkg.Name {
		if at, err = t.real(strings.TrimPrefix(d.to, "/")); err != nil {
			return err
		}
	}
	if err := refuse(r.Entry, at); err != nil {
		return err // where it was unpacked to was only probable
	}
	if o, ok := t.overrides[at]; ok {
		r.UID, r.GID, r.Mode = o.uid, o.gid, o.mode
		if r.disk != "" {
			if err := t.override(r); err != nil {
				return err
			}
		}
	}
	old := t.look(at)
	if r.Type == deb.Dir {
		return t.placeDir(r, at, old)
	}
	if old.kind == dirNode {
		if r.Type == deb.Symlink {
			return t.drop(r) // dpkg never puts a link in a folder's place
		}
		return fault.New(fault.Failed, "it is a folder in the system already").WithHint("this package does not fit the others: leave one of them out")
	}
	if old.kind != noNode {
		stays, err := t.contend(r, at, old)
		if err != nil || !stays {
			return err
		}
	}
	t.put(r, at)
	return nil
}

func (t *settler) placeDir(r *record, at string, old *node) error {
	switch old.kind {
	case dirNode:
		// The first one decided its owner and mode.
		if old.rec != nil {
			r.at = at
		}
		return nil
	case linkNode:
		real, ok := resolve(at, t.look)
		if ok && t.look(real).kind != fileNode {
			return nil
		}
	}
	if old.kind != noNode {
		return fault.New(fault.Failed, "it is no folder in the system").WithHint("this package does not fit the others: leave one of them out")
	}
	t.put(r, at)
	return nil
}

func (t *settler) put(r *record, at string) {
	kinds := map[deb.Type]nodeKind{deb.Dir: dirNode, deb.Symlink: linkNode}
	kind, ok := kinds[r.Type]
	if !ok {
		kind = fileNode
	}
	r.at = at
	t.names[at] = &node{kind: kind, link: r.Link, mode: r.Mode, uid: r.UID, gid: r.GID, xattrs: r.Xattrs, rec: r}
}

func (t *settler) drop(r *record) error {
	r.at = ""
	return nil
}

// contend decides between a file and what is at its place: true when the file stays.
func (t *settler) contend(r *record, at string, old *node) (bool, error) {
	if old.rec != nil {
		return t.contendPackage(r, old.rec)
	}
	loser, err := t.db.owner(at, t)
	if err != nil {
		return false, err
	}
	if loser == nil {
		return t.overUnowned(r, at)
	}
	if replaces(r.pkg.replaces, loser.Name, loser.Version) {
		t.db.dropName(loser, at, t)
		return true, t.unhide(at)
	}
	if replaced, err := debian.ParseRelations(loser.Replaces); err == nil && replaces(replaced, r.pkg.Name, r.pkg.Version) {
		r.unlisted = true
		return false, t.drop(r)
	}
	return false, conflict(at, loser.Name)
}

func (t *settler) contendPackage(r, other *record) (bool, error) {
	switch {
	case other.pkg.pseudo && r.Type == deb.Symlink && r.Link == other.Link:
		other.at = ""
		return true, nil
	case replaces(r.pkg.replaces, other.pkg.Name, other.pkg.Version):
		other.at, other.unlisted = "", true
		return true, nil
	case replaces(other.pkg.replaces, r.pkg.Name, r.pkg.Version):
		r.unlisted = true
		return false, t.drop(r)
	}
	return false, conflict(r.Path, other.pkg.Name)
}

// overUnowned puts a file over one that no package has. dpkg keeps it only when the package calls its own a conffile.
func (t *settler) overUnowned(r *record, at string) (bool, error) {
	for i := range r.pkg.conffiles {
		if c := &r.pkg.conffiles[i]; c.path == "/"+r.Path {
			t.put(r, at+".dpkg-new")
			c.md5 = "newconffile" // dpkg decides between the two when it configures
			return false, nil
		}
	}
	return true, t.unhide(at)
}

func conflict(at, owner string) error {
	return fault.New(fault.Failed, "the package %s has this file too, and neither of the two replaces the other", owner).
		WithHint("leave one of the two packages out, or tell their maintainers that they do not fit (/%s)", at)
}

func replaces(list []debian.Relation, name string, version debian.Version) bool {
	return slices.ContainsFunc(list, func(r debian.Relation) bool {
		return slices.ContainsFunc(r, func(d debian.Dependency) bool { return d.Name == name && d.Accepts(version) })
	})
}

// unhide removes from the scripts' changes what would hide a package's file.
func (t *settler) unhide(at string) error {
	err := os.Remove(filepath.Join(t.stage.upper, at))
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func (t *settler) override(r *record) error {
	dir, err := unix.Open(filepath.Dir(r.disk), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return t.stage.setAttrsAt(dir, filepath.Base(r.disk), r.Mode, r.UID, r.GID, r.Type == deb.Symlink)
}

// move brings what lies elsewhere to its place: first out of the way, then in, then hard links.
func (t *settler) move(packages []*pkg) error {
	var in, links []*record
	for _, p := range packages {
		for _, r := range p.records {
			switch {
			case r.Type == deb.HardLink && r.at != "":
				links = append(links, r)
			case p.pseudo && r.at != "" && r.Type == deb.Symlink:
				in = append(in, r)
			case r.disk == "" || r.at != "" && r.disk == p.group.path(r.at):
			case r.at == "":
				if err := os.Remove(r.disk); err != nil {
					return err
				}
				r.disk = ""
			default:
				aside := t.stage.path("side", fmt.Sprintf("moved-%d-%d", p.order, len(in)))
				if err := os.Rename(r.disk, aside); err != nil {
					return err
				}
				r.disk = aside
				in = append(in, r)
			}
		}
	}
	for _, r := range in {
		if err := t.moveIn(r); err != nil {
			return r.pkg.inPackage(fmt.Errorf("/%s: %w", r.Path, err))
		}
	}
	for _, r := range links {
		if err := t.link(r); err != nil {
			return r.pkg.inPackage(fmt.Errorf("/%s: %w", r.Path, err))
		}
	}
	return nil
}

func (t *settler) moveIn(r *record) error {
	g := r.pkg.group
	dir, err := g.parent(r.at)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := g.removeFolders(r.at); err != nil {
		return err
	}
	if r.pkg.pseudo {
		r.disk = g.path(r.at)
		return t.stage.makeSpecial(r, dir, path.Base(r.at))
	}
	if err := unix.Renameat2(unix.AT_FDCWD, r.disk, dir, path.Base(r.at), unix.RENAME_NOREPLACE); err != nil {
		return err
	}
	r.disk = g.path(r.at)
	return nil
}

// link makes a hard link to an earlier file of the package. Where that file is another package's now, the link leads to
// nothing that it could share.
func (t *settler) link(r *record) error {
	i := slices.IndexFunc(r.pkg.records, func(f *record) bool { return f.Path == r.Link && f.Type == deb.File })
	if i < 0 || r.pkg.records[i].at == "" {
		return fault.New(fault.Unsupported, "it is a hard link to /%s, which another package has taken over", r.Link)
	}
	target := r.pkg.records[i]
	dir, err := r.pkg.group.parent(r.at)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Linkat(unix.AT_FDCWD, target.disk, dir, path.Base(r.at), 0); err != nil {
		return err
	}
	r.disk = r.pkg.group.path(r.at)
	return nil
}
